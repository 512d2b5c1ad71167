//! WatchTasks: what is served, and every change of it, at the reader's pace.
//!
//! No change is kept for a reader: one who falls behind is told the newest state of what changed meanwhile, and one who
//! falls behind what [`ChangeLog`](crate::change_log::ChangeLog) remembers is told everything anew. Readers see their own
//! tenant's tasks and the catalogue's, as they do in listings.

use std::convert::Infallible;
use std::sync::Arc;

use api::v1;
use api::v1::watch_tasks_response::Event;
use engine::{EngineError, TaskName};
use tokio::sync::mpsc;
use tonic::Status;

use crate::caller::Caller;
use crate::catalog::{Filter, described};
use crate::places::LongWork;
use crate::serving::Serving;
use crate::view::View;
use crate::{status, to_proto};

/// Messages that wait for a slow reader.
const MAX_WAITING: usize = 16;

type Responses = mpsc::Sender<Result<v1::WatchTasksResponse, Status>>;

/// The reader has gone away, or its credential has ended and it was told so.
struct Gone;

struct Watch {
    serving: Arc<Serving>,
    caller: Caller,
    filter: Filter,
    responses: Responses,
}

/// Watches on a task of its own, until the reader goes away or the server drains.
pub(crate) fn start(
    serving: Arc<Serving>,
    request: v1::WatchTasksRequest,
    caller: Caller,
) -> Result<mpsc::Receiver<Result<v1::WatchTasksResponse, Status>>, Status> {
    let filter = Filter::parse(request.selector.unwrap_or_default())?;
    let place = serving.place(LongWork::Watch, caller.tenant())?;
    let (responses, receiver) = mpsc::channel(MAX_WAITING);
    // The end can be told however full the channel is.
    let last_word = responses.clone().try_reserve_owned();
    let watch = Watch { serving: Arc::clone(&serving), caller, filter, responses: responses.clone() };
    tokio::spawn(async move {
        let _place = place;
        tokio::select! {
            _ = watch.tell(request.from_generation) => {}
            () = responses.closed() => {}
            () = serving.draining() => {
                if let Ok(last_word) = last_word {
                    last_word.send(Err(status::of_engine(EngineError::Draining)));
                }
            }
        }
    });
    Ok(receiver)
}

impl Watch {
    /// Ends with the reader.
    async fn tell(&self, from: Option<u64>) -> Result<Infallible, Gone> {
        let log = self.serving.changes().log();
        let mut news = log.news();
        let mut told = match from {
            Some(from) if log.can_resume(from) => {
                self.send(Event::UpToDate(v1::UpToDate {}), from).await?;
                from
            }
            Some(_) => self.snapshot(v1::SnapshotReason::NotRemembered).await?,
            None => self.snapshot(v1::SnapshotReason::Beginning).await?,
        };
        loop {
            // The writer ends after the last reader.
            news.wait_for(|generation| *generation > told).await.map_err(|_| Gone)?;
            let view = self.view();
            let seen = |tenant: &_| tenant == view.tenant || Some(tenant) == view.catalogue;
            told = match log.since(told, seen) {
                Some(since) => self.changes(told, since.generation, since.tasks).await?,
                None => self.snapshot(v1::SnapshotReason::Missed).await?,
            };
        }
    }

    /// Tells everything. What changes meanwhile is told again after it.
    async fn snapshot(&self, reason: v1::SnapshotReason) -> Result<u64, Gone> {
        let generation = self.serving.changes().log().generation();
        let view = self.view();
        let tasks = self.filter.choose(&view);
        let begin = v1::TaskSnapshot { reason: reason.into(), tasks: tasks.len() as u32 };
        self.send(Event::Snapshot(begin), 0).await?;
        for (task, served) in &tasks {
            self.send(Event::Served(to_proto::task(task, served, &view)), 0).await?;
        }
        self.send(Event::UpToDate(v1::UpToDate {}), generation).await?;
        Ok(generation)
    }

    /// Tells what is now so of `tasks`, which changed after `from` and up to `to`.
    async fn changes(&self, from: u64, to: u64, tasks: impl IntoIterator<Item = TaskName>) -> Result<u64, Gone> {
        let mut tasks = tasks.into_iter().filter(|task| self.filter.accepts_name(task)).peekable();
        while let Some(task) = tasks.next() {
            let resume_at = if tasks.peek().is_some() { from } else { to };
            self.send(self.now(task), resume_at).await?;
        }
        Ok(to)
    }

    fn now(&self, task: TaskName) -> Event {
        let view = self.view();
        let (own, shared) = view.keys(task);
        let task = view.live.find(&own).or_else(|| view.live.find(&shared?));
        let found = task.and_then(|task| Some((described(&task)?, task)));
        match found.filter(|(served, task)| self.filter.accepts(task, served)) {
            Some((served, task)) => Event::Served(to_proto::task(&task, &served, &view)),
            None => Event::Withdrawn(own.task.to_string()),
        }
    }

    fn view(&self) -> View<'_> {
        self.caller.view(self.serving.engine().live())
    }

    async fn send(&self, event: Event, resume_generation: u64) -> Result<(), Gone> {
        if let Err(ended) = self.caller.check_still_good() {
            let _ = self.responses.send(Err(ended)).await;
            return Err(Gone);
        }
        let response = v1::WatchTasksResponse { event: Some(event), resume_generation };
        self.responses.send(Ok(response)).await.map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests;
