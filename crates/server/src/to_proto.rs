//! Answers to messages.

use std::time::Duration;

use api::v1;
use engine::{
    Answer, Answered, CodePoints, Cut, Embedding, Head, HeadKind, Input, LiveTask, Mode, OOD_UNIT, Prediction,
    Retention, Scored, ServedHead, TaskAnswer, Timing, TokenPrediction, Tokenized, Tokens, Version,
};
use tokio::time::Instant;

use crate::confidence::confidence;
use crate::from_proto::Wanted;
use crate::heads_folder::{Folder, State};
use crate::refusals::Refusal;
use crate::view::View;

/// An answer, whether it was asked of one task or of many.
pub(crate) struct AnsweredRef<'a> {
    pub(crate) input: &'a Input,
    pub(crate) prediction: &'a Prediction,
    pub(crate) ood_score: Option<f32>,
    pub(crate) rows: usize,
    pub(crate) tokens_used: usize,
    pub(crate) cuts: &'a [(usize, Cut)],
}

impl<'a> From<&'a Answered> for AnsweredRef<'a> {
    fn from(answered: &'a Answered) -> Self {
        let Answered { input, prediction, ood_score, rows, tokens_used, cuts, timing: _ } = answered;
        Self { input, prediction, ood_score: *ood_score, rows: *rows, tokens_used: *tokens_used, cuts }
    }
}

impl<'a> From<&'a TaskAnswer> for AnsweredRef<'a> {
    fn from(answer: &'a TaskAnswer) -> Self {
        let TaskAnswer { input, prediction, ood_score, rows, tokens_used, cuts, served: _, mode: _ } = answer;
        Self { input, prediction, ood_score: *ood_score, rows: *rows, tokens_used: *tokens_used, cuts }
    }
}

/// The reply to Classify.
pub(crate) fn classify(answer: &Answer, wanted: Wanted, received: Instant) -> v1::ClassifyResponse {
    let head = &answer.served.head;
    v1::ClassifyResponse {
        predictions: answer.inputs.iter().map(|answered| prediction(&answered.into(), head, wanted)).collect(),
        served_by: Some(served_by(&answer.served, answer.mode)),
        timings: Some(timings(answer.inputs.iter().map(|answered| answered.timing), received)),
    }
}

/// The reply to Embed.
pub(crate) fn embed(embedding: Embedding, encoder_digest: &str, received: Instant) -> v1::EmbedResponse {
    let served_by = match &embedding.served {
        Some(served) => served_by(served, Mode::Exact),
        None => v1::ServedBy {
            encoder_digest: encoder_digest.to_owned(),
            mode: v1::Mode::Shared.into(),
            ..v1::ServedBy::default()
        },
    };
    let timings = timings(embedding.inputs.iter().map(|embedded| embedded.timing), received);
    let embeddings = embedding.inputs.into_iter().map(|embedded| {
        let cuts: Vec<_> = embedded.cut.into_iter().map(|cut| (0, cut)).collect();
        v1::Embedding {
            values: embedded.vector.to_vec(),
            usage: Some(usage(embedded.tokens_used, 1, &cuts, &embedded.input)),
        }
    });
    v1::EmbedResponse { embeddings: embeddings.collect(), served_by: Some(served_by), timings: Some(timings) }
}

/// The rows of one input of Tokenize.
pub(crate) fn tokenized(tokenized: &Tokenized, piece: &dyn Fn(u32) -> Option<String>) -> v1::TokenizedInput {
    let Tokenized { input, rows } = tokenized;
    let cuts: Vec<_> = rows.iter().enumerate().filter_map(|(row, tokens)| Some((row, tokens.cut?))).collect();
    let used = rows.iter().map(|tokens| tokens.len()).sum();
    v1::TokenizedInput {
        rows: rows
            .iter()
            .enumerate()
            .map(|(row, tokens)| v1::TokenizedRow { tokens: token_list(tokens, input, row, piece) })
            .collect(),
        usage: Some(usage(used, rows.len(), &cuts, input)),
    }
}

/// Which head answered.
pub(crate) fn served_by(served: &ServedHead, used: Mode) -> v1::ServedBy {
    v1::ServedBy {
        task: served.key.task.to_string(),
        version: served.version.number(),
        head_digest: served.digest.clone(),
        encoder_digest: served.encoder_digest.clone(),
        mode: mode(used).into(),
    }
}

/// A task as `served` answers it.
pub(crate) fn task(live: &LiveTask, served: &ServedHead, view: &View<'_>) -> v1::Task {
    let parts = served.head.parts();
    let about = &parts.about;
    v1::Task {
        name: live.key.task.to_string(),
        kind: kind(served.head.kind()).into(),
        labels: parts.labels.clone(),
        version: served.version.number(),
        versions: live.versions.keys().map(|version| version.number()).collect(),
        aliases: aliases(live.aliases.iter()),
        has_task_embedding: parts.task_embedding.is_some(),
        default_mode: mode(if parts.task_embedding.is_some() && !parts.task_embedding_by_default {
            Mode::Shared
        } else {
            Mode::Exact
        })
        .into(),
        prompt: parts.prompt.clone(),
        thresholds: parts.thresholds.clone(),
        temperature: parts.temperature,
        zero_shot: served.head.knows_entailment(),
        description: about.description.clone(),
        caution: about.caution.clone(),
        tags: about.tags.clone(),
        dataset: about.dataset.clone(),
        licence: about.licence.clone(),
        source: about.source.clone(),
        metrics: metrics(&served.head),
        head_digest: served.digest.clone(),
        encoder_digest: served.encoder_digest.clone(),
        generation: live.generation,
        samples: about.samples.iter().map(sample).collect(),
        value_minimum: parts.trust.value_minimum,
        value_maximum: parts.trust.value_maximum,
        abstain_below: parts.trust.abstain_below,
        shared: view.is_shared(&live.key),
        retention: retention(live.retention),
        ood_unit: parts.trust.ood.as_ref().map(|_| OOD_UNIT.to_owned()).unwrap_or_default(),
    }
}

/// A retention rule; `None` where there is none.
pub(crate) fn retention(rule: Retention) -> Option<v1::Retention> {
    let keep_for_seconds = rule.keep_for.map(|keep_for| keep_for.as_secs());
    (!rule.is_empty()).then_some(v1::Retention { keep_last: rule.keep_last, keep_for_seconds })
}

fn sample(input: &Input) -> v1::Input {
    v1::Input {
        text: input.text.clone().unwrap_or_default(),
        text_pair: input.text_pair.clone(),
        choices: input.choices.clone(),
        tokens: input.tokens.clone(),
    }
}

/// A head folder and what became of it.
pub(crate) fn watched_head(folder: Folder) -> v1::WatchedHead {
    let Folder { path, task, state } = folder;
    let (state, reason, version) = match state {
        State::Served(version) => (v1::WatchedHeadState::Served, String::new(), version.number()),
        State::Waiting(reason) => (v1::WatchedHeadState::Waiting, reason, 0),
        State::Refused(reason) => (v1::WatchedHeadState::Refused, reason, 0),
    };
    let task = task.map(|task| task.to_string()).unwrap_or_default();
    v1::WatchedHead { folder: path, task, state: state.into(), reason, version }
}

/// A head that is no version of its task.
pub(crate) fn refused_head(refusal: Refusal) -> v1::RefusedHead {
    let Refusal { unix_seconds, reason, digest, source } = refusal;
    let refused_at = Some(prost_types::Timestamp { seconds: unix_seconds.cast_signed(), nanos: 0 });
    v1::RefusedHead { reason, head_digest: digest, source, refused_at }
}

/// The measured figures of a head, by name.
pub(crate) fn metrics(head: &Head) -> Vec<v1::Metric> {
    let metrics = head.parts().about.metrics.iter();
    metrics.map(|(name, value)| v1::Metric { name: name.clone(), value: *value, low: None, high: None }).collect()
}

/// Movable names, in order of name.
pub(crate) fn aliases<'a>(aliases: impl Iterator<Item = (&'a engine::Alias, &'a Version)>) -> Vec<v1::Alias> {
    aliases.map(|(name, version)| v1::Alias { name: name.to_string(), version: version.number() }).collect()
}

/// A kind in the contract's words.
pub(crate) fn kind(kind: HeadKind) -> v1::TaskKind {
    match kind {
        HeadKind::Classification => v1::TaskKind::Classification,
        HeadKind::MultiLabel => v1::TaskKind::MultiLabel,
        HeadKind::Regression => v1::TaskKind::Regression,
        HeadKind::MultipleChoice => v1::TaskKind::MultipleChoice,
        HeadKind::TokenClassification => v1::TaskKind::TokenClassification,
        HeadKind::Reward => v1::TaskKind::Reward,
    }
}

/// A mode in the contract's words.
pub(crate) fn mode(mode: Mode) -> v1::Mode {
    match mode {
        Mode::Exact => v1::Mode::Exact,
        Mode::Shared => v1::Mode::Shared,
    }
}

/// One answer of `head`, as the caller wants it.
pub(crate) fn prediction(answered: &AnsweredRef<'_>, head: &Head, wanted: Wanted) -> v1::Prediction {
    use v1::prediction::Result as Answer;
    let input = answered.input;
    let logit = |scored: &Scored| wanted.logits.then_some(scored.logit);
    let best = |ranked: &[Scored]| ranked.iter().take(wanted.top_k.unwrap_or(usize::MAX)).copied().collect::<Vec<_>>();
    let choices = |ranked: &[Scored]| {
        let choice = |scored: &Scored| v1::ChoiceScore {
            index: scored.index as u32,
            score: scored.probability,
            logit: logit(scored),
        };
        Answer::Choices(v1::ChoiceResult { choices: best(ranked).iter().map(choice).collect() })
    };
    let result = match answered.prediction {
        Prediction::Labels(ranked) => {
            let label = |scored: &Scored| v1::LabelScore {
                label: head.label(scored.index).to_owned(),
                index: scored.index as u32,
                score: scored.probability,
                logit: logit(scored),
            };
            Answer::Classification(v1::ClassificationResult { labels: best(ranked).iter().map(label).collect() })
        }
        Prediction::MultiLabel(ranked) => {
            let label = |scored: &Scored| v1::MultiLabelScore {
                label: head.label(scored.index).to_owned(),
                index: scored.index as u32,
                score: scored.probability,
                above_threshold: scored.probability >= head.threshold(scored.index),
                threshold: head.threshold(scored.index),
                logit: logit(scored),
            };
            Answer::MultiLabel(v1::MultiLabelResult { labels: best(ranked).iter().map(label).collect() })
        }
        Prediction::Number(value) => Answer::Value(v1::ValueResult { value: *value }),
        Prediction::Rewards(ranked) if input.choices.is_empty() => {
            Answer::Value(v1::ValueResult { value: ranked.first().map_or(0.0, |scored| scored.logit) })
        }
        Prediction::Choices(ranked) | Prediction::Rewards(ranked) => choices(ranked),
        Prediction::Tokens(tokens) => Answer::Spans(spans(tokens, input, head, wanted)),
    };
    v1::Prediction {
        result: Some(result),
        confidence: confidence(answered.prediction, head, answered.ood_score),
        usage: Some(usage(answered.tokens_used, answered.rows, answered.cuts, input)),
    }
}

fn spans(tokens: &TokenPrediction, input: &Input, head: &Head, wanted: Wanted) -> v1::SpanResult {
    let joined = (!input.tokens.is_empty()).then(|| input.tokens.join(" "));
    let text = joined.as_deref().or(input.text.as_deref()).unwrap_or_default();
    let spans = if wanted.whole_words { tokens.words_as_spans(head) } else { tokens.spans.clone() };
    let span = |span: engine::Span| v1::Span {
        text: text.get(span.bytes.clone()).unwrap_or_default().to_owned(),
        label: span.label,
        score: span.probability,
        word_start: span.words.start as u32,
        word_end: span.words.end as u32,
        start: span.code_points.start as u32,
        end: span.code_points.end as u32,
        start_byte: span.bytes.start as u32,
        end_byte: span.bytes.end as u32,
    };
    let logits = if wanted.logits { token_logits(tokens, head) } else { Vec::new() };
    v1::SpanResult { spans: spans.into_iter().map(span).collect(), tokens: logits }
}

fn token_logits(prediction: &TokenPrediction, head: &Head) -> Vec<v1::TokenLogits> {
    let mut last_word = None;
    let rows = prediction.logits.chunks_exact(head.outputs());
    let tokens = prediction.tokens.ids.iter().zip(&prediction.tokens.origins).zip(rows);
    tokens
        .map(|((id, origin), logits)| {
            let word = origin.map(|origin| origin.word);
            let first_of_word = word.is_some() && word != last_word;
            last_word = word;
            v1::TokenLogits { id: *id, word, first_of_word, logits: logits.to_vec() }
        })
        .collect()
}

/// What was read of one input; cuts come with the position of their text among the input's.
pub(crate) fn usage(tokens: usize, rows: usize, cuts: &[(usize, Cut)], input: &Input) -> v1::InputUsage {
    let cuts = cuts.iter().flat_map(|(row, cut)| {
        let text = cut.text_kept.map(|kept| match (&input.text, input.tokens.is_empty()) {
            (_, false) => v1::Cut { field: "tokens".into(), kept_words: Some(kept as u32), ..v1::Cut::default() },
            (text, true) => cut_text("text".into(), text.as_deref(), kept),
        });
        let pair = cut.pair_kept.map(|kept| match input.choices.get(*row) {
            Some(choice) => cut_text(format!("choices[{row}]"), Some(choice), kept),
            None => cut_text("text_pair".into(), input.text_pair.as_deref(), kept),
        });
        let row = *row as u32;
        let uncut_tokens = cut.tokens_before as u32;
        text.into_iter().chain(pair).map(move |cut| v1::Cut { row, uncut_tokens, ..cut })
    });
    v1::InputUsage { tokens: tokens as u32, rows: rows as u32, cuts: cuts.collect() }
}

fn cut_text(field: String, text: Option<&str>, kept: usize) -> v1::Cut {
    let kept_code_points = CodePoints::new(text.unwrap_or_default()).before(kept) as u32;
    v1::Cut { field, kept_code_points, kept_bytes: kept as u32, ..v1::Cut::default() }
}

fn token_list(tokens: &Tokens, input: &Input, row: usize, piece: &dyn Fn(u32) -> Option<String>) -> Vec<v1::Token> {
    let text = input.text.as_deref().unwrap_or_default();
    let pair = input.choices.get(row).or(input.text_pair.as_ref()).map_or("", String::as_str);
    let (mut text, mut pair) = (CodePoints::new(text), CodePoints::new(pair));
    let token = |(id, origin): (&u32, &Option<engine::Origin>)| {
        let piece = piece(*id).unwrap_or_default();
        let Some(origin) = origin else {
            return v1::Token { id: *id, piece, special: true, ..v1::Token::default() };
        };
        let mut word = input.tokens.get(origin.word as usize).map(|word| CodePoints::new(word));
        let offsets = match (origin.side, &mut word) {
            (0, Some(word)) => word,
            (0, None) => &mut text,
            _ => &mut pair,
        };
        v1::Token {
            id: *id,
            piece,
            special: false,
            side: origin.side.into(),
            word: Some(origin.word),
            start: offsets.before(origin.start as usize) as u32,
            end: offsets.before(origin.end as usize) as u32,
            start_byte: origin.start,
            end_byte: origin.end,
        }
    };
    tokens.ids.iter().zip(&tokens.origins).map(token).collect()
}

/// Each figure is the longest of any row.
pub(crate) fn timings(timings: impl Iterator<Item = Timing>, received: Instant) -> v1::Timings {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let longest = timings.fold(Timing::default(), |longest, timing| Timing {
        tokenize: longest.tokenize.max(timing.tokenize),
        queue: longest.queue.max(timing.queue),
        encode: longest.encode.max(timing.encode),
        head: longest.head.max(timing.head),
    });
    v1::Timings {
        queue_micros: micros(longest.queue),
        tokenizer_micros: micros(longest.tokenize),
        encoder_micros: micros(longest.encode),
        head_micros: micros(longest.head),
        total_micros: micros(received.elapsed()),
    }
}
