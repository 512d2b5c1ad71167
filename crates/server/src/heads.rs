//! HeadService: the life of a head.

use std::sync::Arc;

use api::v1;
use api::v1::head_service_server::HeadService;
use api::v1::set_alias_request::Change as AliasChange;
use engine::{Alias, NameError, TaskKey, Version};
use registry::{Change, Committed, StoredTask};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::caller::Caller;
use crate::changes::Writer;
use crate::heads_folder::Listing;
use crate::serving::Serving;
use crate::{
    bundles, download, evaluate, fit, from_proto, goldens, install, moving, retention, status, to_proto, transformers,
    update_metadata, upload,
};

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    pub(crate) serving: Arc<Serving>,
    /// Of the watched folder, where there is one.
    pub(crate) listing: Option<Arc<Listing>>,
}

#[tonic::async_trait]
impl HeadService for Heads {
    type InstallBundleStream = ReceiverStream<Result<v1::InstallBundleResponse, Status>>;
    type ExportHeadStream = ReceiverStream<Result<v1::ExportHeadResponse, Status>>;
    type FitHeadStream = ReceiverStream<Result<v1::FitHeadResponse, Status>>;
    type EvaluateHeadStream = ReceiverStream<Result<v1::EvaluateHeadResponse, Status>>;

    async fn install_head(
        &self,
        request: Request<Streaming<v1::InstallHeadRequest>>,
    ) -> Result<Response<v1::InstallHeadResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let (header, folder) = upload::receive(request.into_inner()).await?;
        install::install(&self.serving, &caller, (header, folder)).await.map(Response::new)
    }

    async fn install_bundle(
        &self,
        request: Request<Streaming<v1::InstallBundleRequest>>,
    ) -> Result<Response<Self::InstallBundleStream>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let events = bundles::start(Arc::clone(&self.serving), request.into_inner(), caller)?;
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn list_versions(
        &self,
        request: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let own = from_proto::task_key("task", &request.get_ref().task, &caller)?;
        let keys = caller.view(self.serving.engine().live()).keys(own.task);
        let list = move |writer: &mut Writer| {
            let key = stored(writer, keys);
            Some((list_versions(writer, &key)?, key))
        };
        let listed = self.serving.changes().run(caller.author(), list).await?;
        let listed = listed.map(|(mut listed, key)| {
            listed.shadow_agreement = moving::agreement(&self.serving, &key);
            listed.refused = self.serving.refusals().of(&key).map(to_proto::refused_head);
            listed
        });
        listed.map(Response::new).ok_or_else(|| status::not_found("no such task, version or alias"))
    }

    async fn set_alias(&self, request: Request<v1::SetAliasRequest>) -> Result<Response<v1::SetAliasResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let v1::SetAliasRequest { task, alias, change, expected_generation, expected_version } = request.into_inner();
        let key = from_proto::task_key("task", &task, &caller)?;
        let alias = parse_alias(&alias)?;
        let (change, version) = match change {
            Some(AliasChange::Version(number)) => {
                let version = parse_version(number)?;
                (
                    Change::SetAlias { key: key.clone(), alias: alias.clone(), version, expected_generation },
                    Some(version),
                )
            }
            Some(AliasChange::Remove(true)) => {
                (Change::RemoveAlias { key: key.clone(), alias: alias.clone(), expected_generation }, None)
            }
            Some(AliasChange::Remove(false)) | None => {
                return Err(status::invalid_field("change", "a version, or remove, is needed"));
            }
        };
        let apply = move |writer: &mut Writer| {
            check_alias(writer, &key, &alias, expected_version)?;
            if let Some(reason) = version.and_then(|version| unfit(writer, &key, version)) {
                return Err(status::failed_precondition("HEAD_MISFIT", "version", &reason));
            }
            let previous = writer.registry().task(&key).and_then(|task| task.aliases.get(&alias).copied());
            let committed = writer.apply(change).map_err(status::of_registry)?;
            Ok((previous, committed, writer.registry().task(&key).map_or(0, |task| task.generation)))
        };
        let (previous, committed, generation) = self.serving.changes().run(caller.author(), apply).await??;
        Ok(Response::new(v1::SetAliasResponse {
            version: version.map(Version::number),
            previous_version: previous.map(Version::number),
            generation: generation_of(&committed, generation),
        }))
    }

    async fn delete_version(
        &self,
        request: Request<v1::DeleteVersionRequest>,
    ) -> Result<Response<v1::DeleteVersionResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let v1::DeleteVersionRequest { task, version, expected_generation } = request.into_inner();
        let key = from_proto::task_key("task", &task, &caller)?;
        let version = parse_version(version)?;
        let apply = move |writer: &mut Writer| {
            let actual = writer.registry().task(&key).map_or(0, |task| task.generation);
            match expected_generation {
                Some(expected) if expected != actual => {
                    Err(registry::RegistryError::WrongGeneration { expected, actual })
                }
                Some(_) | None => writer.apply(Change::DeleteVersion { key, version, with_aliases: false }),
            }
        };
        let committed = self.serving.changes().run(caller.author(), apply).await?.map_err(status::of_registry)?;
        Ok(Response::new(v1::DeleteVersionResponse { generation: committed.generation }))
    }

    async fn export_head(
        &self,
        request: Request<v1::ExportHeadRequest>,
    ) -> Result<Response<Self::ExportHeadStream>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let request = request.into_inner();
        let own = from_proto::task_key("task", &request.task, &caller)?;
        let keys = caller.view(self.serving.engine().live()).keys(own.task);
        let selector = from_proto::selector(&request.version)?;
        match v1::ExportFormat::try_from(request.format) {
            Ok(v1::ExportFormat::Unspecified | v1::ExportFormat::HeadFolder) => {}
            Ok(v1::ExportFormat::Transformers) if request.goldens => {
                return Err(status::invalid_field("goldens", "a model of this format has no place for them"));
            }
            Ok(v1::ExportFormat::Transformers) => {
                let parts = transformers::export(&self.serving, (&caller, keys), selector).await?;
                return Ok(Response::new(ReceiverStream::new(parts)));
            }
            Err(_) => return Err(status::invalid_field("format", "not a value of this enum")),
        }
        let export = move |writer: &mut Writer| {
            let key = stored(writer, keys);
            let installed = writer.registry().task(&key).and_then(|task| task.resolve(&selector)).cloned();
            let installed = installed.ok_or_else(|| status::not_found("no such task, version or alias"))?;
            let folder = writer.registry().export_head(&key, installed.version).map_err(status::of_registry)?;
            Ok::<_, Status>((installed, folder))
        };
        let (installed, mut folder) = self.serving.changes().run(caller.author(), export).await??;
        if request.goldens {
            folder = goldens::with_goldens(&self.serving, &installed).await?;
        }
        Ok(Response::new(ReceiverStream::new(download::send(&installed, folder))))
    }

    async fn rollback(&self, request: Request<v1::RollbackRequest>) -> Result<Response<v1::RollbackResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        moving::roll_back(&self.serving, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn set_traffic(
        &self,
        request: Request<v1::SetTrafficRequest>,
    ) -> Result<Response<v1::SetTrafficResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        moving::set_traffic(&self.serving, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn set_retention(
        &self,
        request: Request<v1::SetRetentionRequest>,
    ) -> Result<Response<v1::SetRetentionResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        retention::set(&self.serving, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn update_metadata(
        &self,
        request: Request<v1::UpdateMetadataRequest>,
    ) -> Result<Response<v1::UpdateMetadataResponse>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        update_metadata::update(&self.serving, &caller, request.into_inner()).await.map(Response::new)
    }

    async fn fit_head(
        &self,
        request: Request<Streaming<v1::FitHeadRequest>>,
    ) -> Result<Response<Self::FitHeadStream>, Status> {
        self.serving.check_open()?;
        let caller = Caller::of(request.extensions())?;
        let events = fit::start(Arc::clone(&self.serving), request.into_inner(), caller);
        Ok(Response::new(ReceiverStream::new(events)))
    }

    async fn evaluate_head(
        &self,
        request: Request<Streaming<v1::EvaluateHeadRequest>>,
    ) -> Result<Response<Self::EvaluateHeadStream>, Status> {
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        let caller = Caller::of(request.extensions())?;
        let responses = evaluate::start(Arc::clone(&self.serving), request.into_inner(), (deadline, caller))?;
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn list_watched_heads(
        &self,
        _: Request<v1::ListWatchedHeadsRequest>,
    ) -> Result<Response<v1::ListWatchedHeadsResponse>, Status> {
        self.serving.check_open()?;
        let none = || status::failed_precondition("NOT_WATCHING", "server", "the server watches no folder of heads");
        let (folders, problem) = self.listing.as_ref().ok_or_else(none)?.now();
        let heads = folders.into_iter().map(to_proto::watched_head).collect();
        Ok(Response::new(v1::ListWatchedHeadsResponse { heads, problem: problem.unwrap_or_default() }))
    }
}

pub(crate) fn parse_alias(alias: &str) -> Result<Alias, Status> {
    if alias.is_empty() {
        return Ok(Alias::live());
    }
    alias.parse().map_err(|error: NameError| status::of_name("alias", &error))
}

pub(crate) fn parse_version(number: u64) -> Result<Version, Status> {
    Version::new(number).ok_or_else(|| status::invalid_field("version", "a version is a whole number from 1 up"))
}

/// Of the places where a task may be, the first where one is stored; the caller's own where none is.
pub(crate) fn stored(writer: &Writer, (own, shared): (TaskKey, Option<TaskKey>)) -> TaskKey {
    let is_stored = |key: &TaskKey| writer.registry().task(key).is_some();
    match shared {
        Some(shared) if !is_stored(&own) && is_stored(&shared) => shared,
        Some(_) | None => own,
    }
}

/// Refuses where the alias does not name the version that the caller thinks; 0 stands for an alias that is not there.
pub(crate) fn check_alias(
    writer: &Writer,
    key: &TaskKey,
    alias: &Alias,
    expected_version: Option<u64>,
) -> Result<(), Status> {
    // A task that is not there is for the change itself to refuse.
    let Some(task) = writer.registry().task(key) else { return Ok(()) };
    let actual = task.aliases.get(alias).map_or(0, |version| version.number());
    match expected_version {
        Some(expected) if expected != actual => Err(status::alias_moved(alias.as_str(), expected, actual)),
        Some(_) | None => Ok(()),
    }
}

/// Why a stored version cannot be named by an alias, if it cannot.
pub(crate) fn unfit(writer: &Writer, key: &TaskKey, version: Version) -> Option<String> {
    let task = writer.registry().task(key)?;
    if task.damaged.contains(&version) {
        return Some("the stored head is damaged".to_owned());
    }
    writer.misfit(task.versions.get(&version)?)
}

/// The generation a change left a task at.
pub(crate) fn generation_of(committed: &Committed, unchanged: u64) -> u64 {
    if committed.changed { committed.generation } else { unchanged }
}

fn list_versions(writer: &Writer, key: &TaskKey) -> Option<v1::ListVersionsResponse> {
    let task: &StoredTask = writer.registry().task(key)?;
    let damaged = task.damaged.iter().map(|version| v1::HeadVersion {
        version: version.number(),
        state: v1::VersionState::Damaged.into(),
        state_reason: "its stored bytes are damaged".to_owned(),
        ..v1::HeadVersion::default()
    });
    let stored = task.versions.values().map(|installed| {
        let head = &installed.head;
        let parts = head.parts();
        let misfit = writer.misfit(installed);
        let state = if misfit.is_none() { v1::VersionState::Serving } else { v1::VersionState::Unfit };
        let installed_at = prost_types::Timestamp { seconds: installed.created_unix_seconds.cast_signed(), nanos: 0 };
        v1::HeadVersion {
            version: installed.version.number(),
            state: state.into(),
            state_reason: misfit.unwrap_or_default(),
            head_digest: installed.digest.to_string(),
            encoder_digest: installed.encoder.to_string(),
            encoder_forced: installed.forced,
            kind: to_proto::kind(head.kind()).into(),
            outputs: head.outputs() as u32,
            weight_bytes: installed.weight_bytes(),
            installed_at: Some(installed_at),
            source: parts.about.source.clone(),
            metrics: to_proto::metrics(head),
        }
    });
    let mut versions: Vec<_> = damaged.chain(stored).collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.version));
    Some(v1::ListVersionsResponse {
        versions,
        aliases: to_proto::aliases(task.aliases.iter()),
        traffic: moving::message(&task.traffic),
        generation: task.generation,
        shadow_agreement: None,
        retention: to_proto::retention(task.retention),
        refused: None,
    })
}
