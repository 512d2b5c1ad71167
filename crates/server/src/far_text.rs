//! Statistics of a bundle's out-of-distribution scores from its training text, and how well the scores tell a task's own
//! texts from those of other tasks.

use std::path::Path;
use std::sync::Arc;

use engine::{
    Alias, EmbedAsk, Engine, EngineError, EngineParts, Head, HeadKind, Input, OodError, OodStatistics, Reading,
    Selector, TaskKey, TaskName, TenantName, VectorKind,
};
use registry::{Bundle, EncoderWidths, RegistryError};
use tokio::time::Instant;

use crate::comparison::{AskError, PATIENCE, QuestionError, loaded, publish_head, read_rows};

/// Inputs of one ask.
const INPUTS: usize = 64;

/// How many rows are read, spread evenly over their files.
#[derive(Debug, Clone, Copy)]
pub struct RowCounts {
    /// Training rows of a task, for its statistics.
    pub training: usize,
    /// Validation rows of a task, as its own texts.
    pub own: usize,
    /// Validation rows of every other task, as texts of other tasks.
    pub of_each_other: usize,
}

/// What was found for one task.
#[derive(Debug, Clone)]
pub struct FarText {
    /// The task.
    pub task: TaskName,
    /// The statistics of its training text.
    pub statistics: Arc<OodStatistics>,
    /// How well scores tell its own validation texts from those of other tasks: the area under the ROC curve.
    pub auroc: f64,
    /// Validation texts of its own.
    pub own: usize,
    /// Validation texts of other tasks.
    pub others: usize,
}

/// Why there are no statistics.
#[derive(Debug, thiserror::Error)]
pub enum FarTextError {
    /// Rows or heads cannot be read.
    #[error(transparent)]
    Rows(#[from] QuestionError),
    /// The encoder did not start.
    #[error(transparent)]
    Encoder(#[from] AskError),
    /// Vectors were refused.
    #[error("cannot read the texts of {task}")]
    Vectors {
        /// The task.
        task: TaskName,
        /// Why.
        source: EngineError,
    },
    /// What was found cannot be kept.
    #[error(transparent)]
    Record(#[from] RegistryError),
    /// Vectors make no statistics.
    #[error("cannot make statistics of {task}")]
    Statistics {
        /// The task.
        task: TaskName,
        /// Why.
        source: OodError,
    },
}

/// A head of the bundle with the rows of its files.
struct Task {
    name: TaskName,
    head: Arc<Head>,
    training: Vec<Input>,
    own: Vec<Input>,
}

/// Makes and judges statistics for every head of `bundle` that has files in `data`: JSON lines in `train/<task>.jsonl`
/// and `validation/<task>.jsonl`, with `__` for each `/`. Others are left out. `told` hears of each as it is done. Rows without text are
/// passed over.
///
/// # Errors
/// [`FarTextError`].
pub async fn measure(
    parts: EngineParts,
    (bundle, widths): (&Bundle, EncoderWidths),
    data: &Path,
    counts: RowCounts,
    mut told: impl FnMut(&FarText) -> Result<(), RegistryError>,
) -> Result<Vec<FarText>, FarTextError> {
    let tasks = tasks(bundle, widths, data, counts)?;
    let engine = Engine::start(parts).map_err(AskError::Thread)?;
    let measured = async {
        let info = loaded(&engine).await?;
        let mut measured = Vec::with_capacity(tasks.len());
        for task in &tasks {
            publish_head(&engine, &task.name, &task.head, &info);
            let others = tasks.iter().filter(|other| other.name != task.name);
            let others: Vec<Input> = others.flat_map(|other| spread(&other.own, counts.of_each_other)).collect();
            let far_text = measure_one(&engine, task, &others).await?;
            told(&far_text)?;
            measured.push(far_text);
        }
        Ok(measured)
    };
    let measured = measured.await;
    engine.stop(Instant::now() + PATIENCE).await;
    measured
}

/// The area under the ROC curve of scores that should be low for `near` and high for `far`: the chance that one of
/// `far`, drawn at random, scores higher than one of `near`; equal ones count half. NaN where one of the two is empty.
#[must_use]
pub fn auroc(near: &[f32], far: &[f32]) -> f64 {
    let mut sorted = near.to_vec();
    sorted.sort_by(f32::total_cmp);
    let below = |score: &f32| {
        let (less, not_more) =
            (sorted.partition_point(|near| near < score), sorted.partition_point(|near| near <= score));
        (less + not_more) as f64 / 2.0
    };
    far.iter().map(below).sum::<f64>() / (near.len() * far.len()) as f64
}

async fn measure_one(engine: &Engine, task: &Task, others: &[Input]) -> Result<FarText, FarTextError> {
    let refused = |source| FarTextError::Vectors { task: task.name.clone(), source };
    let training = vectors(engine, task, &task.training).await.map_err(refused)?;
    let training: Vec<&[f32]> = training.iter().flatten().map(AsRef::as_ref).collect();
    let statistics = OodStatistics::fit(&training);
    let statistics = statistics.map_err(|source| FarTextError::Statistics { task: task.name.clone(), source })?;
    let scores = async |inputs: &[Input]| -> Result<Vec<f32>, FarTextError> {
        let vectors = vectors(engine, task, inputs).await.map_err(refused)?;
        let score = |rows: &Vec<Arc<[f32]>>| {
            let scores = rows.iter().filter_map(|vector| statistics.score(vector));
            scores.sum::<f32>() / rows.len() as f32
        };
        Ok(vectors.iter().map(score).collect())
    };
    let (near, far) = (scores(&task.own).await?, scores(others).await?);
    Ok(FarText {
        task: task.name.clone(),
        auroc: auroc(&near, &far),
        statistics: Arc::new(statistics),
        own: near.len(),
        others: far.len(),
    })
}

/// The pooled vectors of the rows that each input becomes, with the task's embedding.
async fn vectors(engine: &Engine, task: &Task, inputs: &[Input]) -> Result<Vec<Vec<Arc<[f32]>>>, EngineError> {
    let rows: Vec<Vec<Input>> = inputs.iter().map(|input| rows_of(input, task.head.kind())).collect();
    let flat: Vec<Input> = rows.iter().flatten().cloned().collect();
    let key = TaskKey { tenant: TenantName::default_tenant(), task: task.name.clone() };
    let mut vectors = Vec::with_capacity(flat.len());
    for inputs in flat.chunks(INPUTS) {
        let ask = EmbedAsk {
            inputs: inputs.to_vec(),
            task: Some((key.clone(), Selector::Alias(Alias::live()))),
            kind: VectorKind::Pooled,
            reading: Reading::default(),
        };
        vectors.extend(engine.embed(ask).await?.inputs.into_iter().map(|embedded| embedded.vector));
    }
    let mut vectors = vectors.into_iter();
    Ok(rows.iter().map(|rows| vectors.by_ref().take(rows.len()).collect()).collect())
}

/// The rows of an input as inputs of their own: one a choice. A token head's words stay words; another head reads them
/// as text.
fn rows_of(input: &Input, kind: HeadKind) -> Vec<Input> {
    if !input.choices.is_empty() {
        let choice =
            |choice: &String| Input { text: input.text.clone(), text_pair: Some(choice.clone()), ..Input::default() };
        return input.choices.iter().map(choice).collect();
    }
    if !input.tokens.is_empty() && !kind.reads_tokens() {
        return vec![Input { text: Some(input.tokens.join(" ")), ..Input::default() }];
    }
    vec![input.clone()]
}

fn tasks(bundle: &Bundle, widths: EncoderWidths, data: &Path, counts: RowCounts) -> Result<Vec<Task>, QuestionError> {
    let mut tasks = Vec::new();
    for name in bundle.heads() {
        let file = format!("{}.jsonl", name.as_str().replace('/', "__"));
        let (training, validation) = (data.join("train").join(&file), data.join("validation").join(&file));
        if !(training.is_file() && validation.is_file()) {
            continue;
        }
        tasks.push(Task {
            name: name.clone(),
            head: Arc::new(bundle.read_head(name, widths)?.1),
            training: with_text(read_rows(&training, counts.training)?),
            own: with_text(read_rows(&validation, counts.own)?),
        });
    }
    if tasks.is_empty() { Err(QuestionError::NoRows { path: data.to_owned() }) } else { Ok(tasks) }
}

/// Those of `inputs` in which nothing is empty: data sets hold rows that no caller could ask about.
fn with_text(mut inputs: Vec<Input>) -> Vec<Input> {
    let is_full = |input: &Input| {
        let mut texts = input.text.iter().chain(&input.choices).chain(&input.tokens);
        texts.all(|text| !text.is_empty())
    };
    inputs.retain(is_full);
    inputs
}

/// At most `count` of `inputs`, spread evenly.
fn spread(inputs: &[Input], count: usize) -> impl Iterator<Item = Input> {
    let count = count.min(inputs.len());
    (0..count).filter_map(move |place| inputs.get(place * inputs.len() / count)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_the_right_order() {
        assert_eq!(auroc(&[1.0, 2.0], &[3.0, 4.0, 5.0]), 1.0);
        assert_eq!(auroc(&[3.0, 4.0], &[1.0]), 0.0);
        assert_eq!(auroc(&[1.0, 3.0], &[2.0, 4.0]), 0.75);
        assert_eq!(auroc(&[1.0, 1.0], &[1.0]), 0.5);
        assert!(auroc(&[], &[1.0]).is_nan());
    }

    #[test]
    fn rows_with_something_empty_are_passed_over() {
        let text = |text: &str| Input { text: Some(text.to_owned()), ..Input::default() };
        let words =
            |words: &[&str]| Input { tokens: words.iter().map(|&word| word.into()).collect(), ..Input::default() };
        let inputs = vec![text(""), text("a"), words(&["b", ""]), words(&["c"])];
        assert_eq!(with_text(inputs), [text("a"), words(&["c"])]);
    }

    #[test]
    fn an_input_becomes_the_rows_that_the_head_would_read() {
        let choices = Input { text: Some("so".into()), choices: vec!["a".into(), "b".into()], ..Input::default() };
        let pairs: Vec<_> = rows_of(&choices, HeadKind::MultipleChoice).into_iter().map(|row| row.text_pair).collect();
        assert_eq!(pairs, [Some("a".to_owned()), Some("b".to_owned())]);
        let words = Input { tokens: vec!["New".into(), "York".into()], ..Input::default() };
        assert_eq!(rows_of(&words, HeadKind::TokenClassification), std::slice::from_ref(&words));
        assert_eq!(rows_of(&words, HeadKind::Regression)[0].text.as_deref(), Some("New York"));
    }
}
