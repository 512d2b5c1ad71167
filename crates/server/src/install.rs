//! A received head folder becomes a version: parsed, tried on the encoder, made durable, served.

use std::sync::Arc;

use api::v1;
use engine::{Alias, EngineError, Head, HeadParts, ModelInfo, TaskKey, Version};
use registry::{Change, Digest, EncoderWidths, HeadFolder, Install, Installed};
use tonic::Status;
use tracing::warn;

use crate::caller::Caller;
use crate::changes::Writer;
use crate::heads::generation_of;
use crate::refusals::Refusal;
use crate::serving::Serving;
use crate::{from_proto, status};

pub(crate) async fn install(
    serving: &Serving,
    caller: &Caller,
    (header, folder): (v1::InstallHeader, HeadFolder),
) -> Result<v1::InstallHeadResponse, Status> {
    let info = serving.engine().info().ok_or_else(|| status::of_engine(EngineError::Starting))?;
    let Fitting { key, head, encoder, forced, warnings } = fit(info, folder, (&header, caller))?;
    let version = match header.version {
        Some(number) => {
            Some(Version::new(number).ok_or_else(|| status::invalid_field("header.version", "versions count from 1"))?)
        }
        None => None,
    };
    if let Some(expected) = &header.expected_digest {
        let found = HeadFolder::of_head(&key.task, &head, encoder).map_err(status::of_registry)?;
        let found = registry::Digest::of(&found.head_toml).to_string();
        if *expected != found {
            return Err(status::digest_mismatch(&format!("the head's digest is {found}")));
        }
    }
    let install = Install { key, version, head, encoder, forced, aliases: Vec::new() };
    try_out(serving, &install, "upload").await?;
    let placed = place(serving, caller, (install, header.make_live)).await?;
    Ok(v1::InstallHeadResponse {
        task: placed.installed.key.task.to_string(),
        version: placed.installed.version.number(),
        head_digest: placed.installed.digest.to_string(),
        already_installed: placed.already_installed,
        live: placed.live,
        generation: placed.generation,
        warnings,
    })
}

/// A head that fits the encoder by its shapes; it has yet to be tried.
#[derive(Debug)]
pub(crate) struct Fitting {
    pub(crate) key: TaskKey,
    pub(crate) head: Arc<Head>,
    pub(crate) encoder: Digest,
    /// Whether it was trained on another encoder.
    pub(crate) forced: bool,
    /// What a person should look at.
    pub(crate) warnings: Vec<String>,
}

/// Parses a head folder and holds it against the encoder. Of `header`, task, labels and the force count here.
pub(crate) fn fit(
    info: &ModelInfo,
    folder: HeadFolder,
    (header, caller): (&v1::InstallHeader, &Caller),
) -> Result<Fitting, Status> {
    let widths = EncoderWidths { hidden: info.hidden, embedding: info.embedding };
    let (manifest, head) = folder.parse(widths).map_err(status::of_registry)?;
    let head = relabelled(head, header.labels.clone())?;
    let key = match header.task.as_str() {
        "" => from_proto::task_key("head.toml", manifest.task.as_str(), caller)?,
        task => from_proto::task_key("header.task", task, caller)?,
    };
    let forced = manifest.encoder.to_string() != info.encoder_digest;
    if forced && !header.force_encoder {
        let message = format!(
            "the head was trained on encoder {}, this server runs {}: force_encoder installs it all the same",
            manifest.encoder, info.encoder_digest
        );
        return Err(status::failed_precondition("OTHER_ENCODER", "head", &message));
    }
    let mut warnings = Vec::new();
    if head.parts().labels.first().is_some_and(|label| label == "LABEL_0") {
        warnings.push("the labels have no names: they are called LABEL_0, LABEL_1, …".to_owned());
    }
    if head.parts().adapter.is_some() {
        warnings.push(
            "the head changes the encoder: its rows are shared with no head that brings another adapter or none"
                .to_owned(),
        );
    }
    if forced {
        warnings.push("the head was trained on another encoder: its answers may mean nothing here".to_owned());
    }
    Ok(Fitting { key, head: Arc::new(head), encoder: manifest.encoder, forced, warnings })
}

/// Holds the head against this encoder and against its own goldens. What is wrong with it is remembered for whoever
/// looks at its task.
pub(crate) async fn try_out(serving: &Serving, install: &Install, source: &str) -> Result<(), Status> {
    let tried = serving.engine().try_head(Arc::clone(&install.head)).await;
    judged(serving, install, (tried, source))
}

/// Holds the heads of a bundle against this encoder: each that has goldens against those, all others together against one
/// text.
pub(crate) async fn try_out_all(serving: &Serving, installs: &[Install], source: &str) -> Vec<Result<(), Status>> {
    let has_goldens = |install: &Install| !install.head.parts().about.goldens.is_empty();
    let plain = installs.iter().filter(|install| !has_goldens(install));
    let plain: Vec<_> = plain.map(|install| Arc::clone(&install.head)).collect();
    let mut warmed = serving.engine().warm_up(&plain).await.into_iter();
    let mut tried = Vec::with_capacity(installs.len());
    for install in installs {
        tried.push(if has_goldens(install) {
            try_out(serving, install, source).await
        } else {
            judged(serving, install, (warmed.next().unwrap_or(Ok(())), source))
        });
    }
    tried
}

/// Remembers what is wrong with the head, unless it may pass.
fn judged(
    serving: &Serving,
    install: &Install,
    (tried, source): (Result<(), EngineError>, &str),
) -> Result<(), Status> {
    let is_its_fault = tried == Err(EngineError::NotFinite);
    tried.map_err(status::of_engine).inspect_err(|refusal| {
        if is_its_fault || !status::may_pass(refusal) {
            remember(serving, (&install.key, &install.head, install.encoder), (refusal, source));
        }
    })
}

/// Remembers a head that was tried and refused.
pub(crate) fn remember(
    serving: &Serving,
    (key, head, encoder): (&TaskKey, &Head, Digest),
    (refusal, source): (&Status, &str),
) {
    let folder = HeadFolder::of_head(&key.task, head, encoder);
    let digest = folder.map(|folder| Digest::of(&folder.head_toml).to_string()).unwrap_or_default();
    warn!(task = %key.task, reason = refusal.message(), "a head is refused");
    serving.refusals().note(key.clone(), Refusal::new(refusal.message(), digest, source.to_owned()));
}

/// The digest that `head` will have as a version of `key`, once its folder is one that would be accepted.
pub(crate) fn check(key: &TaskKey, head: &Head, (info, encoder): (&ModelInfo, Digest)) -> Result<Digest, Status> {
    let folder = HeadFolder::of_head(&key.task, head, encoder).map_err(status::of_registry)?;
    let widths = EncoderWidths { hidden: info.hidden, embedding: info.embedding };
    folder.parse(widths).map_err(status::of_registry)?;
    Ok(Digest::of(&folder.head_toml))
}

/// Where a head has come to be.
pub(crate) struct Placed {
    pub(crate) installed: Arc<Installed>,
    pub(crate) already_installed: bool,
    /// Whether the alias `live` names it now.
    pub(crate) live: bool,
    pub(crate) generation: u64,
}

/// Makes a head durable and served. It becomes live as the first version of its task, or where `make_live` says so.
pub(crate) async fn place(
    serving: &Serving,
    caller: &Caller,
    (install, make_live): (Install, bool),
) -> Result<Placed, Status> {
    let still_good = caller.clone();
    let apply = move |writer: &mut Writer| {
        // Tokens are revoked on this thread too, so what has ended before changes nothing, however long it was under way.
        still_good.check_still_good()?;
        let key = install.key.clone();
        let is_first = writer.registry().task(&key).is_none();
        let aliases = if make_live || is_first { vec![Alias::live()] } else { Vec::new() };
        let newest = writer.registry().task(&key).and_then(|task| task.last_version);
        let committed = writer.apply(Change::Install(Install { aliases, ..install })).map_err(status::of_registry)?;
        let task = writer.registry().task(&key).cloned();
        Ok::<_, Status>((newest, committed, task))
    };
    let (newest, committed, task) = serving.changes().run(caller.author(), apply).await??;
    let installed = committed
        .installed
        .first()
        .ok_or_else(|| status::internal("the registry failed", "an install without a version"))?;
    let live = task.as_ref().and_then(|task| task.aliases.get(&Alias::live()).copied());
    serving.refusals().clear(&installed.key);
    Ok(Placed {
        already_installed: newest.is_some_and(|newest| installed.version <= newest),
        live: live == Some(installed.version),
        generation: generation_of(&committed, task.map_or(0, |task| task.generation)),
        installed: Arc::clone(installed),
    })
}

/// The head with other names for its outputs, where the caller brings some.
fn relabelled(head: Head, labels: Vec<String>) -> Result<Head, Status> {
    if labels.is_empty() {
        return Ok(head);
    }
    let parts = HeadParts { labels, ..head.parts().clone() };
    Head::new(head.kind(), head.hidden(), parts)
        .map_err(|error| status::invalid_field("header.labels", &error.to_string()))
}
