//! InstallBundle: hundreds of heads in one change, each parsed and tried first, and none if one is refused.

mod events;
mod intake;

use std::sync::Arc;

use api::v1;
use engine::{Alias, EngineError};
use futures_util::{StreamExt, stream};
use registry::{Change, Committed, Install, RegistryError};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use self::events::Teller;
use self::intake::{Bundle, Candidate};
use crate::caller::Caller;
use crate::changes::Writer;
use crate::install::{Fitting, remember};
use crate::places::LongWork;
use crate::serving::Serving;
use crate::status;

/// Heads on trial at the same time, so that their rows share batches.
const TRIALS_AT_ONCE: usize = 16;
/// Where the heads of a bundle came from, for whoever looks at their tasks.
const SOURCE: &str = "uploaded bundle";
/// Messages that wait for the caller.
const MAX_WAITING: usize = 16;

/// Installs the bundle on a task of its own, which ends when the caller leaves or the server drains.
pub(crate) fn start(
    serving: Arc<Serving>,
    parts: Streaming<v1::InstallBundleRequest>,
    caller: Caller,
) -> Result<mpsc::Receiver<Result<v1::InstallBundleResponse, Status>>, Status> {
    let place = serving.place(LongWork::Bundle, caller.tenant())?;
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    tokio::spawn(async move {
        let _place = place;
        let installed = tokio::select! {
            installed = install(&serving, &caller, (parts, Teller::new(sender.clone()))) => installed,
            () = serving.draining() => Err(status::of_engine(EngineError::Draining)),
            () = sender.closed() => return,
        };
        if let Err(failure) = installed {
            // A caller who has left needs nothing more.
            let _ = sender.send(Err(failure)).await;
        }
    });
    Ok(receiver)
}

async fn install(
    serving: &Serving,
    caller: &Caller,
    (parts, mut teller): (Streaming<v1::InstallBundleRequest>, Teller),
) -> Result<(), Status> {
    let info = serving.engine().info().ok_or_else(|| status::of_engine(EngineError::Starting))?;
    let Bundle { candidates, make_live, mut refused } =
        intake::receive(parts, (serving, info, caller), &mut teller).await?;
    let announced = candidates.len() + refused;
    refused += try_each(serving, &candidates, &mut teller).await?;
    if refused > 0 {
        let message = format!("{refused} of {announced} heads are refused, so none is installed");
        return Err(status::invalid_field("bundle", &message));
    }
    teller.now(v1::Stage::Installing, 0, announced).await;
    let fittings: Vec<_> = candidates.into_iter().map(|candidate| candidate.fitting).collect();
    let keys: Vec<_> = fittings.iter().map(|fitting| fitting.key.clone()).collect();
    let still_good = caller.clone();
    let apply = move |writer: &mut Writer| {
        still_good.check_still_good()?;
        place(writer, fittings, make_live).map_err(status::of_registry)
    };
    let report = serving.changes().run(caller.author(), apply).await??;
    keys.iter().for_each(|key| serving.refusals().clear(key));
    teller.report(report).await;
    Ok(())
}

/// Tries every head on the encoder; returns how many it refused.
async fn try_each(serving: &Serving, candidates: &[Candidate], teller: &mut Teller) -> Result<usize, Status> {
    let heads: Vec<_> = candidates
        .iter()
        .enumerate()
        .map(|(place, candidate)| (place, Arc::clone(&candidate.fitting.head), serving.shared_engine()))
        .collect();
    let trials = stream::iter(heads).map(|(place, head, engine)| async move { (place, engine.try_head(head).await) });
    let mut trials = std::pin::pin!(trials.buffer_unordered(TRIALS_AT_ONCE));
    let (mut done, mut refused) = (0, 0);
    while let Some((place, tried)) = trials.next().await {
        match (tried, candidates.get(place)) {
            (Ok(()), _) | (Err(_), None) => {}
            (Err(error), Some(Candidate { name, fitting })) => {
                let is_its_fault = matches!(error, EngineError::NotFinite);
                let reason = error.to_string();
                let refusal = status::of_engine(error);
                if !is_its_fault && status::may_pass(&refusal) {
                    return Err(refusal);
                }
                refused += 1;
                remember(serving, (&fitting.key, &fitting.head, fitting.encoder), (&refusal, SOURCE));
                teller.bad_head(name, &reason).await;
            }
        }
        done += 1;
        teller.progress(v1::Stage::Trying, done, candidates.len());
    }
    Ok(refused)
}

/// Makes all heads durable in one change, and then served.
fn place(writer: &mut Writer, fittings: Vec<Fitting>, make_live: bool) -> Result<v1::BundleReport, RegistryError> {
    let mut warnings: Vec<String> = Vec::new();
    let mut newest = Vec::new();
    let mut installs = Vec::new();
    for Fitting { key, head, encoder, forced, warnings: of_head } in fittings {
        let task = writer.registry().task(&key);
        let aliases = if make_live || task.is_none() { vec![Alias::live()] } else { Vec::new() };
        newest.push(task.and_then(|task| task.last_version));
        warnings.extend(of_head);
        installs.push(Install { key, version: None, head, encoder, forced, aliases });
    }
    warnings.sort_unstable();
    warnings.dedup();
    let Committed { generation, installed, .. } = writer.apply(Change::InstallMany(installs))?;
    let version = |(installed, newest): (&Arc<registry::Installed>, Option<engine::Version>)| {
        let live = writer.registry().task(&installed.key).and_then(|task| task.aliases.get(&Alias::live()).copied());
        v1::BundledVersion {
            task: installed.key.task.to_string(),
            version: installed.version.number(),
            head_digest: installed.digest.to_string(),
            already_installed: newest.is_some_and(|newest| installed.version <= newest),
            live: live == Some(installed.version),
        }
    };
    let versions = installed.iter().zip(newest).map(version).collect();
    Ok(v1::BundleReport { versions, generation, warnings, elapsed_millis: 0 })
}
