//! A second version judges the vectors that the first has answered from; what they have in common is counted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ask::{Input, Mode};
use crate::error::EngineError;
use crate::head::Head;
use crate::live::ServedHead;
use crate::model::{RowOutput, Scores};
use crate::prediction::{Prediction, predict};
use crate::scoring::score;
use crate::tokens::Tokens;
use crate::traffic::Traffic;

/// A task's rule as it is served, with what has been counted under it. A new rule, and a new live version, count anew.
#[derive(Debug, Default)]
pub struct LiveTraffic {
    /// The rule.
    pub rule: Traffic,
    counts: Mutex<TrafficCounts>,
}

/// What was counted under one rule.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrafficCounts {
    /// Calls that named no version and that the live version answered.
    pub live_calls: u64,
    /// Calls that named no version and that the canary answered.
    pub canary_calls: u64,
    /// Inputs that the shadow judged.
    pub judged: u64,
    /// Of these, those with the answer that was given: the same best label or choice, the same labels above their
    /// thresholds, the same spans.
    pub agreed: u64,
    /// Of these, those whose answer is a number, which neither agrees nor differs.
    pub numbers: u64,
    /// The sum over those numbers of how far the two lie apart.
    pub absolute_difference: f64,
    /// Inputs that were not judged because the shadow answers with another kind, or with another task embedding.
    pub skipped: u64,
    /// Inputs that the shadow could not answer.
    pub failed: u64,
}

/// The shadow of one call; `None` where nobody judges it.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    head: Arc<Head>,
    traffic: Arc<LiveTraffic>,
    suits: bool,
}

/// Two answers to one input.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    Agreed,
    Differed,
    Apart(f64),
}

impl LiveTraffic {
    /// A rule under which nothing has happened yet.
    #[must_use]
    pub fn new(rule: Traffic) -> Self {
        Self { rule, counts: Mutex::default() }
    }

    /// What has been counted until now.
    #[must_use]
    pub fn counts(&self) -> TrafficCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut TrafficCounts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl PartialEq for LiveTraffic {
    /// Equal rules: what was counted is no part of what is served.
    fn eq(&self, other: &Self) -> bool {
        self.rule == other.rule
    }
}

impl Judge {
    /// `shadow` over the answers of `served` in `mode`. It judges only vectors that it would have been given itself.
    pub(crate) fn new(served: &ServedHead, shadow: &ServedHead, mode: Mode, traffic: Arc<LiveTraffic>) -> Self {
        let suits = judges_alike(&served.head, &shadow.head, mode);
        Self { head: Arc::clone(&shadow.head), traffic, suits }
    }

    /// Its scores on what the encoder made of a row; none where it would have been given another row.
    pub(crate) fn scores(&self, output: &RowOutput) -> Option<Result<Scores, EngineError>> {
        self.suits.then(|| score(&self.head, output))
    }

    /// Holds its scores of an input's rows against the answer that was given.
    pub(crate) fn judge(&self, head: &Head, input: &Input, given: &Prediction, rows: Judged) {
        let verdict =
            self.suits.then(|| rows.map(|rows| compare(head, given, &self.head, &predict(&self.head, input, &rows))));
        self.traffic.count(|counts| match verdict {
            None => counts.skipped += 1,
            Some(Err(_)) => counts.failed += 1,
            Some(Ok(verdict)) => {
                counts.judged += 1;
                match verdict {
                    Verdict::Agreed => counts.agreed += 1,
                    Verdict::Differed => {}
                    Verdict::Apart(distance) => {
                        counts.numbers += 1;
                        counts.absolute_difference += distance;
                    }
                }
            }
        });
    }
}

/// The rows of an input with a judge's scores.
pub(crate) type Judged = Result<Vec<(Arc<Tokens>, Scores)>, EngineError>;

/// Whether two heads read the same vectors in `mode` and answer in the same kind.
#[must_use]
pub fn judges_alike(head: &Head, other: &Head, mode: Mode) -> bool {
    let embeddings = [head, other].map(|head| head.parts().task_embedding.as_ref());
    let same_vectors = match mode {
        Mode::Shared => true,
        Mode::Exact => match embeddings {
            [Some(one), Some(other)] => Arc::ptr_eq(one, other) || one == other,
            [None, None] => true,
            [Some(_), None] | [None, Some(_)] => false,
        },
    };
    let adapters = [head, other].map(|head| head.parts().adapter.as_deref());
    same_vectors && adapters[0] == adapters[1] && head.kind() == other.kind()
}

fn compare(head: &Head, given: &Prediction, shadow: &Head, other: &Prediction) -> Verdict {
    use Prediction::{Choices, Labels, MultiLabel, Number, Rewards, Tokens};
    let verdict = |agrees: bool| if agrees { Verdict::Agreed } else { Verdict::Differed };
    let apart = |one: f32, other: f32| Verdict::Apart(f64::from((one - other).abs()));
    match (given, other) {
        (Labels(given), Labels(other)) => {
            let best =
                |head: &Head, ranked: &[crate::Scored]| ranked.first().map(|best| head.label(best.index).to_owned());
            verdict(best(head, given) == best(shadow, other))
        }
        (MultiLabel(given), MultiLabel(other)) => verdict(held(head, given) == held(shadow, other)),
        (Number(given), Number(other)) => apart(*given, *other),
        (Rewards(given), Rewards(other)) if given.len() == 1 && other.len() == 1 => {
            apart(given[0].logit, other[0].logit)
        }
        (Choices(given), Choices(other)) | (Rewards(given), Rewards(other)) => {
            verdict(given.first().map(|best| best.index) == other.first().map(|best| best.index))
        }
        (Tokens(given), Tokens(other)) => {
            let spans = |tokens: &crate::TokenPrediction| {
                tokens.spans.iter().map(|span| (span.label.clone(), span.words.clone())).collect::<Vec<_>>()
            };
            verdict(spans(given) == spans(other))
        }
        (Labels(_) | MultiLabel(_) | Number(_) | Rewards(_) | Choices(_) | Tokens(_), _) => Verdict::Differed,
    }
}

fn held<'a>(head: &'a Head, labels: &[crate::Scored]) -> BTreeSet<&'a str> {
    let holds = |scored: &&crate::Scored| scored.probability >= head.threshold(scored.index);
    labels.iter().filter(holds).map(|scored| head.label(scored.index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{HeadKind, HeadParts};
    use crate::prediction::Scored;

    fn head(kind: HeadKind, labels: &[&str], task_embedding: Option<f32>) -> Head {
        let outputs = labels.len().max(1);
        let parts = HeadParts {
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            weight: vec![1.0; outputs].into(),
            bias: vec![0.0; outputs].into(),
            task_embedding: task_embedding.map(|number| vec![number].into()),
            ..HeadParts::default()
        };
        Head::new(kind, 1, parts).unwrap()
    }

    fn scored(index: usize, probability: f32) -> Scored {
        Scored { index, logit: probability, probability }
    }

    #[test]
    fn answers_agree_by_label_names_and_not_by_their_places() {
        let kind = HeadKind::Classification;
        let (one, turned) = (head(kind, &["no", "yes"], None), head(kind, &["yes", "no"], None));
        let best = |index| Prediction::Labels(vec![scored(index, 0.9), scored(1 - index, 0.1)]);
        assert_eq!(compare(&one, &best(1), &turned, &best(0)), Verdict::Agreed);
        assert_eq!(compare(&one, &best(1), &turned, &best(1)), Verdict::Differed);
    }

    #[test]
    fn labels_that_hold_are_compared_whatever_their_probabilities() {
        let several = head(HeadKind::MultiLabel, &["a", "b"], None);
        let answer = |a, b| Prediction::MultiLabel(vec![scored(0, a), scored(1, b)]);
        assert_eq!(compare(&several, &answer(0.9, 0.1), &several, &answer(0.6, 0.4)), Verdict::Agreed);
        assert_eq!(compare(&several, &answer(0.9, 0.1), &several, &answer(0.6, 0.5)), Verdict::Differed);
    }

    #[test]
    fn numbers_lie_apart() {
        let number = head(HeadKind::Regression, &[], None);
        let (one, other) = (Prediction::Number(1.5), Prediction::Number(-1.0));
        assert_eq!(compare(&number, &one, &number, &other), Verdict::Apart(2.5));
        assert_eq!(compare(&number, &one, &number, &Prediction::Choices(vec![])), Verdict::Differed);
    }

    #[test]
    fn a_head_judges_only_vectors_that_it_would_be_given() {
        let kind = HeadKind::Classification;
        let with = |embedding| head(kind, &["no", "yes"], embedding);
        assert!(judges_alike(&with(Some(1.0)), &with(Some(1.0)), Mode::Exact));
        assert!(!judges_alike(&with(Some(1.0)), &with(Some(2.0)), Mode::Exact));
        assert!(!judges_alike(&with(Some(1.0)), &with(None), Mode::Exact));
        assert!(judges_alike(&with(Some(1.0)), &with(None), Mode::Shared));
        assert!(!judges_alike(&with(None), &head(HeadKind::MultiLabel, &["no", "yes"], None), Mode::Shared));
    }
}
