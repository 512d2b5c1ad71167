//! Fetches the files of a checkpoint from the hub into its cache, where other programs find them too.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use crate::error::CheckpointError;
use crate::source::HubId;
use crate::weights::{self, WEIGHT_FILES};

/// What is fetched besides weights, where the repository has it.
const SMALL_FILES: [&str; 5] = ["config.json", "tokenizer.json", "tokenizer_config.json", "spm.model", "README.md"];
/// How often an interrupted download is taken up again.
const RETRIES: usize = 3;

/// Where the hub is and who asks.
#[derive(Debug, Clone, Default)]
pub struct HubSettings {
    /// The hub's address; absent means the public one.
    pub endpoint: Option<String>,
    /// The cache folder; absent means the hub libraries' own place.
    pub cache: Option<PathBuf>,
    /// The credential; absent means the one that the hub's own tools have stored.
    pub token: Option<String>,
    /// Only what is in the cache already.
    pub offline: bool,
}

/// A repository at one commit, in the cache.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) folder: PathBuf,
    pub(crate) commit: String,
}

impl HubSettings {
    /// From the variables that every tool of the hub reads: `HF_ENDPOINT`, `HF_HUB_CACHE` or `HF_HOME`, `HF_TOKEN`,
    /// `HF_HUB_OFFLINE`.
    #[must_use]
    pub fn from_environment() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let is_on = |value: String| ["1", "true", "yes", "on"].contains(&value.to_lowercase().as_str());
        let home = text("HF_HOME").map(|home| Path::new(&home).join("hub"));
        Self {
            endpoint: text("HF_ENDPOINT").map(|address| address.trim_end_matches('/').to_owned()),
            cache: text("HF_HUB_CACHE").map(PathBuf::from).or(home),
            token: text("HF_TOKEN"),
            offline: text("HF_HUB_OFFLINE").is_some_and(is_on),
        }
    }
}

/// Fetches what a checkpoint needs of the repository `id`, and says where it lies. Files that the cache has at this
/// commit are not fetched again.
///
/// # Errors
/// [`CheckpointError::Hub`], with the repository's name.
pub(crate) fn fetch(id: &HubId, settings: &HubSettings) -> Result<Snapshot, CheckpointError> {
    let failed = |reason: String| CheckpointError::Hub { repository: id.to_string(), reason };
    let cache = match &settings.cache {
        Some(folder) => Cache::new(folder.clone()),
        None if home_is_known() => Cache::default(),
        None => return Err(failed("HF_HOME is not set and there is no home folder to keep its files in".to_owned())),
    };
    let repo = Repo::with_revision(id.repository.clone(), RepoType::Model, id.revision.clone());
    if settings.offline {
        let named = cache.repo(repo).get("config.json");
        let named = named.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        // A commit may be named that no branch or tag in the cache points to.
        let by_commit = || Some(cache.model(id.repository.clone()).pointer_path(&id.revision));
        let folder = named.or_else(by_commit).filter(|folder| folder.is_dir());
        let folder =
            folder.ok_or_else(|| failed("it is not in the cache, and the hub is set to offline".to_owned()))?;
        let commit = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        return Ok(Snapshot { folder, commit });
    }
    let mut builder = ApiBuilder::from_cache(cache.clone()).with_progress(false).with_retries(RETRIES);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if let Some(token) = &settings.token {
        builder = builder.with_token(Some(token.clone()));
    }
    let api = builder.build().map_err(|error| failed(error.to_string()))?;
    let remote = api.repo(repo.clone());
    let info = remote.info().map_err(|error| failed(error.to_string()))?;
    if !is_plain_name(&info.sha) {
        return Err(failed("the hub names a commit that is no commit".to_owned()));
    }
    // From here on everything is asked for by commit, so that one import never mixes two.
    let pinned = Repo::with_revision(id.repository.clone(), RepoType::Model, info.sha.clone());
    let fetching = Fetching { api: &api, repo: api.repo(pinned.clone()), cache: &cache, pinned };
    let has = |name: &str| info.siblings.iter().any(|sibling| sibling.rfilename == name);
    for name in SMALL_FILES.into_iter().filter(|name| has(name)) {
        fetching.fetch(name).map_err(failed)?;
    }
    if let Some(name) = WEIGHT_FILES.into_iter().find(|name| has(name)) {
        let path = fetching.fetch(name).map_err(failed)?;
        for shard in weights::shards_of(name, &path)? {
            fetching.fetch(&shard).map_err(failed)?;
        }
    }
    let folder = cache.repo(fetching.pinned).pointer_path(&info.sha);
    if !folder.is_dir() {
        return Err(failed("it holds no file of a checkpoint".to_owned()));
    }
    cache.repo(repo).create_ref(&info.sha).map_err(CheckpointError::io(cache.path()))?;
    Ok(Snapshot { folder, commit: info.sha })
}

struct Fetching<'a> {
    api: &'a Api,
    repo: ApiRepo,
    cache: &'a Cache,
    pinned: Repo,
}

impl Fetching<'_> {
    /// Fetches the file `name` unless it is there, and checks what the library leaves unchecked: the names that the
    /// hub wants used as paths, and that the file is as long as announced.
    fn fetch(&self, name: &str) -> Result<PathBuf, String> {
        if !is_plain_name(name) {
            return Err(format!("{name:?} is no file name"));
        }
        let said = |error: hf_hub::api::sync::ApiError| format!("{name}: {error}");
        if let Some(path) = self.cache.repo(self.pinned.clone()).get(name) {
            return Ok(path);
        }
        let announced = self.api.metadata(&self.repo.url(name)).map_err(said)?;
        if !is_plain_name(announced.etag()) || announced.commit_hash() != self.commit() {
            return Err(format!("{name}: the hub answers with names that cannot be used"));
        }
        tracing::info!(file = name, bytes = announced.size(), "fetching");
        let path = self.repo.download(name).map_err(said)?;
        let length = std::fs::metadata(&path).map_err(|error| format!("{name}: {error}"))?.len();
        if length != announced.size() as u64 {
            // A file that is cut short must not stay in the cache as if it were whole.
            let blob = self.cache.repo(self.pinned.clone()).blob_path(announced.etag());
            let removed = std::fs::remove_file(&path).and_then(|()| std::fs::remove_file(blob));
            let left = removed.err().map(|error| format!(" (and cannot be removed: {error})")).unwrap_or_default();
            return Err(format!("{name} has {length} bytes, {} were announced{left}", announced.size()));
        }
        Ok(path)
    }

    fn commit(&self) -> &str {
        self.pinned.revision()
    }
}

fn home_is_known() -> bool {
    std::env::home_dir().is_some_and(|home| !home.as_os_str().is_empty())
}

/// Whether `name` is one component of a path and nothing more.
fn is_plain_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.bytes().all(allowed)
}
