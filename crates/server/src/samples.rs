//! The vectors of the heads' sample inputs: computed one by one behind the traffic, kept while the head is served, and
//! compared with the vector of an input.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::{EmbedAsk, Engine, EngineError, Input, Priority, Reading, ServedHead, VectorKind, cosine};
use tracing::{debug, warn};

use crate::catalog::described;

/// The vectors of one head's samples, each with the sample's position; a sample that has none is left out.
pub(crate) type OfHead = Arc<[(usize, Arc<[f32]>)]>;

/// The vectors of the samples of all described heads, by the heads' digests; filled by [`keep_current`].
#[derive(Debug, Default)]
pub(crate) struct SampleVectors {
    by_head: Mutex<HashMap<String, OfHead>>,
}

/// A task's sample that is nearest to an input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Nearest {
    /// Position among the head's samples.
    pub(crate) sample: usize,
    /// Cosine, -1 to 1.
    pub(crate) similarity: f64,
}

impl SampleVectors {
    /// What is known of each of `heads`; `None` where nothing is yet.
    pub(crate) fn of(&self, heads: &[Arc<ServedHead>]) -> Vec<Option<OfHead>> {
        let known = self.lock();
        heads.iter().map(|served| known.get(&served.digest).cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, OfHead>> {
        self.by_head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An input as one sequence: of choices the first stands for all, and the head's own prompt for a text that is missing.
pub(crate) fn one_sequence(input: &Input, prompt: Option<&str>) -> Input {
    let own = || prompt.filter(|_| input.tokens.is_empty()).map(str::to_owned);
    Input {
        text: input.text.clone().or_else(own),
        text_pair: input.text_pair.clone().or_else(|| input.choices.first().cloned()),
        choices: Vec::new(),
        tokens: input.tokens.clone(),
    }
}

/// The nearest of a head's vectors to `vector`. `None` where there is none to compare.
pub(crate) fn nearest(vector: &[f32], of_head: &[(usize, Arc<[f32]>)]) -> Option<Nearest> {
    let similarity = |(sample, other): &(usize, Arc<[f32]>)| {
        cosine(vector, other).map(|similarity| Nearest { sample: *sample, similarity })
    };
    let nearer = |best: Nearest, next: Nearest| if next.similarity > best.similarity { next } else { best };
    of_head.iter().filter_map(similarity).reduce(nearer)
}

/// Keeps `vectors` as the samples of what is served, from now on and for ever. One row at a time, in the line of rows that
/// nobody waits for: the engine says when they may go.
pub(crate) async fn keep_current(engine: &Engine, vectors: &SampleVectors) {
    let mut changes = engine.live().changes();
    loop {
        changes.borrow_and_update();
        let heads = heads_with_samples(engine);
        let digests: HashSet<&str> = heads.iter().map(|served| served.digest.as_str()).collect();
        vectors.lock().retain(|digest, _| digests.contains(digest.as_str()));
        for served in &heads {
            if !vectors.lock().contains_key(&served.digest) {
                let of_head = of_head(engine, served).await;
                vectors.lock().insert(served.digest.clone(), of_head.into());
            }
        }
        debug!(heads = heads.len(), "sample vectors are current");
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn heads_with_samples(engine: &Engine) -> Vec<Arc<ServedHead>> {
    let tasks = engine.live().tasks();
    let heads = tasks.iter().filter_map(|task| described(task));
    heads.filter(|served| !served.head.parts().about.samples.is_empty()).collect()
}

async fn of_head(engine: &Engine, served: &ServedHead) -> Vec<(usize, Arc<[f32]>)> {
    let parts = served.head.parts();
    let mut vectors = Vec::new();
    for (sample, input) in parts.about.samples.iter().enumerate() {
        match embed(engine, one_sequence(input, parts.prompt.as_deref())).await {
            Ok(vector) => vectors.push((sample, vector)),
            Err(error) => warn!(task = %served.key.task, sample, %error, "a sample has no vector"),
        }
    }
    vectors
}

async fn embed(engine: &Engine, input: Input) -> Result<Arc<[f32]>, EngineError> {
    match pooled(engine, input, Reading { priority: Priority::Background, ..Reading::default() }).await {
        // Whoever ends the server ends this, too.
        Err(EngineError::Draining) => std::future::pending().await,
        done => done,
    }
}

/// The pooled vector of one sequence without a task embedding.
pub(crate) async fn pooled(engine: &Engine, input: Input, reading: Reading) -> Result<Arc<[f32]>, EngineError> {
    let ask = EmbedAsk { inputs: vec![input], task: None, kind: VectorKind::Pooled, reading };
    let mut embedding = engine.embed(ask).await?;
    let embedded = embedding.inputs.pop();
    embedded.map(|embedded| embedded.vector).ok_or_else(|| EngineError::Internal("a row without a vector".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Duration;

    use engine::testing::{CountingModel, WordTokenizer, small_limits};
    use engine::{EngineParts, Model, ModelError, ModelInfo, Row, RowOutput, WorkerState};

    use super::*;

    type Batches = Arc<Mutex<Vec<Vec<usize>>>>;

    /// A model that notes how long the rows of a batch are, and waits for leave to read them.
    struct Stepped {
        model: CountingModel,
        batches: Batches,
        leave: mpsc::Receiver<()>,
    }

    impl Model for Stepped {
        fn info(&self) -> &ModelInfo {
            self.model.info()
        }

        fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
            self.batches.lock().unwrap().push(rows.iter().map(|row| row.tokens.len()).collect());
            self.leave.recv().unwrap();
            self.model.forward(rows)
        }
    }

    async fn until(holds: impl Fn() -> bool) {
        let waiting = async {
            while !holds() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
    }

    fn vectors(of_head: &[(usize, [f32; 2])]) -> Vec<(usize, Arc<[f32]>)> {
        of_head.iter().map(|(sample, vector)| (*sample, Arc::from(vector.as_slice()))).collect()
    }

    #[test]
    fn the_nearest_sample_is_that_of_the_largest_cosine() {
        let of_head = vectors(&[(0, [0.0, 1.0]), (2, [5.0, 5.0])]);
        let found = nearest(&[1.0, 0.0], &of_head).unwrap();
        assert_eq!(found.sample, 2);
        assert!((found.similarity - 0.5_f64.sqrt()).abs() < 1e-6);
        assert_eq!(nearest(&[1.0, 0.0], &[]), None);
    }

    #[test]
    fn choices_and_a_missing_text_become_one_sequence() {
        let question = Input { choices: vec!["a".into(), "b".into()], ..Input::default() };
        let one = one_sequence(&question, Some("Best answer:"));
        assert_eq!((one.text.as_deref(), one.text_pair.as_deref()), (Some("Best answer:"), Some("a")));
        assert!(one.choices.is_empty());
        let words = Input { tokens: vec!["a".into()], ..Input::default() };
        assert_eq!(one_sequence(&words, Some("Best answer:")), words);
    }

    #[tokio::test]
    async fn a_sample_stands_in_line_at_once_and_shares_no_batch_with_callers() {
        let batches = Batches::default();
        let (leave, granted) = mpsc::sync_channel(8);
        let (noted, mut granted) = (Arc::clone(&batches), Some(granted));
        let factory = Box::new(move || {
            let model = CountingModel::new("sha256:0".to_owned(), 4, Arc::new(AtomicUsize::new(0)));
            let leave = granted.take().unwrap();
            Ok(Box::new(Stepped { model, batches: Arc::clone(&noted), leave }) as Box<dyn Model>)
        });
        let tokenizer = Arc::new(WordTokenizer { max_tokens: 64 });
        let parts = EngineParts { factory, replicas: 1, tokenizer, limits: small_limits() };
        let engine = Arc::new(Engine::start(parts).unwrap());
        // The model's own row.
        leave.send(()).unwrap();
        engine.worker_state().wait_for(|state| *state == WorkerState::Ready).await.unwrap();
        let input = |text: &str| Input { text: Some(text.to_owned()), ..Input::default() };
        let caller = |text| {
            let (engine, input) = (Arc::clone(&engine), input(text));
            tokio::spawn(async move { pooled(&engine, input, Reading::default()).await.unwrap() })
        };
        let held = caller("one");
        until(|| batches.lock().unwrap().len() == 2).await;
        let waiting = caller("one two");
        until(|| engine.queued_rows() == 1).await;
        let sample = tokio::spawn({
            let (engine, input) = (Arc::clone(&engine), input("one two three"));
            async move { embed(&engine, input).await.unwrap() }
        });
        until(|| engine.queued_rows() == 2).await;
        (0..3).for_each(|_| leave.send(()).unwrap());
        let found = [held.await.unwrap(), waiting.await.unwrap(), sample.await.unwrap()];
        assert!(found.iter().all(|vector| vector.len() == 4));
        let mut batches = batches.lock().unwrap().split_off(1);
        batches.sort_unstable();
        assert_eq!(batches, [[3], [4], [5]]);
    }
}
