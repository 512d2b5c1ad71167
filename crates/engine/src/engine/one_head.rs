//! What every question to one head has in common: sequences become rows, rows scores, and the scores of windows one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, Timing};
use crate::admission::Permit;
use crate::aggregation::combine;
use crate::ask::{Aggregation, Mode, Reading, Truncation};
use crate::batcher::Done;
use crate::error::EngineError;
use crate::head::Head;
use crate::live::ServedHead;
use crate::model::{Reads, Row, Scores};
use crate::ood;
use crate::rows::{self, Cost, Sequence};
use crate::scoring::{products, score};
use crate::shadow::{Judge, Judged};
use crate::tokens::{Cut, TokenizeRequest, Tokenizer, Tokens, Window};
use crate::truncation::{Fit, Strategy};

/// An input as its owner names and splits it.
pub(super) trait Readable: Send + 'static {
    /// What a head reads of it, in the order of its answer.
    fn sequences<'a>(&'a self, head: &'a Head) -> Vec<Sequence<'a>>;

    /// What the caller calls sequence `place` of input `index`.
    fn field(&self, index: usize, place: usize) -> String;

    /// What the caller calls the second text of that sequence.
    fn pair_field(&self, index: usize, place: usize) -> String {
        self.field(index, place)
    }
}

/// A question to one head that has been admitted.
pub(super) struct Question {
    pub(super) served: Arc<ServedHead>,
    pub(super) mode: Mode,
    pub(super) reading: Reading,
    pub(super) strategy: Strategy,
    /// What was admitted; windows are admitted beside it once they are known.
    pub(super) cost: Cost,
    pub(super) permit: Permit,
    /// Who reads the same vectors unseen.
    pub(super) judge: Option<Judge>,
}

/// What a head made of one input.
pub(super) struct Read {
    /// For each sequence its tokens and scores; where it was read in windows, of all of them.
    pub(super) sequences: Vec<(Arc<Tokens>, Scores)>,
    pub(super) rows: usize,
    pub(super) tokens_used: usize,
    /// The sequence's position, and what was cut of it.
    pub(super) cuts: Vec<(usize, Cut)>,
    /// As in [`super::Answered`].
    pub(super) ood_score: Option<f32>,
    /// The judge's scores, as in `sequences`; `None` where nobody judges.
    pub(super) judged: Option<Judged>,
    started: Instant,
    timing: Timing,
}

impl Read {
    /// Where the time went until now.
    pub(super) fn timing(&self) -> Timing {
        Timing { head: self.started.elapsed(), ..self.timing }
    }
}

impl Engine {
    /// Reads every sequence of every input with the question's head, and makes of each input's scores its answer.
    pub(super) async fn ask_head<T: Readable, A: Send + 'static>(
        &self,
        question: Question,
        inputs: Vec<T>,
        answer: impl Fn(&Head, T, Read) -> A + Send + 'static,
    ) -> Result<(Vec<A>, Permit), EngineError> {
        let Question { served, mode, reading, strategy, cost, mut permit, judge } = question;
        let head = Arc::clone(&served.head);
        let most_rows = self.limits().max_in_flight_rows;
        let started = Instant::now();
        let (inputs, windows) = self
            .with_tokenizer(cost.bytes, reading, move |tokenizer, limit| {
                let reader = Reader { tokenizer, limit, reading, strategy };
                let windows = reader.read_all(&inputs, &head, most_rows)?;
                Ok((inputs, windows))
            })
            .await?;
        let tokenize = started.elapsed();
        let all = || windows.iter().flatten().flatten();
        if let Some(rows) = all().count().checked_sub(cost.rows).filter(|rows| *rows > 0) {
            permit.add(self.admit(Cost { rows, bytes: 0 }, reading)?);
        }
        let task_embedding = match mode {
            Mode::Exact => served.head.parts().task_embedding.clone(),
            Mode::Shared => None,
        };
        let row = |window: &Window| Row {
            tokens: Arc::clone(&window.tokens),
            task_embedding: task_embedding.clone(),
            adapter: served.head.parts().adapter.clone(),
            reads: Reads::of_head(&served.head),
        };
        let done = self.run(all().map(row).collect(), reading).await?;
        let head = Arc::clone(&served.head);
        let by = match reading.truncation {
            Truncation::Windows(by) => by,
            Truncation::Cut | Truncation::Refuse => Aggregation::default(),
        };
        let heads = if judge.is_some() { 2 } else { 1 };
        let cost = all().map(|window| heads * products(&head, window.tokens.len())).sum();
        let scorer = Scorer { head, judge, mode, by };
        let answers = self.compute(cost, move || {
            let mut done = done.into_iter();
            let answer = |(input, sequences): (T, Vec<Vec<Window>>)| {
                Ok(answer(&scorer.head, input, scorer.read(sequences, &mut done, tokenize)?))
            };
            inputs.into_iter().zip(windows).map(answer).collect()
        });
        Ok((answers.await?, permit))
    }
}

/// A head that reads what the encoder made of an input's rows, and perhaps a judge beside it.
struct Scorer {
    head: Arc<Head>,
    judge: Option<Judge>,
    mode: Mode,
    by: Aggregation,
}

impl Scorer {
    /// The input of these windows, one list a sequence; `done` goes on with their rows.
    fn read(
        &self,
        sequences: Vec<Vec<Window>>,
        done: &mut impl Iterator<Item = Done>,
        tokenize: Duration,
    ) -> Result<Read, EngineError> {
        let reads_tokens = self.head.kind().reads_tokens();
        let mut read = Read {
            sequences: Vec::with_capacity(sequences.len()),
            rows: 0,
            tokens_used: 0,
            cuts: Vec::new(),
            ood_score: None,
            judged: self.judge.as_ref().map(|_| Ok(Vec::new())),
            started: Instant::now(),
            timing: Timing { tokenize, ..Timing::default() },
        };
        let mut outputs = Vec::new();
        for (place, windows) in sequences.into_iter().enumerate() {
            let cut = windows.first().and_then(|window| window.tokens.cut);
            read.cuts.extend(cut.map(|cut| (place, cut)));
            let (mut scored, mut judged) = (Vec::with_capacity(windows.len()), Ok(Vec::new()));
            for (window, done) in windows.into_iter().zip(&mut *done) {
                read.rows += 1;
                read.tokens_used += window.tokens.len();
                read.timing.queue = read.timing.queue.max(done.queued);
                read.timing.encode = read.timing.encode.max(done.encoded);
                if let Some(scores) = self.judge.as_ref().and_then(|judge| judge.scores(&done.output)) {
                    judged = judged.and_then(|judged: Vec<_>| with(judged, (window.clone(), scores?)));
                }
                scored.push((window, score(&self.head, &done.output)?));
                outputs.push(done.output);
            }
            read.sequences.push(combine(scored, self.by, reads_tokens));
            read.judged = read.judged.map(|all| {
                all.and_then(|all| {
                    let judged = judged?;
                    if judged.is_empty() { Ok(all) } else { with(all, combine(judged, self.by, reads_tokens)) }
                })
            });
        }
        read.ood_score = ood::score_of_rows(&self.head, self.mode, outputs.iter());
        Ok(read)
    }
}

fn with<T>(mut list: Vec<T>, item: T) -> Result<Vec<T>, EngineError> {
    list.push(item);
    Ok(list)
}

/// A tokenizer and how it is to read.
struct Reader<'a> {
    tokenizer: &'a dyn Tokenizer,
    limit: usize,
    reading: Reading,
    strategy: Strategy,
}

impl Reader<'_> {
    /// The rows of every sequence of every input. Windows are counted as they come, so that no text becomes more of them
    /// than can ever be admitted.
    fn read_all<T: Readable>(
        &self,
        inputs: &[T],
        head: &Head,
        most_rows: usize,
    ) -> Result<Vec<Vec<Vec<Window>>>, EngineError> {
        let mut rows = 0;
        let mut read_input = |(index, input): (usize, &T)| {
            let mut read_one = |(place, sequence): (usize, &Sequence<'_>)| {
                let windows = self.read(sequence).map_err(|error| {
                    error.of_fields(|| input.field(index, place), || input.pair_field(index, place))
                })?;
                rows += windows.len();
                rows::over("inputs in rows".to_owned(), rows, most_rows)?;
                Ok(windows)
            };
            input.sequences(head).iter().enumerate().map(&mut read_one).collect::<Result<Vec<_>, EngineError>>()
        };
        inputs.iter().enumerate().map(&mut read_input).collect()
    }

    fn read(&self, sequence: &Sequence<'_>) -> Result<Vec<Window>, EngineError> {
        let request = TokenizeRequest { text: sequence.text, pair: sequence.pair, max_tokens: self.limit };
        let in_windows = matches!(self.reading.truncation, Truncation::Windows(_));
        let windows = self.tokenizer.fit(request, Fit { strategy: self.strategy, in_windows })?;
        let cut = windows.first().and_then(|window| window.tokens.cut);
        match (self.reading.truncation, cut) {
            (Truncation::Refuse, Some(cut)) => Err(EngineError::OverLimit {
                what: EngineError::TOKENS.into(),
                limit: self.limit,
                actual: cut.tokens_before,
            }),
            (Truncation::Refuse, None) | (Truncation::Cut | Truncation::Windows(_), _) => Ok(windows),
        }
    }
}
