//! One ask to its rows: which fields a kind wants, and the sequences they make.

use crate::ask::{Ask, Input, Mode};
use crate::error::EngineError;
use crate::head::{Head, HeadError, HeadKind};
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
    check_inputs(&ask.inputs, head, limits)
}

/// The same for inputs that are not part of an ask.
pub(crate) fn check_inputs(inputs: &[Input], head: &Head, limits: &Limits) -> Result<Cost, EngineError> {
    check_each(inputs, limits, |input, at| check_fields(input, head, at))
}

/// Checks the sizes of the one input of many heads, and gives its bytes.
pub(crate) fn check_sizes_of_one(input: &Input, limits: &Limits) -> Result<usize, EngineError> {
    let mut bytes = 0;
    check_sizes(input, &field_of_one, limits, &mut bytes)?;
    Ok(bytes)
}

/// Checks the fields of the one input of many heads against one of them.
pub(crate) fn check_one(input: &Input, head: &Head) -> Result<(), EngineError> {
    check_fields(input, head, &field_of_one).map(drop)
}

/// The fields of `input` that a `kind` has a use for, where one input is asked of many kinds.
pub(crate) fn read_by(input: &Input, kind: HeadKind) -> Input {
    let Input { text, text_pair, choices, tokens } = input;
    let read = Input { text: text.clone(), ..Input::default() };
    match kind {
        HeadKind::Classification | HeadKind::MultiLabel | HeadKind::Regression => {
            Input { text_pair: text_pair.clone(), ..read }
        }
        HeadKind::Reward if choices.is_empty() => Input { text_pair: text_pair.clone(), ..read },
        HeadKind::MultipleChoice | HeadKind::Reward => Input { choices: choices.clone(), ..read },
        HeadKind::TokenClassification if tokens.is_empty() => read,
        HeadKind::TokenClassification => Input { tokens: tokens.clone(), ..Input::default() },
    }
}

/// Checks that each of the head's own samples is an input that it takes.
pub(crate) fn check_samples(head: &Head) -> Result<(), HeadError> {
    for (index, sample) in head.parts().about.samples.iter().enumerate() {
        let refuse = |error: EngineError| HeadError::Sample { index, reason: error.to_string() };
        check_fields(sample, head, &str::to_owned).map_err(refuse)?;
        if sample.text.as_ref().is_some_and(String::is_empty) {
            return Err(refuse(invalid("text".to_owned(), "is empty")));
        }
    }
    Ok(())
}

fn field_of_one(field: &str) -> String {
    format!("input.{field}")
}

fn check_each(
    inputs: &[Input],
    limits: &Limits,
    rows_of: impl Fn(&Input, &dyn Fn(&str) -> String) -> Result<usize, EngineError>,
) -> Result<Cost, EngineError> {
    if inputs.is_empty() {
        return Err(invalid("inputs".into(), "at least one input is needed"));
    }
    over("inputs".into(), inputs.len(), limits.max_inputs)?;
    let mut cost = Cost { rows: 0, bytes: 0 };
    for (index, input) in inputs.iter().enumerate() {
        let at = |field: &str| format!("inputs[{index}].{field}");
        check_sizes(input, &at, limits, &mut cost.bytes)?;
        cost.rows += rows_of(input, &at)?;
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

/// Checks inputs that no head reads: any combination of fields that some kind would accept.
pub(crate) fn check_any(inputs: &[Input], limits: &Limits) -> Result<Cost, EngineError> {
    check_each(inputs, limits, |input, at| match (&input.text, input.tokens.is_empty()) {
        (None, true) => Err(invalid(at("text"), "text or tokens are needed")),
        (Some(_), false) => Err(invalid(at("tokens"), "text and tokens exclude each other")),
        _ if !input.choices.is_empty() && input.text_pair.is_some() => {
            Err(invalid(at("choices"), "text_pair and choices exclude each other"))
        }
        (Some(_), true) | (None, false) => Ok(input.choices.len().max(1)),
    })
}

/// The sequences of one input that no head reads, in row order.
pub(crate) fn any_sequences(input: &Input) -> Vec<Sequence<'_>> {
    let text = if input.tokens.is_empty() {
        Text::Raw(input.text.as_deref().unwrap_or_default())
    } else {
        Text::Words(&input.tokens)
    };
    if input.choices.is_empty() {
        vec![Sequence { text, pair: input.text_pair.as_deref().map(Text::Raw) }]
    } else {
        input.choices.iter().map(|choice| Sequence { text, pair: Some(Text::Raw(choice)) }).collect()
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
    // A prompt with a place in it is a template: it says nothing without a text.
    let says_something = |prompt: &String| !prompt.contains("{}");
    let needs_prompt = || if head.parts().prompt.as_ref().is_some_and(says_something) { Ok(()) } else { needs_text() };
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
        over(format!("{} in bytes", at(&field)), text.len(), limits.max_text_bytes)?;
        *total += text.len();
    }
    if input.text.as_ref().is_some_and(String::is_empty) {
        return Err(invalid(at("text"), "is empty"));
    }
    if let Some(empty) = input.choices.iter().position(String::is_empty) {
        return Err(invalid(at(&format!("choices[{empty}]")), "is empty"));
    }
    let words: usize = input.tokens.iter().map(|word| word.len() + 1).sum();
    over(format!("{} in bytes", at("tokens")), words, limits.max_text_bytes)?;
    if let Some(empty) = input.tokens.iter().position(String::is_empty) {
        return Err(invalid(at(&format!("tokens[{empty}]")), "is empty"));
    }
    *total += words;
    Ok(())
}

/// Refuses `actual` above `limit`.
pub(crate) fn over(what: String, actual: usize, limit: usize) -> Result<(), EngineError> {
    if actual > limit { Err(EngineError::OverLimit { what, limit, actual }) } else { Ok(()) }
}

pub(crate) fn invalid(field: String, reason: &str) -> EngineError {
    EngineError::InvalidField { field, reason: reason.to_owned() }
}
