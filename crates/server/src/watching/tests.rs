//! What a watch owes a slow reader: to be told that changes were missed, and to know everything in the end.

use engine::{TaskKey, TenantName};

use super::*;
use crate::auth;
use crate::testing::serving;

fn note(serving: &Serving, generation: u64, tasks: usize) {
    let key =
        |number| TaskKey { tenant: TenantName::default_tenant(), task: format!("task-{number}").parse().unwrap() };
    serving.changes().log().note(generation, (0..tasks).map(key));
}

#[tokio::test]
async fn a_slow_reader_is_told_that_changes_were_missed_and_begins_anew() {
    let (_folder, _phase, serving) = serving();
    let mut events =
        start(Arc::clone(&serving), v1::WatchTasksRequest::default(), auth::anybody("WatchTasks")).unwrap();
    let mut next = async || events.recv().await.unwrap().unwrap();
    assert!(matches!(next().await.event, Some(Event::Snapshot(_))));
    assert_eq!(next().await.event, Some(Event::UpToDate(v1::UpToDate {})));
    note(&serving, 1, 100);
    assert_eq!(next().await.resume_generation, 0, "the watch is on its way, and 99 changes wait for room");
    note(&serving, 2, 5_000);
    note(&serving, 3, 1);
    for told in 1..100 {
        assert_eq!(next().await.resume_generation, u64::from(told == 99));
    }
    let missed = v1::TaskSnapshot { reason: v1::SnapshotReason::Missed.into(), tasks: 0 };
    assert_eq!(next().await.event, Some(Event::Snapshot(missed)));
    let last = next().await;
    assert_eq!((last.event, last.resume_generation), (Some(Event::UpToDate(v1::UpToDate {})), 3));
}
