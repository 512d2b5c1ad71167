//! Texts held against labels that the caller makes up: each label a hypothesis, each pair a row of an NLI head.
//!
//! The arithmetic is that of the reference's zero-shot pipeline: which outputs count follows from where entailment
//! stands among the labels, and the head's temperature, which was fitted to its own labels, has no part in it.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use super::one_head::{Question, Read, Readable};
use super::{Engine, Timing};
use crate::admission::Permit;
use crate::ask::{Mode, Reading};
use crate::error::EngineError;
use crate::head::{Head, HeadKind, MAX_LABEL_BYTES};
use crate::limits::Limits;
use crate::live::ServedHead;
use crate::model::Scores;
use crate::prediction::{Confidence, softmax};
use crate::rows::{self, Cost, Sequence, invalid, over};
use crate::task::{Selector, TaskKey};
use crate::tokens::{Cut, Text, Tokens};
use crate::truncation::Strategy;

/// Makes a hypothesis of a label where the caller has no template.
const USUAL_TEMPLATE: &str = "This example is {}.";
/// Stands for the label in a template.
const PLACE: &str = "{}";

/// Texts and the labels that they are held against.
#[derive(Debug, Clone)]
pub struct ZeroShotAsk {
    /// A task whose labels hold entailment.
    pub key: TaskKey,
    /// Which of its versions.
    pub selector: Selector,
    /// The texts; the answers come in the same order.
    pub inputs: Vec<ZeroShotInput>,
    /// Labels for every text that brings none of its own.
    pub candidate_labels: Vec<String>,
    /// Makes a hypothesis of a label; `{}` stands for the label. Empty is `This example is {}.`
    pub hypothesis_template: String,
    /// Whether every label is judged on its own, instead of one being true.
    pub multi_label: bool,
    /// With or without the task embedding; `None` leaves it to the head.
    pub mode: Option<Mode>,
    /// How the texts are to be read. A hypothesis is never cut.
    pub reading: Reading,
}

/// A text, perhaps with labels of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZeroShotInput {
    /// The premise.
    pub text: String,
    /// Labels for this text alone; empty for those of the ask.
    pub candidate_labels: Vec<String>,
}

/// How a candidate label fares.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The label as the caller spelled it.
    pub label: String,
    /// Its position among the candidates.
    pub index: usize,
    /// Its probability.
    pub probability: f32,
    /// Raw logit of entailment.
    pub entailment: f32,
    /// Raw logit of the label that entailment is held against; absent where the head has only one label.
    pub contradiction: Option<f32>,
}

/// The answer for one text.
#[derive(Debug, Clone, PartialEq)]
pub struct ZeroShotAnswered {
    /// The text, given back.
    pub text: String,
    /// Every candidate, likeliest first; equal ones in the caller's order.
    pub candidates: Vec<Candidate>,
    /// How sure the choice among the candidates is; `None` where each is judged on its own.
    pub confidence: Option<Confidence>,
    /// The probability that the text entails the likeliest candidate's hypothesis, among all of the head's own labels and
    /// at its temperature; `None` where the head has none, or only one label.
    pub calibrated: Option<f32>,
    /// As in [`crate::Answered`].
    pub ood_score: Option<f32>,
    /// Rows it became: one a candidate, or one a window and candidate.
    pub rows: usize,
    /// Tokens of all its rows, special tokens included.
    pub tokens_used: usize,
    /// What was cut: the candidate's position, and where.
    pub cuts: Vec<(usize, Cut)>,
    /// Where the time went.
    pub timing: Timing,
}

/// The answers, in the order of the texts.
#[derive(Debug)]
pub struct ZeroShotAnswer {
    /// The version that answered.
    pub served: Arc<ServedHead>,
    /// With or without the task embedding.
    pub mode: Mode,
    /// One a text.
    pub inputs: Vec<ZeroShotAnswered>,
    _permit: Permit,
}

/// The outputs of a head that zero-shot reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outputs {
    entailment: usize,
    /// The last output where entailment is the first, else the first.
    contradiction: usize,
}

/// How the rows of a text become probabilities of its candidates.
#[derive(Debug, Clone, Copy)]
struct How {
    outputs: Outputs,
    multi_label: bool,
}

/// A text beside the hypotheses it is held against.
struct Held {
    text: String,
    labels: Arc<[String]>,
    hypotheses: Arc<[String]>,
    has_own_labels: bool,
}

impl Readable for Held {
    fn sequences<'a>(&'a self, _: &'a Head) -> Vec<Sequence<'a>> {
        let pair = |hypothesis: &'a String| Sequence { text: Text::Raw(&self.text), pair: Some(Text::Raw(hypothesis)) };
        self.hypotheses.iter().map(pair).collect()
    }

    fn field(&self, index: usize, _: usize) -> String {
        format!("inputs[{index}].text")
    }

    fn pair_field(&self, index: usize, place: usize) -> String {
        format!("{}[{place}]", labels_field(self.has_own_labels.then_some(index)))
    }
}

impl Engine {
    /// Holds every text against its candidate labels, through one version of one head.
    ///
    /// # Errors
    /// [`EngineError`], for the first text that has no answer.
    pub async fn zero_shot(&self, ask: ZeroShotAsk) -> Result<ZeroShotAnswer, EngineError> {
        self.check_up()?;
        let served = self.find(&ask.key, &ask.selector)?;
        let outputs = outputs(&served.head).ok_or_else(|| {
            invalid("task".into(), "zero-shot needs a classification with entailment among its labels")
        })?;
        let mode = rows::mode(ask.mode, &served.head);
        let cost = check(&ask, &self.limits())?;
        let reading = self.on_behalf(ask.reading, &ask.key.tenant);
        let permit = self.admit(cost, reading)?;
        let question = Question {
            served: Arc::clone(&served),
            mode,
            reading,
            strategy: Strategy::OnlyFirst,
            cost,
            permit,
            judge: None,
        };
        let how = How { outputs, multi_label: ask.multi_label };
        let (inputs, permit) =
            self.ask_head(question, held(ask), move |head, held, read| answered(head, how, held, read)).await?;
        Ok(ZeroShotAnswer { served, mode, inputs, _permit: permit })
    }
}

impl Head {
    /// Whether zero-shot questions may be put to it: a classification one of whose labels begins with `entail`, letter
    /// case aside.
    #[must_use]
    pub fn knows_entailment(&self) -> bool {
        outputs(self).is_some()
    }
}

fn outputs(head: &Head) -> Option<Outputs> {
    if head.kind() != HeadKind::Classification {
        return None;
    }
    let entailment = head.parts().labels.iter().position(|label| label.to_lowercase().starts_with("entail"))?;
    let contradiction = if entailment == 0 { head.outputs() - 1 } else { 0 };
    Some(Outputs { entailment, contradiction })
}

/// Checks every field against the limits, hypotheses before they are made.
fn check(ask: &ZeroShotAsk, limits: &Limits) -> Result<Cost, EngineError> {
    let template = template(ask);
    if template.matches(PLACE).count() != 1 {
        return Err(invalid("hypothesis_template".into(), "{} must stand in it once, for the label"));
    }
    if ask.inputs.is_empty() {
        return Err(invalid("inputs".into(), "at least one input is needed"));
    }
    over("inputs".into(), ask.inputs.len(), limits.max_inputs)?;
    let mut shared = None;
    let mut cost = Cost { rows: 0, bytes: 0 };
    for (index, input) in ask.inputs.iter().enumerate() {
        let field = format!("inputs[{index}].text");
        if input.text.is_empty() {
            return Err(invalid(field, "is empty"));
        }
        over(format!("{field} in bytes"), input.text.len(), limits.max_text_bytes)?;
        let of_labels = |labels: &[String], own: Option<usize>| check_labels(labels, own, template, limits);
        let own = match (&shared, input.candidate_labels.is_empty()) {
            (Some(shared), true) => *shared,
            (None, true) => *shared.insert(of_labels(&ask.candidate_labels, None)?),
            (_, false) => of_labels(&input.candidate_labels, Some(index))?,
        };
        cost.rows += own.rows;
        // The text is tokenized once for each row.
        cost.bytes += own.bytes + own.rows * input.text.len();
    }
    if shared.is_none() && !ask.candidate_labels.is_empty() {
        check_labels(&ask.candidate_labels, None, template, limits)?;
    }
    over("inputs in rows".into(), cost.rows, limits.max_in_flight_rows)?;
    over("inputs in bytes".into(), cost.bytes, limits.max_in_flight_bytes)?;
    Ok(cost)
}

/// Checks a list of labels, and gives the rows and the bytes of its hypotheses.
fn check_labels(labels: &[String], own: Option<usize>, template: &str, limits: &Limits) -> Result<Cost, EngineError> {
    let field = labels_field(own);
    if labels.is_empty() {
        return Err(invalid(field, "at least one label is needed"));
    }
    over(field.clone(), labels.len(), limits.max_candidate_labels)?;
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for (place, label) in labels.iter().enumerate() {
        let field = format!("{field}[{place}]");
        if label.is_empty() {
            return Err(invalid(field, "is empty"));
        }
        over(format!("{field} in bytes"), label.len(), MAX_LABEL_BYTES)?;
        if !seen.insert(label) {
            return Err(invalid(field, "is there twice"));
        }
        let hypothesis = template.len() - PLACE.len() + label.len();
        over("hypothesis_template in bytes".into(), hypothesis, limits.max_text_bytes)?;
        bytes += hypothesis;
    }
    Ok(Cost { rows: labels.len(), bytes })
}

fn labels_field(own: Option<usize>) -> String {
    own.map_or_else(|| "candidate_labels".to_owned(), |index| format!("inputs[{index}].candidate_labels"))
}

fn template(ask: &ZeroShotAsk) -> &str {
    if ask.hypothesis_template.is_empty() { USUAL_TEMPLATE } else { &ask.hypothesis_template }
}

/// The texts with their hypotheses; those of the ask's own labels are made once.
fn held(ask: ZeroShotAsk) -> Vec<Held> {
    let template = template(&ask).to_owned();
    let hypotheses = |labels: &[String]| labels.iter().map(|label| template.replacen(PLACE, label, 1)).collect();
    let of_all: Arc<[String]> = hypotheses(&ask.candidate_labels);
    let labels_of_all: Arc<[String]> = ask.candidate_labels.into();
    let held = |input: ZeroShotInput| {
        let has_own_labels = !input.candidate_labels.is_empty();
        let (labels, hypotheses) = if has_own_labels {
            let hypotheses = hypotheses(&input.candidate_labels);
            (input.candidate_labels.into(), hypotheses)
        } else {
            (Arc::clone(&labels_of_all), Arc::clone(&of_all))
        };
        Held { text: input.text, labels, hypotheses, has_own_labels }
    };
    ask.inputs.into_iter().map(held).collect()
}

impl How {
    /// Whether every candidate is judged on its own; one alone always is.
    fn each_alone(self, n_labels: usize) -> bool {
        self.multi_label || n_labels == 1
    }
}

fn answered(head: &Head, how: How, held: Held, read: Read) -> ZeroShotAnswered {
    let candidates = ranked(how, &held.labels, &read.sequences);
    let probabilities: Vec<f32> = candidates.iter().map(|candidate| candidate.probability).collect();
    let confidence = (!how.each_alone(held.labels.len())).then(|| Confidence::of(&probabilities));
    let best = candidates.first().and_then(|best| read.sequences.get(best.index));
    let calibrated = best.and_then(|(_, scores)| entailed(head, how.outputs, scores));
    let timing = read.timing();
    let Read { rows, tokens_used, cuts, ood_score, .. } = read;
    ZeroShotAnswered { text: held.text, candidates, confidence, calibrated, ood_score, rows, tokens_used, cuts, timing }
}

/// The probability of entailment among the head's own labels, which are what its temperature was fitted to.
fn entailed(head: &Head, outputs: Outputs, scores: &Scores) -> Option<f32> {
    let temperature = head.parts().temperature.filter(|_| head.outputs() > 1)?;
    softmax(&scores.logits, temperature).get(outputs.entailment).copied()
}

/// The candidates by their probability.
fn ranked(how: How, labels: &[String], rows: &[(Arc<Tokens>, Scores)]) -> Vec<Candidate> {
    let outputs = how.outputs;
    let logit = |output: usize| -> Vec<f32> {
        rows.iter().map(|(_, scores)| scores.logits.get(output).copied().unwrap_or_default()).collect()
    };
    let (entailment, contradiction) = (logit(outputs.entailment), logit(outputs.contradiction));
    let probabilities = if how.each_alone(labels.len()) {
        let own = |(against, entailed): (&f32, &f32)| softmax(&[*against, *entailed], 1.0)[1];
        contradiction.iter().zip(&entailment).map(own).collect()
    } else {
        softmax(&entailment, 1.0)
    };
    let has_contradiction = outputs.contradiction != outputs.entailment;
    let candidate = |(index, (label, probability)): (usize, (&String, f32))| Candidate {
        label: label.clone(),
        index,
        probability,
        entailment: entailment[index],
        contradiction: has_contradiction.then_some(contradiction[index]),
    };
    let mut candidates: Vec<_> = labels.iter().zip(probabilities).enumerate().map(candidate).collect();
    candidates.sort_by(|a, b| b.probability.partial_cmp(&a.probability).unwrap_or(Ordering::Equal));
    candidates
}
