//! A job that panics fails its caller and nobody else.

use engine::{TenantName, Version};

use super::*;
use crate::testing::{install, serving};

const PANICS: usize = 100;

/// A panic without its hook, which would print it a hundred times.
fn broken_off() -> ! {
    std::panic::resume_unwind(Box::new("the test asked for this panic"))
}

fn author() -> Author {
    Author::server("test")
}

fn key(task: &str) -> TaskKey {
    TaskKey { tenant: TenantName::default_tenant(), task: task.parse().unwrap() }
}

#[tokio::test]
async fn a_job_that_panics_is_an_internal_error_and_the_next_one_runs() {
    let (_folder, _phase, serving) = serving();
    let key = key("task");
    for number in 1..=PANICS {
        let job = |_: &mut Writer| broken_off();
        let lost: Result<(), Status> = serving.changes().run(&author(), job).await;
        let status = lost.expect_err("it panicked");
        assert!(status.message().starts_with("internal error"), "{status}");
        let change = install(&key, number as f32);
        let installed = serving.changes().run(&author(), move |writer| writer.apply(change).map(|_| ())).await.unwrap();
        installed.unwrap();
        assert_eq!(serving.engine().live().find(&key).unwrap().versions.len(), number);
    }
}

#[tokio::test]
async fn what_a_job_had_stored_when_it_panicked_is_shown() {
    let (_folder, _phase, serving) = serving();
    let [stored, deleted] = ["stored", "deleted"].map(key);
    let first = install(&deleted, 1.0);
    serving.changes().run(&author(), move |writer| writer.apply(first).map(|_| ())).await.unwrap().unwrap();
    let told = serving.changes().log().generation();
    let delete = Change::DeleteVersion { key: deleted.clone(), version: Version::FIRST, with_aliases: true };
    let changes = [install(&stored, 1.0), delete];
    let job = move |writer: &mut Writer| {
        changes.into_iter().for_each(|change| drop(writer.store(change).unwrap()));
        broken_off()
    };
    let lost: Result<(), Status> = serving.changes().run(&author(), job).await;
    lost.expect_err("it panicked");
    // The writer answers its next job once it has recovered.
    serving.changes().run(&author(), |_| ()).await.unwrap();
    let is_live = |key| serving.engine().live().find(key).is_some();
    assert_eq!([is_live(&stored), is_live(&deleted)], [true, false]);
    let news = serving.changes().log().since(told, |_| true).unwrap();
    assert_eq!(news.tasks.into_iter().collect::<Vec<_>>(), [deleted.task, stored.task]);
}
