//! Inputs with the logits that a head must give: its own proof that it answers here as it did where it was made.

use crate::ask::Input;
use crate::head::{Head, HeadError, HeadKind};
use crate::rows::check_one;

/// The most goldens of one head.
pub const MAX_GOLDENS: usize = 16;
/// How far a logit may be off where the golden does not say.
pub const DEFAULT_TOLERANCE: f32 = 0.01;
/// What a golden must allow at least where the encoder does not run in fp32: enough for rounding, too little for another
/// head or encoder.
const REDUCED_TOLERANCE: f32 = 0.5;

/// An input and the logits of its answer, in the mode that the head has by default.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// The input.
    pub input: Input,
    /// The raw logits: one for each output, for each choice or answer, or, row by row, for each token and label.
    pub logits: Vec<f32>,
    /// How far each may be off in fp32.
    pub tolerance: f32,
}

impl Golden {
    /// What is wrong with the logits `found` on an encoder of this element type, if anything is.
    pub(crate) fn difference(&self, found: &[f32], dtype: &str) -> Option<String> {
        let tolerance = if dtype == "fp32" { self.tolerance } else { self.tolerance.max(REDUCED_TOLERANCE) };
        if found.len() != self.logits.len() {
            return Some(format!("{} logits, expected {}", found.len(), self.logits.len()));
        }
        let pairs = found.iter().zip(&self.logits).enumerate();
        // A number that is none is near nothing.
        let is_near = |found: f32, expected: f32| (found - expected).abs() <= tolerance;
        let mut off = pairs.filter(|(_, (found, expected))| !is_near(**found, **expected));
        off.next()
            .map(|(at, (found, expected))| format!("logit {at} is {found}, expected {expected} within {tolerance}"))
    }
}

/// Checks that each of the head's goldens is an input that it takes, with as many logits as it gives.
pub(crate) fn check_goldens(head: &Head) -> Result<(), HeadError> {
    let goldens = &head.parts().about.goldens;
    if goldens.len() > MAX_GOLDENS {
        return Err(HeadError::Golden { index: MAX_GOLDENS, reason: format!("at most {MAX_GOLDENS} are allowed") });
    }
    for (index, golden) in goldens.iter().enumerate() {
        let refuse = |reason: String| Err(HeadError::Golden { index, reason });
        if let Err(error) = check_one(&golden.input, head) {
            return refuse(error.to_string());
        }
        if !(golden.tolerance.is_finite() && golden.tolerance > 0.0) {
            return refuse("the tolerance must be a positive number".to_owned());
        }
        if golden.logits.iter().any(|logit| !logit.is_finite()) {
            return refuse("logits must be finite numbers".to_owned());
        }
        if !has_right_count(head, golden) {
            return refuse(format!("{} logits are not as many as this head gives", golden.logits.len()));
        }
    }
    Ok(())
}

fn has_right_count(head: &Head, golden: &Golden) -> bool {
    let count = golden.logits.len();
    match head.kind() {
        HeadKind::Classification | HeadKind::MultiLabel | HeadKind::Regression => count == head.outputs(),
        HeadKind::MultipleChoice | HeadKind::Reward => count == golden.input.choices.len(),
        HeadKind::TokenClassification => count > 0 && count.is_multiple_of(head.outputs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Golden {
        Golden { input: Input::default(), logits: vec![1.0, -1.0], tolerance: 0.1 }
    }

    #[test]
    fn logits_may_be_off_by_the_tolerance_and_no_more() {
        assert_eq!(golden().difference(&[1.05, -1.05], "fp32"), None);
        let told = golden().difference(&[1.0, -1.2], "fp32").unwrap();
        assert_eq!(told, "logit 1 is -1.2, expected -1 within 0.1");
        assert_eq!(golden().difference(&[1.0], "fp32").unwrap(), "1 logits, expected 2");
        assert!(golden().difference(&[1.0, f32::NAN], "fp32").is_some());
    }

    #[test]
    fn a_reduced_mode_may_be_off_by_more_but_not_by_another_answer() {
        assert_eq!(golden().difference(&[1.4, -0.6], "bf16"), None);
        assert!(golden().difference(&[-1.0, 1.0], "bf16").is_some());
    }
}
