//! A fit with a task embedding of its own: learned, the rows read again with it, the head fitted anew.

use std::sync::Arc;

use api::v1;
use engine::{Lessons, ModelInfo};
use futures_util::{StreamExt, TryStreamExt, stream};
use tonic::Status;

use crate::fit::events::Teller;
use crate::fit::examples::Collected;
use crate::fit::label_book::Labels;
use crate::fit::lessons::{self, Lesson};
use crate::fit::plan::Plan;
use crate::fit::solve;
use crate::fit::solving::Solved;
use crate::serving::Serving;
use crate::status;

/// So many times the embedding is learned and the head fitted to it.
const ROUNDS: usize = 2;
/// Rows on their way through the encoder.
const ROWS_AT_ONCE: usize = 64;

/// The rows of a fit as token sequences: to learn from, and to judge by.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) train: Vec<Lesson>,
    pub(crate) validation: Vec<Lesson>,
}

/// What learning has come to.
pub(crate) struct Learned {
    pub(crate) solved: Solved,
    /// Absent where no embedding did better on rows held out than none.
    pub(crate) embedding: Option<Arc<[f32]>>,
    /// Steps taken, also those that led nowhere.
    pub(crate) steps: usize,
}

/// Improves on `first`, the fit without an embedding.
///
/// # Errors
/// FAILED_PRECONDITION where the encoder does not differentiate; whatever ends the engine's or the solver's work.
pub(crate) async fn learn(
    (serving, info, plan): (&Serving, &ModelInfo, &Plan),
    read: &Read,
    labels: &Labels,
    first: Solved,
    teller: &mut Teller,
) -> Result<Learned, Status> {
    let lessons = Lessons::default();
    let mut embedding = vec![0.0; info.embedding];
    let mut present = Arc::clone(&first.fitted);
    let mut best = Learned { solved: first, embedding: None, steps: 0 };
    let mut steps = 0;
    for _ in 0..ROUNDS {
        let taken;
        let step = (serving, (&lessons, plan.reading()), labels);
        (embedding, taken) = lessons::descend(step, &read.train, &present, embedding, teller).await?;
        steps += taken;
        let own: Arc<[f32]> = embedding.as_slice().into();
        let mut collected = Collected::new(info.hidden, serving.fit_memory_bytes());
        for (side, is_validation) in [(&read.train, false), (&read.validation, true)] {
            encode((serving, plan), side, is_validation, &own, (&mut collected, labels, teller)).await?;
        }
        let solved = solve(serving, collected, (plan, info, labels), teller).await?;
        present = Arc::clone(&solved.fitted);
        if held_out_loss(&solved) <= held_out_loss(&best.solved) {
            best = Learned { solved, embedding: Some(own), steps };
        }
    }
    Ok(Learned { steps, ..best })
}

/// The loss on rows held out; equal for all fits where nothing was, so that the last one counts.
fn held_out_loss(solved: &Solved) -> f64 {
    solved.fitted.held_out_loss.unwrap_or_default()
}

async fn encode(
    (serving, plan): (&Serving, &Plan),
    side: &[Lesson],
    is_validation: bool,
    embedding: &Arc<[f32]>,
    (collected, labels, teller): (&mut Collected, &Labels, &mut Teller),
) -> Result<(), Status> {
    let read = |lesson: &Lesson| {
        let (sequences, answer) = (lesson.sequences.clone(), lesson.answer.clone());
        let pooled = serving.engine().pooled(sequences, Some(Arc::clone(embedding)), plan.reading());
        async move { Ok::<_, Status>((answer, pooled.await.map_err(status::of_engine)?)) }
    };
    let mut vectors = stream::iter(side).map(read).buffered(ROWS_AT_ONCE);
    let mut done = 0;
    while let Some((answer, vectors)) = vectors.try_next().await? {
        let sizes = (labels.outputs, plan.settings.folds);
        collected.take((answer, is_validation), &vectors, sizes).map_err(status::of_engine)?;
        done += 1;
        teller.progress(v1::Stage::Encoding, done, side.len());
    }
    Ok(())
}
