//! Rollback and SetTraffic: which version answers, moved back or divided.

use api::v1;
use engine::{Canary, Mode, Selector, Shadow, Share, Split, TaskKey, Traffic, Version, judges_alike};
use registry::{Change, RegistryError, StoredTask};
use tonic::Status;

use crate::caller::Caller;
use crate::changes::Writer;
use crate::heads::{check_alias, generation_of, parse_alias, parse_version, unfit};
use crate::serving::Serving;
use crate::{from_proto, status};

/// Moves an alias back to the version it named before its last move.
pub(crate) async fn roll_back(
    serving: &Serving,
    caller: &Caller,
    request: v1::RollbackRequest,
) -> Result<v1::RollbackResponse, Status> {
    let v1::RollbackRequest { task, alias, expected_generation, expected_version } = request;
    let key = from_proto::task_key("task", &task, caller)?;
    let alias = parse_alias(&alias)?;
    let apply = move |writer: &mut Writer| {
        let before = known(writer, &key, expected_generation)?;
        check_alias(writer, &key, &alias, expected_version)?;
        let target = before.previous.get(&alias).copied();
        if let Some(reason) = target.and_then(|version| unfit(writer, &key, version)) {
            return Err(status::failed_precondition("HEAD_MISFIT", "alias", &reason));
        }
        let previous = before.aliases.get(&alias).copied();
        let change = Change::Rollback { key, alias, expected_generation };
        let committed = writer.apply(change).map_err(status::of_registry)?;
        Ok((target, previous, committed.generation))
    };
    let (version, previous, generation) = serving.changes().run(caller.author(), apply).await??;
    let number = |version: Option<Version>| version.map_or(0, Version::number);
    Ok(v1::RollbackResponse { version: number(version), previous_version: number(previous), generation })
}

/// Sets a task's traffic rule.
pub(crate) async fn set_traffic(
    serving: &Serving,
    caller: &Caller,
    request: v1::SetTrafficRequest,
) -> Result<v1::SetTrafficResponse, Status> {
    let v1::SetTrafficRequest { task, traffic, expected_generation } = request;
    let key = from_proto::task_key("task", &task, caller)?;
    let traffic = parse(traffic.unwrap_or_default())?;
    let apply = move |writer: &mut Writer| {
        let task = known(writer, &key, expected_generation)?;
        check(writer, &key, &task, traffic)?;
        let change = Change::SetTraffic { key, traffic, expected_generation };
        let committed = writer.apply(change).map_err(status::of_registry)?;
        Ok::<_, Status>(generation_of(&committed, task.generation))
    };
    let generation = serving.changes().run(caller.author(), apply).await??;
    Ok(v1::SetTrafficResponse { traffic: message(&traffic), generation })
}

/// A rule as the contract has it; `None` where there is none.
pub(crate) fn message(traffic: &Traffic) -> Option<v1::Traffic> {
    let canary = traffic.canary.map(|canary| v1::Canary {
        version: canary.version.number(),
        share: canary.share.value(),
        split: match canary.split {
            Split::Random => v1::CanarySplit::Random,
            Split::Key => v1::CanarySplit::Key,
            Split::Header => v1::CanarySplit::Header,
        }
        .into(),
    });
    let shadow = traffic
        .shadow
        .map(|shadow| v1::Shadow { version: shadow.version.number(), share: shadow.share.map(Share::value) });
    (!traffic.is_empty()).then_some(v1::Traffic { canary, shadow })
}

/// How the shadow of a task that is served compares, if it has one.
pub(crate) fn agreement(serving: &Serving, key: &TaskKey) -> Option<v1::ShadowAgreement> {
    let task = serving.engine().live().find(key)?;
    let traffic = task.traffic.as_ref()?;
    let shadow = traffic.rule.shadow?;
    let counts = traffic.counts();
    let mean = counts.absolute_difference / counts.numbers as f64;
    Some(v1::ShadowAgreement {
        version: shadow.version.number(),
        judged: counts.judged,
        agreed: counts.agreed,
        numbers: counts.numbers,
        mean_absolute_difference: (counts.numbers > 0).then_some(mean),
        skipped: counts.skipped,
        failed: counts.failed,
    })
}

fn parse(traffic: v1::Traffic) -> Result<Traffic, Status> {
    let share = |field: &str, share: f64| {
        Share::new(share).ok_or_else(|| status::invalid_field(field, &format!("{share}, a share is from 0 to 1")))
    };
    let canary = traffic.canary.map(|canary| {
        let split = match v1::CanarySplit::try_from(canary.split) {
            Ok(v1::CanarySplit::Unspecified | v1::CanarySplit::Random) => Split::Random,
            Ok(v1::CanarySplit::Key) => Split::Key,
            Ok(v1::CanarySplit::Header) => Split::Header,
            Err(_) => return Err(from_proto::unknown_number("traffic.canary.split", canary.split)),
        };
        let share = share("traffic.canary.share", canary.share)?;
        Ok(Canary { version: version("traffic.canary.version", canary.version)?, share, split })
    });
    let shadow = traffic.shadow.map(|shadow| {
        let share = shadow.share.map(|part| share("traffic.shadow.share", part)).transpose()?;
        Ok::<_, Status>(Shadow { version: version("traffic.shadow.version", shadow.version)?, share })
    });
    Ok(Traffic { canary: canary.transpose()?, shadow: shadow.transpose()? })
}

fn version(field: &str, number: u64) -> Result<Version, Status> {
    parse_version(number).map_err(|_| status::invalid_field(field, "a version is a whole number from 1 up"))
}

/// The task as it is stored, if it stands where the caller thinks.
pub(crate) fn known(
    writer: &Writer,
    key: &TaskKey,
    expected_generation: Option<u64>,
) -> Result<std::sync::Arc<StoredTask>, Status> {
    let unknown = || status::of_registry(RegistryError::UnknownTask { key: key.clone() });
    let task = writer.registry().task(key).cloned().ok_or_else(unknown)?;
    match expected_generation {
        Some(expected) if expected != task.generation => {
            Err(status::of_registry(RegistryError::WrongGeneration { expected, actual: task.generation }))
        }
        Some(_) | None => Ok(task),
    }
}

/// Whether the versions of a rule can stand beside the live one.
fn check(writer: &Writer, key: &TaskKey, task: &StoredTask, traffic: Traffic) -> Result<(), Status> {
    let named = [
        ("canary", traffic.canary.map(|canary| canary.version)),
        ("shadow", traffic.shadow.map(|shadow| shadow.version)),
    ];
    let live = task.resolve(&Selector::Alias(engine::Alias::live()));
    for (part, version) in named {
        let Some(version) = version else { continue };
        if let Some(reason) = unfit(writer, key, version) {
            return Err(status::failed_precondition("HEAD_MISFIT", part, &reason));
        }
        let Some((live, other)) = live.zip(task.versions.get(&version)) else { continue };
        if live.head.kind() != other.head.kind() {
            let reason = format!("version {version} is a {}, the live one a {}", other.head.kind(), live.head.kind());
            return Err(status::failed_precondition("OTHER_KIND", part, &reason));
        }
        let by_default = live.head.parts().task_embedding_by_default;
        if part == "shadow" && by_default && !judges_alike(&live.head, &other.head, Mode::Exact) {
            let reason = format!(
                "version {version} has another task embedding than the live one: it would judge vectors that it never sees"
            );
            return Err(status::failed_precondition("OTHER_TASK_EMBEDDING", part, &reason));
        }
    }
    Ok(())
}
