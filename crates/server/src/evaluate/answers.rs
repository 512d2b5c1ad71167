//! What a version answered, as logits; and the sheets, trials and texts made of it.

use engine::{Answered, Head, HeadKind, Prediction, Scored, TokenPrediction};
use judging::{ChoiceSheet, ClassSheet, Deciding, LabelSheet, NumberSheet, Sheet, SpanSheet, Trial};

use super::rows::Truth;

/// The raw answer to a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    /// A logit for each label or choice, in their order.
    Logits(Vec<f32>),
    /// A logit for each label for each word; `None` for a word that was not read.
    Words(Vec<Option<Vec<f32>>>),
    /// A number.
    Number(f32),
}

impl Answer {
    /// Numbers that it keeps.
    pub(super) fn numbers(&self) -> usize {
        match self {
            Self::Logits(logits) => logits.len(),
            Self::Words(words) => words.iter().flatten().map(Vec::len).sum(),
            Self::Number(_) => 1,
        }
    }

    fn logits(&self) -> &[f32] {
        match self {
            Self::Logits(logits) => logits,
            Self::Words(_) | Self::Number(_) => &[],
        }
    }

    fn words(&self) -> &[Option<Vec<f32>>] {
        match self {
            Self::Words(words) => words,
            Self::Logits(_) | Self::Number(_) => &[],
        }
    }
}

pub(super) fn answer_of(head: &Head, answered: Answered) -> Answer {
    match answered.prediction {
        Prediction::Labels(scored)
        | Prediction::MultiLabel(scored)
        | Prediction::Choices(scored)
        | Prediction::Rewards(scored) => Answer::Logits(in_order(scored)),
        Prediction::Number(number) => Answer::Number(number),
        Prediction::Tokens(tokens) => Answer::Words(of_words(head, &tokens, answered.input.tokens.len())),
    }
}

fn in_order(mut scored: Vec<Scored>) -> Vec<f32> {
    scored.sort_unstable_by_key(|scored| scored.index);
    scored.into_iter().map(|scored| scored.logit).collect()
}

/// The logits of each word's first piece, which its label is read from.
fn of_words(head: &Head, tokens: &TokenPrediction, n_words: usize) -> Vec<Option<Vec<f32>>> {
    let mut words = vec![None; n_words];
    for (logits, origin) in tokens.logits.chunks_exact(head.outputs()).zip(&tokens.tokens.origins) {
        let Some(origin) = origin else { continue };
        if let Some(word @ None) = words.get_mut(origin.word as usize) {
            *word = Some(logits.to_vec());
        }
    }
    words
}

/// How the head decides.
pub(super) fn deciding_of(head: &Head) -> Deciding {
    Deciding {
        temperature: head.parts().temperature.unwrap_or(1.0),
        thresholds: (0..head.outputs()).map(|label| head.threshold(label)).collect(),
    }
}

/// The sheet of a head's answers to rows, decided so.
pub(super) fn sheet_of<'a>(
    head: &Head,
    deciding: &Deciding,
    rows: impl Iterator<Item = (&'a Truth, &'a Answer)>,
) -> Box<dyn Sheet> {
    let labels = &head.parts().labels;
    match head.kind() {
        HeadKind::Classification => {
            let mut sheet = ClassSheet::new(labels, deciding.temperature);
            rows.for_each(|(truth, answer)| sheet.push(truth.one(), answer.logits()));
            Box::new(sheet)
        }
        HeadKind::MultipleChoice | HeadKind::Reward => {
            let mut sheet = ChoiceSheet::new(deciding.temperature);
            rows.for_each(|(truth, answer)| sheet.push(truth.one(), answer.logits()));
            Box::new(sheet)
        }
        HeadKind::MultiLabel => {
            let mut sheet = LabelSheet::new(labels, deciding.clone());
            rows.for_each(|(truth, answer)| sheet.push(truth.many(), answer.logits()));
            Box::new(sheet)
        }
        HeadKind::TokenClassification => {
            let mut sheet = SpanSheet::new(labels, deciding.temperature);
            for (truth, answer) in rows {
                let logits = answer.words().iter().map(Option::as_deref);
                let words: Vec<_> = truth.many().iter().copied().zip(logits).collect();
                sheet.push(&words);
            }
            Box::new(sheet)
        }
        HeadKind::Regression => {
            let pairs = rows.filter_map(|(truth, answer)| match (truth, answer) {
                (Truth::Number(due), Answer::Number(answered)) => Some((*due, f64::from(*answered))),
                (Truth::One(_) | Truth::Many(_) | Truth::Words(_) | Truth::Number(_), _) => None,
            });
            Box::new(NumberSheet::new(&pairs.collect::<Vec<_>>()))
        }
    }
}

/// What a temperature is fitted on: one trial a row, or a word that was read.
pub(super) fn trials_of<'a>(kind: HeadKind, rows: impl Iterator<Item = (&'a Truth, &'a Answer)>) -> Vec<Trial<'a>> {
    let trials = |(truth, answer): (&'a Truth, &'a Answer)| -> Vec<Trial<'a>> {
        match kind {
            HeadKind::Classification | HeadKind::MultipleChoice | HeadKind::Reward => {
                vec![Trial::OneOf { logits: answer.logits(), due: truth.one() }]
            }
            HeadKind::MultiLabel => vec![Trial::Each { logits: answer.logits(), due: truth.many() }],
            HeadKind::TokenClassification => {
                let words = truth.many().iter().zip(answer.words());
                let read = words.filter_map(|(due, logits)| Some((*due, logits.as_deref()?)));
                read.map(|(due, logits)| Trial::OneOf { logits, due }).collect()
            }
            HeadKind::Regression => Vec::new(),
        }
    };
    rows.flat_map(trials).collect()
}

/// What thresholds are fitted on: a logit for each label, and the labels that hold.
pub(super) fn logits_and_labels<'a>(
    rows: impl Iterator<Item = (&'a Truth, &'a Answer)>,
) -> Vec<(&'a [f32], &'a [usize])> {
    rows.map(|(truth, answer)| (answer.logits(), truth.many())).collect()
}

impl Truth {
    fn one(&self) -> usize {
        match self {
            Self::One(place) => *place,
            // Rows were parsed for the head's kind, and this kind has another truth.
            Self::Many(_) | Self::Words(_) | Self::Number(_) => usize::MAX,
        }
    }

    fn many(&self) -> &[usize] {
        match self {
            Self::Many(places) | Self::Words(places) => places,
            Self::One(_) | Self::Number(_) => &[],
        }
    }
}
