//! One ask to its rows: which fields a kind wants, and the sequences they make.

use crate::ask::{Ask, Input, Mode};
use crate::error::EngineError;
use crate::head::{Head, HeadKind};
use crate::limits::Limits;
use crate::tokens::Text;

/// A sequence to be tokenized: a text, or a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence<'a> {
    pub(crate) text: Text<'a>,
    pub(crate) pair: Option<Text<'a>>,
}

/// What an ask will cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// Whether rows for `head` carry its embedding: as asked, or as the head would have it. A head without an embedding
/// is exact unless the caller asks otherwise.
pub(crate) fn mode(asked: Option<Mode>, head: &Head) -> Mode {
    let parts = head.parts();
    match asked {
        Some(mode) => mode,
        None if parts.task_embedding.is_some() && !parts.task_embedding_by_default => Mode::Shared,
        None => Mode::Exact,
    }
}

/// Checks every field against the head's kind and the limits, before any work is done.
pub(crate) fn check(ask: &Ask, head: &Head, limits: &Limits) -> Result<Cost, EngineError> {
    if ask.inputs.is_empty() {
        return Err(invalid("inputs".into(), "at least one input is needed"));
    }
    over("inputs".into(), ask.inputs.len(), limits.max_inputs)?;
    let mut cost = Cost { rows: 0, bytes: 0 };
    for (index, input) in ask.inputs.iter().enumerate() {
        let at = |field: &str| format!("inputs[{index}].{field}");
        check_sizes(input, &at, limits, &mut cost.bytes)?;
        cost.rows += check_fields(input, head, &at)?;
    }
    Ok(cost)
}

/// The sequences of one checked input, in row order.
pub(crate) fn sequences<'a>(input: &'a Input, head: &'a Head) -> Vec<Sequence<'a>> {
    let text = input.text.as_deref().or(head.parts().prompt.as_deref()).unwrap_or_default();
    let pair = input.text_pair.as_deref();
    let single = |text, pair: Option<&'a str>| vec![Sequence { text, pair: pair.map(Text::Raw) }];
    match head.kind() {
        HeadKind::TokenClassification if input.tokens.is_empty() => single(Text::Raw(text), None),
        HeadKind::TokenClassification => single(Text::Words(&input.tokens), None),
        HeadKind::Reward if input.choices.is_empty() => single(Text::Raw(text), pair),
        HeadKind::MultipleChoice | HeadKind::Reward => input
            .choices
            .iter()
            .map(|choice| Sequence { text: Text::Raw(text), pair: Some(Text::Raw(choice)) })
            .collect(),
        HeadKind::Classification | HeadKind::MultiLabel | HeadKind::Regression => {
            single(Text::Raw(input.text.as_deref().unwrap_or_default()), pair)
        }
    }
}

/// Rows of the input, once its fields are those the kind wants.
fn check_fields(input: &Input, head: &Head, at: &dyn Fn(&str) -> String) -> Result<usize, EngineError> {
    let kind = head.kind();
    let unwanted = |field: &str| invalid(at(field), &format!("a {kind} task takes no {field}"));
    let needs_text = || match input.text {
        Some(_) => Ok(()),
        None => Err(invalid(at("text"), &format!("a {kind} task needs text"))),
    };
    let needs_prompt = || if head.parts().prompt.is_some() { Ok(()) } else { needs_text() };
    match kind {
        HeadKind::Classification | HeadKind::MultiLabel | HeadKind::Regression => {
            needs_text()?;
            if !input.choices.is_empty() {
                return Err(unwanted("choices"));
            }
            if !input.tokens.is_empty() {
                return Err(unwanted("tokens"));
            }
            Ok(1)
        }
        HeadKind::MultipleChoice | HeadKind::Reward => {
            needs_prompt()?;
            if !input.tokens.is_empty() {
                return Err(unwanted("tokens"));
            }
            match (kind, input.choices.len(), input.text_pair.is_some()) {
                (HeadKind::Reward, 0, true) => Ok(1),
                (HeadKind::Reward, 0, false) => Err(invalid(at("choices"), "a reward task needs at least one answer")),
                (_, _, true) => Err(unwanted("text_pair")),
                (HeadKind::MultipleChoice, 0 | 1, false) => {
                    Err(invalid(at("choices"), "a multiple_choice task needs at least two choices"))
                }
                (_, choices, false) => Ok(choices),
            }
        }
        HeadKind::TokenClassification => match (&input.text, input.tokens.is_empty()) {
            _ if input.text_pair.is_some() => Err(unwanted("text_pair")),
            _ if !input.choices.is_empty() => Err(unwanted("choices")),
            (Some(_), false) => Err(invalid(at("tokens"), "text and tokens exclude each other")),
            (None, true) => Err(invalid(at("text"), "a token_classification task needs text or tokens")),
            (Some(_), true) | (None, false) => Ok(1),
        },
    }
}

fn check_sizes(
    input: &Input,
    at: &dyn Fn(&str) -> String,
    limits: &Limits,
    total: &mut usize,
) -> Result<(), EngineError> {
    over(at("choices"), input.choices.len(), limits.max_choices)?;
    let texts = input.text.iter().map(|text| ("text".to_owned(), text));
    let pairs = input.text_pair.iter().map(|text| ("text_pair".to_owned(), text));
    let choices = input.choices.iter().enumerate().map(|(n, text)| (format!("choices[{n}]"), text));
    for (field, text) in texts.chain(pairs).chain(choices) {
        check_text(at(&field), text, limits)?;
        *total += text.len();
    }
    let words: usize = input.tokens.iter().map(|word| word.len() + 1).sum();
    over(format!("{} in bytes", at("tokens")), words, limits.max_text_bytes)?;
    if let Some(empty) = input.tokens.iter().position(String::is_empty) {
        return Err(invalid(at(&format!("tokens[{empty}]")), "is empty"));
    }
    *total += words;
    Ok(())
}

/// Checks one text that stands alone, such as the text of an embedding.
pub(crate) fn check_text(field: String, text: &str, limits: &Limits) -> Result<(), EngineError> {
    if text.is_empty() {
        return Err(invalid(field, "is empty"));
    }
    over(format!("{field} in bytes"), text.len(), limits.max_text_bytes)
}

/// Refuses `actual` above `limit`.
pub(crate) fn over(what: String, actual: usize, limit: usize) -> Result<(), EngineError> {
    if actual > limit { Err(EngineError::OverLimit { what, limit, actual }) } else { Ok(()) }
}

fn invalid(field: String, reason: &str) -> EngineError {
    EngineError::InvalidField { field, reason: reason.to_owned() }
}
