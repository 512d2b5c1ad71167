//! Finding tasks: by words, by likeness to another task, by an input, and among all that were ever published.

use std::sync::Arc;

use api::v1;
use engine::{HeadDirections, LabelSet, LiveTask, Reading, ServedHead, cosine};
use registry::{KnownTask, published_tasks};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Status;
use tracing::error;
use wildmatch::WildMatch;

use crate::caller::Caller;
use crate::catalog::{Bounds, Filter, MAX_PAGE_BYTES, PAGE, first_that_fit, token_prefix};
use crate::ranking::{Field, Match, Query, rank};
use crate::samples::{OfHead, SampleVectors, nearest, one_sequence, pooled};
use crate::serving::Serving;
use crate::view::View;
use crate::{from_proto, status, to_proto};

/// Matches on a page of a search.
const MATCHES: Bounds = Bounds { default: 20, most: 100 };
/// Tasks in a reply that has no pages.
const TASKS: Bounds = Bounds { default: 10, most: 100 };
/// Shared labels told of one task.
const SHARED_LABELS: usize = 20;

/// A task, and the version that describes it.
type Described = (Arc<LiveTask>, Arc<ServedHead>);

/// What the methods here work with beside what is served.
#[derive(Debug)]
pub(crate) struct Finder {
    samples: SampleVectors,
    known: Vec<KnownTask>,
    /// Comparisons with every task take a processor for a while: one at a time, so that callers of heads keep the rest.
    working: Semaphore,
}

impl Finder {
    pub(crate) fn new() -> Self {
        let known = published_tasks().unwrap_or_else(|error| {
            error!(%error, "the catalogue of published tasks cannot be read");
            Vec::new()
        });
        Self { samples: SampleVectors::default(), known, working: Semaphore::new(1) }
    }

    /// To be kept current.
    pub(crate) fn samples(&self) -> &SampleVectors {
        &self.samples
    }

    async fn compute<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        // The semaphore is never closed.
        let _turn = self.working.acquire().await;
        let failed = |failure: tokio::task::JoinError| status::internal("internal error", &failure.to_string());
        tokio::task::spawn_blocking(job).await.map_err(failed)
    }
}

/// Tasks by words.
pub(crate) async fn search(
    view: &View<'_>,
    finder: &Finder,
    request: v1::SearchTasksRequest,
) -> Result<v1::SearchTasksResponse, Status> {
    let v1::SearchTasksRequest { query, selector, page_size, page_token } = request;
    let words = Query::parse(&query).map_err(|reason| status::invalid_field("query", &reason))?;
    let page_size = MATCHES.parse("page_size", page_size)?;
    let prefix = token_prefix(&(&words, &selector));
    let filter = Filter::parse(selector.unwrap_or_default())?;
    let start = place(&page_token, &prefix)?;
    let chosen = filter.choose(view);
    let (chosen, matches) = finder
        .compute(move || {
            let matches = rank(&words, chosen.iter().map(|(task, served)| (&task.key.task, served.head.as_ref())));
            (chosen, matches)
        })
        .await?;
    let rest = matches.get(start..).unwrap_or_default();
    let found = rest.iter().take(page_size).filter_map(|found| task_match(&chosen, found, view));
    let page = first_that_fit(found, MAX_PAGE_BYTES);
    let next = start + page.len();
    let next_page_token = if next < matches.len() { format!("{prefix}{next}") } else { String::new() };
    Ok(v1::SearchTasksResponse { matches: page, next_page_token, total: matches.len() as u32 })
}

/// Tasks like another.
pub(crate) async fn similar(
    view: &View<'_>,
    finder: &Finder,
    request: v1::SimilarTasksRequest,
) -> Result<v1::SimilarTasksResponse, Status> {
    let key = view.key("task", &request.task)?;
    let selector = from_proto::selector(&request.version)?;
    let limit = TASKS.parse("limit", request.limit)?;
    let by = match v1::Similarity::try_from(request.by) {
        Ok(v1::Similarity::Unspecified | v1::Similarity::Labels) => v1::Similarity::Labels,
        Ok(by @ (v1::Similarity::Embedding | v1::Similarity::Head)) => by,
        Err(_) => return Err(from_proto::unknown_number("by", request.by)),
    };
    let filter = Filter::parse(request.selector.unwrap_or_default())?;
    let own = view.live.find(&key).and_then(|task| task.select(&selector));
    let own = own.ok_or_else(|| status::not_found("no such task, version or alias"))?;
    let parts = own.head.parts();
    if by == v1::Similarity::Labels && parts.labels.is_empty() {
        return Err(status::failed_precondition("NO_LABELS", "task", "the task has no labels"));
    }
    if by == v1::Similarity::Embedding && parts.task_embedding.is_none() {
        return Err(status::failed_precondition("NO_TASK_EMBEDDING", "task", "the head has no task embedding"));
    }
    let mut others = filter.choose(view);
    others.retain(|(task, _)| task.key != key);
    let found = finder.compute(move || most_similar(&own, &others, by, limit)).await?;
    let tasks = found.into_iter().map(|found| found.message(view)).collect::<Vec<_>>();
    Ok(v1::SimilarTasksResponse { tasks: first_that_fit(tasks.into_iter(), MAX_PAGE_BYTES), by: by.into() })
}

/// Tasks that an input may be meant for.
pub(crate) async fn suggest(
    serving: &Serving,
    finder: &Finder,
    request: v1::SuggestTasksRequest,
    (deadline, caller): (Option<Instant>, &Caller),
) -> Result<v1::SuggestTasksResponse, Status> {
    let limit = TASKS.parse("limit", request.limit)?;
    let filter = Filter::parse(request.selector.unwrap_or_default())?;
    let input = request.input.ok_or_else(|| status::invalid_field("input", "an input is needed"))?;
    let engine = serving.engine();
    if engine.info().is_some_and(|info| !info.has_pooler) {
        return Err(status::failed_precondition("NO_POOLER", "encoder", "the encoder has no pooler"));
    }
    let reading = Reading { deadline, lane: Some(caller.lane()), ..Reading::default() };
    let vector = pooled(engine, one_sequence(&from_proto::input(input), None), reading).await;
    let vector = vector.map_err(|error| status::of_engine(from_proto::with_single_input(error)))?;
    let view = caller.view(engine.live());
    let all = filter.choose(&view);
    let n_all = all.len();
    let (with, without): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, served)| !served.head.parts().about.samples.is_empty());
    let heads: Vec<_> = with.iter().map(|(_, served)| Arc::clone(served)).collect();
    let known = finder.samples.of(&heads);
    let pending = known.iter().filter(|of_head| of_head.is_none()).count();
    let compared = n_all - without.len() - pending;
    let compare = move || {
        let near =
            |(described, of_head): (Described, Option<OfHead>)| Some((described, nearest(&vector, of_head?.as_ref())?));
        let mut near: Vec<_> = with.into_iter().zip(known).filter_map(near).collect();
        near.sort_by(|(_, left), (_, right)| right.similarity.total_cmp(&left.similarity));
        near.truncate(limit);
        near
    };
    let tasks = finder.compute(compare).await?.into_iter().map(|((task, served), nearest)| v1::SuggestedTask {
        task: Some(to_proto::task(&task, &served, &view)),
        similarity: nearest.similarity,
        sample: nearest.sample as u32,
    });
    Ok(v1::SuggestTasksResponse {
        tasks: first_that_fit(tasks, MAX_PAGE_BYTES),
        compared: compared as u32,
        without_samples: without.len() as u32,
        pending: pending as u32,
    })
}

/// Published tasks, served or not.
pub(crate) fn known(
    view: &View<'_>,
    finder: &Finder,
    request: v1::ListKnownTasksRequest,
) -> Result<v1::ListKnownTasksResponse, Status> {
    let v1::ListKnownTasksRequest { page_size, page_token, glob, kinds } = request;
    let page_size = PAGE.parse("page_size", page_size)?;
    let prefix = token_prefix(&(&glob, &kinds));
    let start = place(&page_token, &prefix)?;
    let kinds: Vec<_> = kinds.iter().map(|kind| from_proto::kind("kinds", *kind)).collect::<Result<_, _>>()?;
    let pattern = (!glob.is_empty()).then(|| WildMatch::new(&glob));
    let chosen = |task: &&KnownTask| {
        pattern.as_ref().is_none_or(|pattern| pattern.matches(&task.name))
            && (kinds.is_empty() || kinds.contains(&task.kind))
    };
    let chosen: Vec<_> = finder.known.iter().filter(chosen).collect();
    let is_served = |name: &str| view.key("name", name).is_ok_and(|key| view.live.find(&key).is_some());
    let tasks = chosen.iter().skip(start).take(page_size).map(|task| v1::KnownTask {
        name: task.name.clone(),
        kind: to_proto::kind(task.kind).into(),
        prompt: task.prompt.clone(),
        served: is_served(&task.name),
    });
    let tasks = first_that_fit(tasks, MAX_PAGE_BYTES);
    let next = start + tasks.len();
    let next_page_token = if next < chosen.len() { format!("{prefix}{next}") } else { String::new() };
    Ok(v1::ListKnownTasksResponse { tasks, next_page_token, total: chosen.len() as u32 })
}

/// Where a page begins: after `prefix`, which the selection gives, the token holds a number.
fn place(page_token: &str, prefix: &str) -> Result<usize, Status> {
    if page_token.is_empty() {
        return Ok(0);
    }
    let place = page_token.strip_prefix(prefix).and_then(|place| place.parse().ok());
    place.ok_or_else(|| status::invalid_field("page_token", "it belongs to another selection"))
}

fn task_match(chosen: &[Described], found: &Match, view: &View<'_>) -> Option<v1::TaskMatch> {
    let (task, served) = chosen.get(found.task)?;
    let reasons = found.reasons.iter().map(|reason| v1::MatchReason {
        word: reason.word.clone(),
        field: search_field(reason.field).into(),
        points: reason.points,
    });
    Some(v1::TaskMatch {
        task: Some(to_proto::task(task, served, view)),
        score: found.score,
        reasons: reasons.collect(),
    })
}

fn search_field(field: Field) -> v1::SearchField {
    match field {
        Field::Name => v1::SearchField::Name,
        Field::Tag => v1::SearchField::Tag,
        Field::Label => v1::SearchField::Label,
        Field::Dataset => v1::SearchField::Dataset,
        Field::Kind => v1::SearchField::Kind,
        Field::Description => v1::SearchField::Description,
    }
}

/// A task that is like another.
struct Similar {
    described: Described,
    similarity: f64,
    shared_labels: Vec<String>,
}

impl Similar {
    fn message(self, view: &View<'_>) -> v1::SimilarTask {
        let (task, served) = &self.described;
        let task = Some(to_proto::task(task, served, view));
        v1::SimilarTask { task, similarity: self.similarity, shared_labels: self.shared_labels }
    }
}

fn most_similar(own: &ServedHead, others: &[Described], by: v1::Similarity, limit: usize) -> Vec<Similar> {
    let own_labels = LabelSet::of(&own.head);
    let own_directions = HeadDirections::of(&own.head);
    let similarity = |served: &ServedHead| match by {
        v1::Similarity::Unspecified | v1::Similarity::Labels => {
            Some(own_labels.similarity(&LabelSet::of(&served.head)))
        }
        v1::Similarity::Embedding => {
            let [left, right] = [own, served].map(|served| served.head.parts().task_embedding.as_deref());
            cosine(left?, right?)
        }
        v1::Similarity::Head => own_directions.similarity(&HeadDirections::of(&served.head)),
    };
    let mut found: Vec<_> = others
        .iter()
        .filter_map(|described| Some((described, similarity(&described.1)?)))
        .filter(|(_, similarity)| *similarity > 0.0)
        .collect();
    found.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    let shared = |served: &ServedHead| match by {
        v1::Similarity::Unspecified | v1::Similarity::Labels => {
            let labels = served.head.parts().labels.iter().filter(|label| own_labels.holds(label));
            labels.take(SHARED_LABELS).cloned().collect()
        }
        v1::Similarity::Embedding | v1::Similarity::Head => Vec::new(),
    };
    let similar = |(described, similarity): (&Described, f64)| Similar {
        described: described.clone(),
        similarity,
        shared_labels: shared(&described.1),
    };
    found.into_iter().take(limit).map(similar).collect()
}
