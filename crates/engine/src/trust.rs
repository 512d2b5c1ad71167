//! How far the answers of a head are to be trusted, and what its numbers mean: nothing here changes a score.

use std::sync::Arc;

use crate::head::HeadKind;
use crate::ood::OodStatistics;

/// What a head says about its own answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trust {
    /// Best probability below which an answer says `abstain`, 0 to 1: classification and multiple choice.
    pub abstain_below: Option<f32>,
    /// The smallest value that means something, for display: regression.
    pub value_minimum: Option<f32>,
    /// The largest value that means something, for display: regression.
    pub value_maximum: Option<f32>,
    /// Where the head's training text lies among the encoder's pooled vectors.
    pub ood: Option<Arc<OodStatistics>>,
}

/// Why these settings do not suit a head.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrustError {
    /// The threshold for abstaining is no probability, or the kind has no best probability.
    #[error("abstain_below must be a number from 0 to 1, of a classification or multiple_choice head")]
    AbstainBelow,
    /// The range of a regression is none.
    #[error("value_minimum and value_maximum must be finite numbers, the first below the second, of a regression head")]
    ValueRange,
    /// The statistics of out-of-distribution scores are of another encoder.
    #[error("the statistics of out-of-distribution scores are {found} wide, expected {expected}")]
    OodWidth {
        /// Their width.
        found: usize,
        /// The width of the encoder's pooled vectors.
        expected: usize,
    },
}

impl Trust {
    pub(crate) fn check(&self, kind: HeadKind, hidden: usize) -> Result<(), TrustError> {
        let has_best = matches!(kind, HeadKind::Classification | HeadKind::MultipleChoice);
        if self.abstain_below.is_some_and(|below| !has_best || !(0.0..=1.0).contains(&below)) {
            return Err(TrustError::AbstainBelow);
        }
        let limits = [self.value_minimum, self.value_maximum];
        let is_range = match limits {
            [Some(minimum), Some(maximum)] => minimum < maximum,
            [_, _] => true,
        };
        let has_range = limits.iter().any(Option::is_some);
        let is_finite = limits.iter().flatten().all(|limit| limit.is_finite());
        if has_range && !(kind == HeadKind::Regression && is_finite && is_range) {
            return Err(TrustError::ValueRange);
        }
        match &self.ood {
            Some(ood) if ood.mean().len() != hidden => {
                Err(TrustError::OodWidth { found: ood.mean().len(), expected: hidden })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_do_not_suit_the_kind_or_the_encoder_are_refused() {
        let below = |abstain_below| Trust { abstain_below: Some(abstain_below), ..Trust::default() };
        assert_eq!(below(0.5).check(HeadKind::MultipleChoice, 4), Ok(()));
        assert_eq!(below(1.5).check(HeadKind::Classification, 4), Err(TrustError::AbstainBelow));
        assert_eq!(below(f32::NAN).check(HeadKind::Classification, 4), Err(TrustError::AbstainBelow));
        assert_eq!(below(0.5).check(HeadKind::MultiLabel, 4), Err(TrustError::AbstainBelow));
        let range = |value_minimum, value_maximum| Trust { value_minimum, value_maximum, ..Trust::default() };
        assert_eq!(range(Some(0.0), Some(5.0)).check(HeadKind::Regression, 4), Ok(()));
        assert_eq!(range(None, Some(5.0)).check(HeadKind::Regression, 4), Ok(()));
        for (minimum, maximum) in [(Some(5.0), Some(5.0)), (Some(f32::NAN), None), (None, Some(f32::INFINITY))] {
            assert_eq!(range(minimum, maximum).check(HeadKind::Regression, 4), Err(TrustError::ValueRange));
        }
        assert_eq!(range(Some(0.0), None).check(HeadKind::Reward, 4), Err(TrustError::ValueRange));
        let ood = OodStatistics::new(20, 1.0, vec![0.0; 4], vec![1.0; 4]).unwrap();
        let ood = Trust { ood: Some(Arc::new(ood)), ..Trust::default() };
        assert_eq!(ood.check(HeadKind::Reward, 4), Ok(()));
        assert_eq!(ood.check(HeadKind::Reward, 5), Err(TrustError::OodWidth { found: 4, expected: 5 }));
    }
}
