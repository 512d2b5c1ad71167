//! Deterministic stand-ins for an encoder and a tokenizer, so that behaviour can be tested without weights.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::Limits;
use crate::model::{Lesson, Model, ModelError, ModelInfo, Row, RowOutput, Upstream};
use crate::tokens::{Cut, Origin, Text, TokenizeError, TokenizeRequest, Tokenizer, Tokens, Window};
use crate::truncation::{self, Fit, Kept, Side};

const CLS: u32 = 1;
const SEP: u32 = 2;
const VOCABULARY: usize = 1_000;

/// Limits as a small server would have them, and no cache: rows can be counted.
#[must_use]
pub fn small_limits() -> Limits {
    Limits {
        max_inputs: 256,
        max_tasks: 1_000,
        max_text_bytes: 65_536,
        max_choices: 64,
        max_candidate_labels: 256,
        max_in_flight_rows: 4_096,
        max_in_flight_bytes: 16 << 20,
        batch_tokens: 512,
        batch_rows: 64,
        cache_bytes: 0,
        background_permille: 5,
        tokenizer_threads: 2,
    }
}

/// A tokenizer that makes one token of every word between single spaces: its id follows from its bytes.
#[derive(Debug, Clone, Copy)]
pub struct WordTokenizer {
    /// The longest sequence, special tokens included.
    pub max_tokens: usize,
}

type WordToken = (u32, Option<Origin>);

/// Both sides between special tokens.
fn joined(text: &[WordToken], pair: Option<&[WordToken]>, cut: Option<Cut>) -> Tokens {
    let special = |id: u32| [(id, None)].into_iter();
    let first: Vec<WordToken> = special(CLS).chain(text.iter().copied()).chain(special(SEP)).collect();
    let second = pair.map(|pair| pair.iter().copied().chain(special(SEP)));
    let first_side = first.len();
    let (ids, origins): (Vec<_>, Vec<_>) = first.into_iter().chain(second.into_iter().flatten()).unzip();
    let type_ids = (0..ids.len()).map(|at| u32::from(at >= first_side)).collect();
    Tokens { ids, type_ids, origins, cut }
}

impl WordTokenizer {
    fn side(text: Text<'_>, side: u8) -> Vec<WordToken> {
        let token = |word: u32, start: usize, piece: &str| {
            let sum = piece.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let (start, end) = (start as u32, (start + piece.len()) as u32);
            (3 + sum % (VOCABULARY as u32 - 3), Some(Origin { side, word, start, end }))
        };
        match text {
            Text::Words(words) => words.iter().zip(0..).map(|(piece, word)| token(word, 0, piece)).collect(),
            Text::Raw(text) => {
                let mut start = 0;
                text.split(' ')
                    .filter_map(|piece| {
                        let at = start;
                        start += piece.len() + 1;
                        (!piece.is_empty()).then_some((at, piece))
                    })
                    .zip(0..)
                    .map(|((at, piece), word)| token(word, at, piece))
                    .collect()
            }
        }
    }
}

impl Tokenizer for WordTokenizer {
    fn fit(&self, request: TokenizeRequest<'_>, fit: Fit) -> Result<Vec<Window>, TokenizeError> {
        let text = Self::side(request.text, 0);
        let pair = request.pair.map(|pair| Self::side(pair, 1));
        let special = if pair.is_some() { 3 } else { 2 };
        let max_tokens = request.max_tokens.min(self.max_tokens);
        let room = max_tokens
            .checked_sub(special)
            .filter(|room| *room > 0)
            .ok_or(TokenizeError::NoRoom { max_tokens, special })?;
        let pair_len = pair.as_ref().map(Vec::len);
        let kept = Kept::of(text.len(), pair_len, room, fit.strategy)
            .ok_or_else(|| TokenizeError::PairTooLong { pair: pair_len.unwrap_or(0), limit: room - 1 })?;
        let tokens_before = text.len() + pair_len.unwrap_or(0) + special;
        let windowed = kept.windowed(text.len(), pair_len).filter(|_| fit.in_windows);
        let unread_from = |side: &[WordToken], kept: usize, side_of: Side| {
            let cut = kept < side.len() && windowed != Some(side_of);
            cut.then(|| side[..kept].last().and_then(|(_, origin)| origin.as_ref()).map_or(0, |o| o.end as usize))
        };
        let text_kept = unread_from(&text, kept.text, Side::Text);
        let pair_kept = pair.as_deref().and_then(|pair| unread_from(pair, kept.pair, Side::Pair));
        let cut = (text_kept.is_some() || pair_kept.is_some()).then_some(Cut { tokens_before, text_kept, pair_kept });
        let ranges = match windowed {
            None => std::iter::once(0..kept.text).collect(),
            Some(Side::Text) => truncation::windows(text.len(), kept.text),
            Some(Side::Pair) => truncation::windows(pair_len.unwrap_or(0), kept.pair),
        };
        let row = |range: Range<usize>| {
            let (of_text, of_pair) = match windowed {
                None | Some(Side::Text) => (range.clone(), 0..kept.pair),
                Some(Side::Pair) => (0..kept.text, range.clone()),
            };
            Window { tokens: Arc::new(joined(&text[of_text], pair.as_deref().map(|pair| &pair[of_pair]), cut)), range }
        };
        Ok(ranges.into_iter().map(row).collect())
    }

    fn piece(&self, id: u32) -> Option<String> {
        ((id as usize) < VOCABULARY).then(|| format!("word-{id}"))
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens
    }
}

/// A model whose vectors follow from the row alone: dimension `d` of a token holds `id · (d + 1) / 1000`, and the pooled
/// vector is their mean plus the task embedding, the `[CLS]` vector the same. Counts the rows it has seen.
#[derive(Debug)]
pub struct CountingModel {
    info: ModelInfo,
    rows: Arc<AtomicUsize>,
}

impl CountingModel {
    /// A model of this hidden size that says it is the encoder of that digest; `rows` counts what it is given.
    #[must_use]
    pub fn new(encoder_digest: String, hidden: usize, rows: Arc<AtomicUsize>) -> Self {
        let info = ModelInfo {
            encoder_digest,
            hidden,
            embedding: hidden,
            vocabulary: VOCABULARY,
            max_positions: None,
            has_pooler: true,
            device: "cpu".to_owned(),
            dtype: "fp32".to_owned(),
        };
        Self { info, rows }
    }

    fn hidden_state(&self, id: u32) -> Vec<f32> {
        (0..self.info.hidden).map(|dimension| id as f32 * (dimension + 1) as f32 / 1_000.0).collect()
    }

    fn pooled(&self, row: &Row) -> Vec<f32> {
        let mut pooled = vec![0.0; self.info.hidden];
        for id in &row.tokens.ids {
            for (sum, value) in pooled.iter_mut().zip(self.hidden_state(*id)) {
                *sum += value / row.tokens.len() as f32;
            }
        }
        for (sum, value) in pooled.iter_mut().zip(row.task_embedding.as_deref().unwrap_or_default()) {
            *sum += value;
        }
        pooled
    }
}

impl Model for CountingModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
        self.rows.fetch_add(rows.len(), Ordering::SeqCst);
        let output = |row: &Row| RowOutput {
            pooled: row.reads.pooled.then(|| self.pooled(row).into()),
            cls: row.reads.cls.then(|| self.pooled(row).into()),
            tokens: row.reads.tokens.then(|| row.tokens.ids.iter().flat_map(|id| self.hidden_state(*id)).collect()),
        };
        Ok(rows.iter().map(output).collect())
    }
    /// The pooled vector is a mean plus the embedding, so its derivative by the embedding is 1 in every dimension.
    fn embedding_gradient(&mut self, lesson: Lesson<'_>, upstream: &mut Upstream<'_>) -> Result<Vec<f32>, ModelError> {
        let own: Arc<[f32]> = lesson.embedding.into();
        let row = |row: &Row| Row { task_embedding: Some(Arc::clone(&own)), ..row.clone() };
        let pooled: Vec<Arc<[f32]>> = lesson.rows.iter().map(|given| self.pooled(&row(given)).into()).collect();
        let mut sum = vec![0.0; self.info.embedding];
        for derivatives in upstream(&pooled) {
            sum.iter_mut().zip(derivatives).for_each(|(sum, derivative)| *sum += derivative);
        }
        Ok(sum)
    }
}

/// Serves `head` as the only version of the task, of the tenant `default`.
#[cfg(test)]
pub(crate) fn publish(live: &crate::LiveTable, task: &str, head: &Arc<crate::Head>) {
    let key = crate::TaskKey { tenant: crate::TenantName::default_tenant(), task: task.parse().unwrap() };
    let version = crate::Version::FIRST;
    let served = crate::ServedHead {
        key: key.clone(),
        version,
        digest: String::new(),
        encoder_digest: String::new(),
        forced: false,
        created_unix_seconds: 0,
        head: Arc::clone(head),
    };
    live.publish(crate::LiveTask {
        key,
        versions: [(version, Arc::new(served))].into(),
        aliases: [].into(),
        traffic: None,
        retention: crate::Retention::default(),
        generation: 1,
    });
}
