//! Token logits to word labels, and IOB labels to entities.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::ask::Input;
use crate::head::Head;
use crate::model::Scores;
use crate::offsets::CodePoints;
use crate::prediction::softmax;
use crate::tokens::Tokens;

/// The label of one word: that of its first piece, as `transformers` trains token heads.
#[derive(Debug, Clone, PartialEq)]
pub struct WordLabel {
    /// Index of the word among the caller's words, or in reading order of running text.
    pub word: usize,
    /// The word in UTF-8 bytes of the text. Words given one by one count as joined by single spaces.
    pub bytes: Range<usize>,
    /// The same in Unicode code points.
    pub code_points: Range<usize>,
    /// Index of its label.
    pub label: usize,
    /// Softmax probability of that label.
    pub probability: f32,
}

/// Neighbouring words of one entity.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The entity type: the label without `B-` or `I-`.
    pub label: String,
    /// Words, by the index in [`WordLabel::word`].
    pub words: Range<usize>,
    /// The span in UTF-8 bytes of the text.
    pub bytes: Range<usize>,
    /// The same in Unicode code points.
    pub code_points: Range<usize>,
    /// Mean probability of its words' labels.
    pub probability: f32,
}

/// What a token head says of one input.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenPrediction {
    /// Every word that the encoder read.
    pub words: Vec<WordLabel>,
    /// Entities, in reading order.
    pub spans: Vec<Span>,
    /// The sequence, special tokens included.
    pub tokens: Arc<Tokens>,
    /// Row-major `[tokens, labels]`, special tokens included.
    pub logits: Vec<f32>,
}

impl TokenPrediction {
    /// One span for each word, with the label as the head has it, `O` included.
    #[must_use]
    pub fn words_as_spans(&self, head: &Head) -> Vec<Span> {
        let span = |word: &WordLabel| span_of(word, head.label(word.label));
        self.words.iter().map(span).collect()
    }
}

fn span_of(word: &WordLabel, label: &str) -> Span {
    Span {
        label: label.to_owned(),
        words: word.word..word.word + 1,
        bytes: word.bytes.clone(),
        code_points: word.code_points.clone(),
        probability: word.probability,
    }
}

pub(crate) fn label_words(head: &Head, input: &Input, tokens: Arc<Tokens>, scores: &Scores) -> TokenPrediction {
    let text = if input.tokens.is_empty() {
        Cow::Borrowed(input.text.as_deref().unwrap_or_default())
    } else {
        Cow::Owned(input.tokens.join(" "))
    };
    let mut offsets = CodePoints::new(&text);
    let temperature = head.parts().temperature.unwrap_or(1.0);
    let words = first_pieces(&text, input, &tokens)
        .into_iter()
        .filter_map(|piece| {
            let start = piece.token * head.outputs();
            let logits = scores.logits.get(start..start + head.outputs())?;
            let probabilities = softmax(logits, temperature);
            let (label, probability) = probabilities
                .into_iter()
                .enumerate()
                .fold((0, 0.0), |best, candidate| if candidate.1 > best.1 { candidate } else { best });
            let code_points = offsets.before(piece.bytes.start)..offsets.before(piece.bytes.end);
            Some(WordLabel { word: piece.word, bytes: piece.bytes, code_points, label, probability })
        })
        .collect::<Vec<_>>();
    let spans = merge(head, &words);
    TokenPrediction { words, spans, tokens, logits: scores.logits.clone() }
}

/// The first token of a word, and where the whole word stands in the text.
struct FirstPiece {
    token: usize,
    word: usize,
    bytes: Range<usize>,
}

fn first_pieces(text: &str, input: &Input, tokens: &Tokens) -> Vec<FirstPiece> {
    let starts: Vec<usize> = input
        .tokens
        .iter()
        .scan(0, |next, word| {
            let start = *next;
            *next += word.len() + 1;
            Some(start)
        })
        .collect();
    let mut pieces: Vec<FirstPiece> = Vec::new();
    let mut last = None;
    for (token, origin) in tokens.origins.iter().enumerate() {
        let Some(origin) = origin else { continue };
        let (word, end) = (origin.word as usize, origin.end as usize);
        if last == Some(word) {
            if let (Some(piece), true) = (pieces.last_mut(), starts.is_empty()) {
                piece.bytes.end = piece.bytes.end.max(end);
            }
            continue;
        }
        last = Some(word);
        let bytes = match (starts.get(word), input.tokens.get(word)) {
            (Some(start), Some(given)) => *start..start + given.len(),
            _ => origin.start as usize..end,
        };
        pieces.push(FirstPiece { token, word, bytes });
    }
    for piece in &mut pieces {
        piece.bytes = trim(text, piece.bytes.clone());
    }
    pieces
}

/// Takes white space off both ends: some tokenizers count the space before a word as part of it.
fn trim(text: &str, bytes: Range<usize>) -> Range<usize> {
    let Some(word) = text.get(bytes.clone()) else { return bytes };
    let start = bytes.start + (word.len() - word.trim_start().len());
    start..start + word.trim().len()
}

/// `B-X` begins an entity, `I-X` continues one of type X or else begins one, `O` ends it. A label of another form
/// continues an equal one.
fn merge(head: &Head, words: &[WordLabel]) -> Vec<Span> {
    let mut spans: Vec<(Span, usize)> = Vec::new();
    let mut open = false;
    for word in words {
        let label = head.label(word.label);
        let (begins, entity) = match (label.strip_prefix("B-"), label.strip_prefix("I-")) {
            (Some(entity), _) => (true, entity),
            (None, Some(entity)) => (false, entity),
            (None, None) if label == "O" => {
                open = false;
                continue;
            }
            (None, None) => (false, label),
        };
        match spans.last_mut() {
            Some((span, n_words)) if open && !begins && span.label == entity && span.words.end == word.word => {
                span.words.end = word.word + 1;
                span.bytes.end = word.bytes.end;
                span.code_points.end = word.code_points.end;
                span.probability += word.probability;
                *n_words += 1;
            }
            _ => spans.push((span_of(word, entity), 1)),
        }
        open = true;
    }
    spans.into_iter().map(|(span, n_words)| Span { probability: span.probability / n_words as f32, ..span }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{HeadKind, HeadParts};

    fn head(labels: &[&str]) -> Head {
        let parts = HeadParts {
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            weight: vec![0.0; labels.len()].into(),
            bias: vec![0.0; labels.len()].into(),
            ..HeadParts::default()
        };
        Head::new(HeadKind::TokenClassification, 1, parts).unwrap()
    }

    fn words(labels: &[usize]) -> Vec<WordLabel> {
        labels
            .iter()
            .enumerate()
            .map(|(word, &label)| WordLabel {
                word,
                bytes: word * 3..word * 3 + 2,
                code_points: word * 3..word * 3 + 2,
                label,
                probability: 0.5,
            })
            .collect()
    }

    fn merged(labels: &[usize]) -> Vec<(String, Range<usize>)> {
        let head = head(&["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]);
        merge(&head, &words(labels)).into_iter().map(|span| (span.label, span.words)).collect()
    }

    #[test]
    fn an_entity_runs_from_its_begin_to_its_last_inside() {
        assert_eq!(merged(&[0, 1, 2, 2, 0]), [("PER".into(), 1..4)]);
    }

    #[test]
    fn a_new_begin_or_another_type_starts_a_new_entity() {
        assert_eq!(
            merged(&[1, 1, 4, 2]),
            [("PER".into(), 0..1), ("PER".into(), 1..2), ("LOC".into(), 2..3), ("PER".into(), 3..4)]
        );
    }

    #[test]
    fn an_outside_word_ends_the_entity() {
        assert_eq!(merged(&[1, 0, 2]), [("PER".into(), 0..1), ("PER".into(), 2..3)]);
    }

    #[test]
    fn equal_labels_without_a_prefix_are_one_span() {
        let spans = merge(&head(&["NOUN", "VERB"]), &words(&[0, 0, 1]));
        assert_eq!(spans.len(), 2);
    }
}
