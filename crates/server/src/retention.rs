//! SetRetention: which versions of a task are kept without anybody naming them, and the clock that applies it.

use std::time::Duration;

use api::v1;
use engine::Retention;
use registry::{Author, Change, StoredTask};
use tokio::time::MissedTickBehavior;
use tonic::Status;
use tracing::{info, warn};

use crate::caller::Caller;
use crate::changes::{Changes, Writer};
use crate::heads::generation_of;
use crate::moving::known;
use crate::serving::Serving;
use crate::{from_proto, status, to_proto};

/// How often versions are looked at that have grown too old.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Sets a task's rule.
pub(crate) async fn set(
    serving: &Serving,
    caller: &Caller,
    request: v1::SetRetentionRequest,
) -> Result<v1::SetRetentionResponse, Status> {
    let v1::SetRetentionRequest { task, retention, expected_generation } = request;
    let key = from_proto::task_key("task", &task, caller)?;
    let retention = parse(retention.unwrap_or_default())?;
    let apply = move |writer: &mut Writer| {
        let before = known(writer, &key, expected_generation)?;
        let change = Change::SetRetention { key: key.clone(), retention, expected_generation };
        let committed = writer.apply(change).map_err(status::of_registry)?;
        let after = writer.registry().task(&key).cloned();
        let deleted = numbers(&before).filter(|number| !after.iter().any(|after| numbers(after).any(|n| n == *number)));
        let mut deleted: Vec<_> = deleted.collect();
        deleted.sort_unstable();
        Ok::<_, Status>((deleted, generation_of(&committed, before.generation)))
    };
    let (deleted_versions, generation) = serving.changes().run(caller.author(), apply).await??;
    Ok(v1::SetRetentionResponse { retention: to_proto::retention(retention), deleted_versions, generation })
}

/// Has the writer give up what has grown too old, again and again; never returns.
pub(crate) async fn retire_in_time(changes: &Changes) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let author = Author::server("retention");
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let retire = |writer: &mut Writer| match writer.registry().is_read_only() {
            Some(_) => Ok(None),
            None => writer.apply(Change::Retire).map(Some),
        };
        match changes.run(&author, retire).await {
            Ok(Ok(Some(committed))) if committed.changed => {
                info!(tasks = committed.tasks.len(), generation = committed.generation, "old versions were given up");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(%error, "old versions stay"),
            Err(refusal) => warn!(%refusal, "old versions stay for now"),
        }
    }
}

fn numbers(task: &StoredTask) -> impl Iterator<Item = u64> {
    task.versions.keys().chain(&task.damaged).map(|version| version.number())
}

fn parse(rule: v1::Retention) -> Result<Retention, Status> {
    let v1::Retention { keep_last, keep_for_seconds } = rule;
    for (field, number) in
        [("retention.keep_last", keep_last.map(u64::from)), ("retention.keep_for_seconds", keep_for_seconds)]
    {
        if number == Some(0) {
            return Err(status::invalid_field(field, "0, expected a number above 0 or none"));
        }
    }
    Ok(Retention { keep_last, keep_for: keep_for_seconds.map(Duration::from_secs) })
}
