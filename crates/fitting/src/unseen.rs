//! What layers gave for units that they have not learnt from, for whoever holds it against the right answers.

use crate::error::FitError;
use crate::split::View;

/// Units that a layer has not learnt from.
pub(crate) struct HeldOut<'a> {
    pub(crate) view: View<'a>,
    pub(crate) units: &'a [usize],
    pub(crate) layer: &'a [f64],
}

/// An answer by a layer that has not learnt from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Unseen {
    /// Its place among the validation examples, or, where folds were held out, among those to learn from.
    pub unit: usize,
    /// A logit for each output, or for each choice.
    pub logits: Vec<f32>,
}

/// Everything held out, in the order of the units.
///
/// # Errors
/// [`FitError::Cancelled`].
pub(crate) fn unseen(held_out: &[HeldOut<'_>]) -> Result<Vec<Unseen>, FitError> {
    let mut found = Vec::new();
    for HeldOut { view, units, layer } in held_out {
        let outputs = view.examples.outputs();
        view.logits(units, layer, |units, logits, stride| {
            let mut rows = logits.chunks_exact(stride).map(|row| &row[..outputs]);
            for unit in units {
                let own = rows.by_ref().take(view.examples.rows_of(*unit).len()).flatten();
                found.push(Unseen { unit: *unit, logits: own.map(|logit| *logit as f32).collect() });
            }
        })?;
    }
    found.sort_unstable_by_key(|unseen| unseen.unit);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::{Answers, Examples, Question};
    use crate::scaling::Scaling;
    use crate::watch::Unwatched;

    #[test]
    fn units_come_in_order_without_padding_and_questions_with_all_their_choices() {
        let questions = vec![Question { choices: 2, right: 1 }, Question { choices: 3, right: 0 }];
        let examples = Examples::new(1, 1, vec![1., 2., 3., 4., 5.], Answers::Choices(questions)).unwrap();
        let scaling = Scaling::none(1);
        let view = View { examples: &examples, scaling: &scaling, watch: &Unwatched, balanced: false };
        let (double, triple) = ([2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let held =
            [HeldOut { view, units: &[1], layer: &double[..] }, HeldOut { view, units: &[0], layer: &triple[..] }];
        let found: Vec<_> = unseen(&held).unwrap().into_iter().map(|unseen| (unseen.unit, unseen.logits)).collect();
        assert_eq!(found, [(0, vec![3.0, 6.0]), (1, vec![6.0, 8.0, 10.0])]);
    }
}
