//! One encoder in two modes on the same rows: how far its logits move, and how many answers change.
//!
//! [`Questions`] are made once; [`ask`] puts them to one model, through the engine, as callers would; [`compare`] holds
//! the answers of two models against each other. Only the logits of a model are kept, so models are loaded one after
//! the other.

mod texts;
mod questions;
mod asking;
mod tally;
mod report;

use engine::{HeadKind, TaskName};

use tally::Rule;

pub use asking::{Answers, AskError, ask, limits};
pub(crate) use asking::{PATIENCE, loaded, publish_head};
pub(crate) use questions::read_rows;
pub use questions::{QuestionError, Questions, Source};
pub use report::{table, to_json};
pub use tally::Tally;

/// What two models make of the same questions.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Element type of the model that was held against the exact one.
    pub dtype: String,
    /// Where it ran, such as `cpu` or `cuda:0`.
    pub device: String,
    /// One entry a task, by name.
    pub tasks: Vec<TaskComparison>,
    /// All heads on the same rows without task embeddings; empty where no such rows were asked.
    pub shared: Tally,
}

/// The same of one task.
#[derive(Debug, Clone)]
pub struct TaskComparison {
    /// The task.
    pub task: TaskName,
    /// Its head's kind.
    pub kind: HeadKind,
    /// Where its rows come from.
    pub source: Source,
    /// What changed.
    pub tally: Tally,
}

impl Comparison {
    /// The sum over all tasks, each asked in its own mode.
    #[must_use]
    pub fn total(&self) -> Tally {
        self.sum(|_| true)
    }

    /// The sum over the tasks of some kinds.
    fn sum(&self, counts: impl Fn(HeadKind) -> bool) -> Tally {
        let counted = self.tasks.iter().filter(|task| counts(task.kind));
        counted.fold(Tally::default(), |sum, task| sum.plus(&task.tally))
    }
}

/// Holds the answers of a `reduced` model against those of the `exact` one to the same questions.
#[must_use]
pub fn compare(questions: &Questions, exact: &Answers, reduced: &Answers) -> Comparison {
    let mut shared = Tally { rows: exact.shared_rows, ..Tally::default() };
    let mut tasks = Vec::with_capacity(questions.tasks.len());
    for ((question, exact), reduced) in questions.tasks.iter().zip(&exact.tasks).zip(&reduced.tasks) {
        let rule = Rule::of(&question.head);
        let mut tally = Tally { rows: exact.rows, ..Tally::default() };
        for (exact, reduced) in exact.logits.iter().zip(&reduced.logits) {
            tally.add(&rule, exact, reduced);
        }
        for (exact, reduced) in exact.shared.iter().zip(&reduced.shared) {
            shared.add(&rule, exact, reduced);
        }
        let (task, kind, source) = (question.task.clone(), question.head.kind(), question.source);
        tasks.push(TaskComparison { task, kind, source, tally });
    }
    Comparison { dtype: reduced.dtype.clone(), device: reduced.device.clone(), tasks, shared }
}
