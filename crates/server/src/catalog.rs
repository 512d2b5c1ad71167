//! CatalogService: what a caller may use.

use std::sync::Arc;

use api::v1;
use api::v1::catalog_service_server::CatalogService;
use engine::{Alias, HeadKind, LiveTask, Selector, ServedHead, TaskName, TenantName};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wildmatch::WildMatch;

use crate::finding::{Finder, known, search, similar, suggest};
use crate::serving::Serving;
use crate::{from_proto, status, to_proto, watching};

/// Tasks on a page where the caller does not say, and at most.
pub(crate) const PAGE: Bounds = Bounds { default: 100, most: 1_000 };
/// A page ends before it grows beyond this; a client that keeps to the usual limit of 4 MiB can read every page.
pub(crate) const MAX_PAGE_BYTES: usize = 1 << 20;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    pub(crate) serving: Arc<Serving>,
    pub(crate) finder: Arc<Finder>,
}

/// How many entries a reply may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Where the caller does not say.
    pub(crate) default: usize,
    /// More is refused.
    pub(crate) most: usize,
}

#[tonic::async_trait]
impl CatalogService for Catalog {
    type WatchTasksStream = ReceiverStream<Result<v1::WatchTasksResponse, Status>>;

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        self.serving.check_open()?;
        let request = request.into_inner();
        let filter = Filter::parse(request.selector.unwrap_or_default())?;
        let page_size = PAGE.parse("page_size", request.page_size)?;
        let chosen = filter.choose(&self.serving);
        let after = match request.page_token.strip_prefix(&filter.token_prefix()) {
            _ if request.page_token.is_empty() => "",
            Some(name) => name,
            None => return Err(status::invalid_field("page_token", "it belongs to another selection")),
        };
        let start = chosen.partition_point(|(task, _)| !after.is_empty() && task.key.task.as_str() <= after);
        let rest = chosen.get(start..).unwrap_or_default();
        let described = rest.iter().take(page_size).map(|(task, served)| to_proto::task(task, served));
        let page = first_that_fit(described, MAX_PAGE_BYTES);
        let next_page_token = match page.last() {
            Some(task) if page.len() < rest.len() => format!("{}{}", filter.token_prefix(), task.name),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListTasksResponse { tasks: page, next_page_token, total: chosen.len() as u32 }))
    }

    async fn get_task(&self, request: Request<v1::GetTaskRequest>) -> Result<Response<v1::GetTaskResponse>, Status> {
        self.serving.check_open()?;
        let request = request.into_inner();
        let key = from_proto::task_key("task", &request.task)?;
        let selector = from_proto::selector(&request.version)?;
        let found = self.serving.engine().live().find(&key).and_then(|task| Some((task.select(&selector)?, task)));
        let (served, task) = found.ok_or_else(|| status::not_found("no such task, version or alias"))?;
        Ok(Response::new(v1::GetTaskResponse { task: Some(to_proto::task(&task, &served)) }))
    }

    async fn search_tasks(
        &self,
        request: Request<v1::SearchTasksRequest>,
    ) -> Result<Response<v1::SearchTasksResponse>, Status> {
        self.serving.check_open()?;
        search(&self.serving, &self.finder, request.into_inner()).await.map(Response::new)
    }

    async fn similar_tasks(
        &self,
        request: Request<v1::SimilarTasksRequest>,
    ) -> Result<Response<v1::SimilarTasksResponse>, Status> {
        self.serving.check_open()?;
        similar(&self.serving, &self.finder, request.into_inner()).await.map(Response::new)
    }

    async fn suggest_tasks(
        &self,
        request: Request<v1::SuggestTasksRequest>,
    ) -> Result<Response<v1::SuggestTasksResponse>, Status> {
        self.serving.check_open()?;
        let deadline = from_proto::deadline(request.extensions());
        suggest(&self.serving, &self.finder, request.into_inner(), deadline).await.map(Response::new)
    }

    async fn list_known_tasks(
        &self,
        request: Request<v1::ListKnownTasksRequest>,
    ) -> Result<Response<v1::ListKnownTasksResponse>, Status> {
        self.serving.check_open()?;
        known(&self.serving, &self.finder, request.into_inner()).map(Response::new)
    }

    async fn watch_tasks(
        &self,
        request: Request<v1::WatchTasksRequest>,
    ) -> Result<Response<Self::WatchTasksStream>, Status> {
        self.serving.check_open()?;
        let responses = watching::start(Arc::clone(&self.serving), request.into_inner())?;
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}

impl Bounds {
    /// What the caller asks for in `field`; 0 leaves it to us.
    pub(crate) fn parse(self, field: &str, asked: u32) -> Result<usize, Status> {
        match asked as usize {
            0 => Ok(self.default),
            asked if asked > self.most => {
                Err(status::invalid_field(field, &format!("{asked}, the limit is {}", self.most)))
            }
            asked => Ok(asked),
        }
    }
}

/// As many messages as have room in `bytes`, and in any case one.
pub(crate) fn first_that_fit<M: prost::Message>(messages: impl Iterator<Item = M>, bytes: usize) -> Vec<M> {
    let mut page = Vec::new();
    let mut used = 0;
    for message in messages {
        used += api::encoded_bytes(&message);
        if used > bytes && !page.is_empty() {
            break;
        }
        page.push(message);
    }
    page
}

/// The version a listing describes: the live one, or the newest where none is live.
pub(crate) fn described(task: &LiveTask) -> Option<Arc<ServedHead>> {
    task.select(&Selector::Alias(Alias::live())).or_else(|| task.versions.values().last().cloned())
}

/// Conditions on tasks, all of which must hold.
#[derive(Debug)]
pub(crate) struct Filter {
    selector: v1::TaskSelector,
    glob: Option<WildMatch>,
    kinds: Vec<HeadKind>,
    text: String,
}

impl Filter {
    pub(crate) fn parse(selector: v1::TaskSelector) -> Result<Self, Status> {
        let kinds = selector.kinds.iter().map(|number| from_proto::kind("selector.kinds", *number));
        Ok(Self {
            glob: (!selector.glob.is_empty()).then(|| WildMatch::new(&selector.glob)),
            kinds: kinds.collect::<Result<_, _>>()?,
            text: selector.text.to_lowercase(),
            selector,
        })
    }

    /// The tasks that meet all conditions, in order of their names, each with the version that describes it.
    pub(crate) fn choose(&self, serving: &Serving) -> Vec<(Arc<LiveTask>, Arc<ServedHead>)> {
        let tasks = serving.engine().live().list(&TenantName::default_tenant());
        let described = tasks.into_iter().filter_map(|task| {
            let served = described(&task)?;
            Some((task, served))
        });
        described.filter(|(task, served)| self.accepts(task, served)).collect()
    }

    /// Whether the task, described by `served`, meets all of them.
    pub(crate) fn accepts(&self, task: &LiveTask, served: &ServedHead) -> bool {
        let name = task.key.task.as_str();
        let parts = served.head.parts();
        let about = &parts.about;
        let mentions = |text: &str| text.to_lowercase().contains(&self.text);
        let dataset_is = |dataset: &str| dataset.eq_ignore_ascii_case(&self.selector.dataset);
        self.accepts_name(&task.key.task)
            && (self.kinds.is_empty() || self.kinds.contains(&served.head.kind()))
            && self.selector.tags.iter().all(|tag| about.tags.contains(tag))
            && self.selector.labels.iter().all(|label| parts.labels.contains(label))
            && (self.selector.dataset.is_empty() || dataset_is(&about.dataset))
            && (self.text.is_empty()
                || mentions(name)
                || mentions(&about.description)
                || about.tags.iter().chain(&parts.labels).any(|word| mentions(word)))
    }

    /// Whether a task of this name could be one of them.
    pub(crate) fn accepts_name(&self, name: &TaskName) -> bool {
        self.glob.as_ref().is_none_or(|glob| glob.matches(name.as_str()))
    }

    /// What a page token of this selection begins with.
    fn token_prefix(&self) -> String {
        token_prefix(&self.selector)
    }
}

/// What a page token begins with that belongs to `asked` alone.
pub(crate) fn token_prefix(asked: &impl std::fmt::Debug) -> String {
    let digest = registry::Digest::of(format!("{asked:?}").as_bytes());
    format!("{}:", digest.hex().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_before_it_is_too_large_and_is_never_empty() {
        let task = || v1::Task { description: "x".repeat(97), ..v1::Task::default() };
        assert_eq!(api::encoded_bytes(&task()), 99);
        let n_tasks = |bytes| first_that_fit(std::iter::repeat_with(task).take(9), bytes).len();
        assert_eq!([n_tasks(1), n_tasks(99), n_tasks(197), n_tasks(198), n_tasks(9_000)], [1, 1, 1, 2, 9]);
    }
}
