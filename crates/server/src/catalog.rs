//! CatalogService: what a caller may use.

use std::sync::Arc;

use api::v1;
use api::v1::catalog_service_server::CatalogService;
use engine::{Alias, HeadKind, LiveTask, Selector, ServedHead, TenantName};
use tonic::{Request, Response, Status};
use wildmatch::WildMatch;

use crate::serving::Serving;
use crate::{from_proto, status, to_proto};

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    pub(crate) serving: Arc<Serving>,
}

#[tonic::async_trait]
impl CatalogService for Catalog {
    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        self.serving.check_open()?;
        let request = request.into_inner();
        let filter = Filter::parse(request.selector.unwrap_or_default())?;
        let page_size = match request.page_size as usize {
            0 => DEFAULT_PAGE,
            size if size > MAX_PAGE => {
                return Err(status::invalid_field("page_size", &format!("{size}, the limit is {MAX_PAGE}")));
            }
            size => size,
        };
        let tasks = self.serving.engine().live().list(&TenantName::default_tenant());
        let chosen: Vec<_> = tasks
            .iter()
            .filter_map(|task| Some((task, described(task)?)))
            .filter(|(task, served)| filter.accepts(task, served))
            .collect();
        let after = match request.page_token.strip_prefix(&filter.token_prefix()) {
            _ if request.page_token.is_empty() => "",
            Some(name) => name,
            None => return Err(status::invalid_field("page_token", "it belongs to another selection")),
        };
        let start = chosen.partition_point(|(task, _)| !after.is_empty() && task.key.task.as_str() <= after);
        let rest = chosen.get(start..).unwrap_or_default();
        let page = rest.get(..page_size).unwrap_or(rest);
        let next_page_token = match page.last() {
            Some((task, _)) if page.len() < rest.len() => format!("{}{}", filter.token_prefix(), task.key.task),
            _ => String::new(),
        };
        Ok(Response::new(v1::ListTasksResponse {
            tasks: page.iter().map(|(task, served)| to_proto::task(task, served)).collect(),
            next_page_token,
            total: chosen.len() as u32,
        }))
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
}

/// The version a listing describes: the live one, or the newest where none is live.
fn described(task: &LiveTask) -> Option<Arc<ServedHead>> {
    task.select(&Selector::Alias(Alias::live())).or_else(|| task.versions.values().last().cloned())
}

/// Conditions on tasks, all of which must hold.
#[derive(Debug)]
struct Filter {
    selector: v1::TaskSelector,
    glob: Option<WildMatch>,
    kinds: Vec<HeadKind>,
    text: String,
}

impl Filter {
    fn parse(selector: v1::TaskSelector) -> Result<Self, Status> {
        let kinds = selector.kinds.iter().map(|number| from_proto::kind("selector.kinds", *number));
        Ok(Self {
            glob: (!selector.glob.is_empty()).then(|| WildMatch::new(&selector.glob)),
            kinds: kinds.collect::<Result<_, _>>()?,
            text: selector.text.to_lowercase(),
            selector,
        })
    }

    fn accepts(&self, task: &LiveTask, served: &ServedHead) -> bool {
        let name = task.key.task.as_str();
        let parts = served.head.parts();
        let about = &parts.about;
        let mentions = |text: &str| text.to_lowercase().contains(&self.text);
        let dataset_is = |dataset: &str| dataset.eq_ignore_ascii_case(&self.selector.dataset);
        self.glob.as_ref().is_none_or(|glob| glob.matches(name))
            && (self.kinds.is_empty() || self.kinds.contains(&served.head.kind()))
            && self.selector.tags.iter().all(|tag| about.tags.contains(tag))
            && self.selector.labels.iter().all(|label| parts.labels.contains(label))
            && (self.selector.dataset.is_empty() || dataset_is(&about.source))
            && (self.text.is_empty()
                || mentions(name)
                || mentions(&about.description)
                || about.tags.iter().chain(&parts.labels).any(|word| mentions(word)))
    }

    /// What a page token of this selection begins with.
    fn token_prefix(&self) -> String {
        let digest = registry::Digest::of(format!("{:?}", self.selector).as_bytes());
        format!("{}:", digest.hex().get(..16).unwrap_or_default())
    }
}
