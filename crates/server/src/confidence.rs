//! How sure a head is of an answer, in the contract's words.

use api::v1;
use engine::{Confidence, Head, Prediction, Rewarded, ZeroShotAnswered, softmax};

/// The confidence of `head` in `prediction`; `None` where there is nothing to say.
pub(crate) fn confidence(prediction: &Prediction, head: &Head, ood_score: Option<f32>) -> Option<v1::Confidence> {
    let among_several = prediction.confidence();
    let best = match prediction {
        // Each label is judged on its own: there is a best probability, but no share of it to compare.
        Prediction::MultiLabel(ranked) => ranked.first().map(|best| best.probability),
        Prediction::Labels(_)
        | Prediction::Choices(_)
        | Prediction::Number(_)
        | Prediction::Rewards(_)
        | Prediction::Tokens(_) => among_several.map(|confidence| confidence.best),
    };
    let abstain_below = head.parts().trust.abstain_below;
    said(v1::Confidence {
        calibrated: best.filter(|_| head.parts().temperature.is_some()),
        ood_score,
        abstain: among_several.zip(abstain_below).map(|(confidence, below)| confidence.best < below),
        ..shares(among_several.as_ref())
    })
}

/// The confidence in the candidate labels of one text. The head's threshold is for its own labels, so nothing is said of
/// abstaining.
pub(crate) fn of_candidates(answered: &ZeroShotAnswered) -> Option<v1::Confidence> {
    let calibrated = answered.calibrated;
    said(v1::Confidence { calibrated, ood_score: answered.ood_score, ..shares(answered.confidence.as_ref()) })
}

/// The confidence in the best of several answers, from their shares of preference. Of one answer there is only how far
/// it lies from the head's training text.
pub(crate) fn of_rewards(rewarded: &Rewarded, head: &Head) -> Option<v1::Confidence> {
    let among = |temperature| Confidence::of(&softmax(&rewarded.rewards, temperature));
    let has_several = rewarded.rewards.len() > 1;
    let calibrated = head.parts().temperature.filter(|_| has_several).map(|temperature| among(temperature).best);
    let ood_score = rewarded.ood_score;
    said(v1::Confidence { calibrated, ood_score, ..shares(has_several.then(|| among(1.0)).as_ref()) })
}

fn shares(among_several: Option<&Confidence>) -> v1::Confidence {
    v1::Confidence {
        margin: among_several.map(|confidence| confidence.margin),
        entropy: among_several.map(|confidence| confidence.entropy),
        ..v1::Confidence::default()
    }
}

fn said(confidence: v1::Confidence) -> Option<v1::Confidence> {
    (confidence != v1::Confidence::default()).then_some(confidence)
}

#[cfg(test)]
mod tests {
    use engine::{HeadKind, HeadParts, Scored, Trust};

    use super::*;

    fn head(kind: HeadKind, temperature: Option<f32>, abstain_below: Option<f32>) -> Head {
        let outputs = if kind == HeadKind::Regression { 1 } else { 2 };
        let parts = HeadParts {
            weight: vec![1.0; outputs].into(),
            bias: vec![0.0; outputs].into(),
            temperature,
            trust: Trust { abstain_below, ..Trust::default() },
            ..HeadParts::default()
        };
        Head::new(kind, 1, parts).unwrap()
    }

    fn ranked() -> Vec<Scored> {
        let scored = |index, probability| Scored { index, logit: 0.0, probability };
        vec![scored(1, 0.75), scored(0, 0.25)]
    }

    #[test]
    fn a_head_abstains_below_its_own_threshold_and_not_at_it() {
        let abstain = |below| {
            let head = head(HeadKind::Classification, None, below);
            confidence(&Prediction::Labels(ranked()), &head, None).unwrap().abstain
        };
        assert_eq!([abstain(None), abstain(Some(0.75)), abstain(Some(0.76))], [None, Some(false), Some(true)]);
    }

    #[test]
    fn what_has_no_meaning_or_no_source_is_unset() {
        let of = |prediction, head: Head, ood| confidence(&prediction, &head, ood);
        let plain = of(Prediction::Labels(ranked()), head(HeadKind::Classification, None, None), None).unwrap();
        assert_eq!((plain.margin, plain.calibrated, plain.ood_score), (Some(0.5), None, None));
        let entropy = -(0.75_f32 * 0.75_f32.ln() + 0.25 * 0.25_f32.ln());
        assert_eq!(plain.entropy, Some(entropy));
        let labels = of(Prediction::MultiLabel(ranked()), head(HeadKind::MultiLabel, Some(2.0), None), None).unwrap();
        assert_eq!((labels.margin, labels.entropy, labels.calibrated), (None, None, Some(0.75)));
        let number = || head(HeadKind::Regression, None, None);
        assert_eq!(of(Prediction::Number(1.0), number(), None), None);
        assert_eq!(of(Prediction::Number(1.0), number(), Some(1.5)).unwrap().ood_score, Some(1.5));
    }

    #[test]
    fn one_reward_stands_alone_and_several_share_a_preference() {
        let reward_head = |temperature| {
            let parts =
                HeadParts { weight: vec![1.0].into(), bias: vec![0.0].into(), temperature, ..HeadParts::default() };
            Head::new(HeadKind::Reward, 1, parts).unwrap()
        };
        let rewarded = |rewards: &[f32]| Rewarded {
            input: engine::RewardInput { prompt: "p".into(), answers: vec![String::new(); rewards.len()] },
            rewards: rewards.to_vec(),
            rows: rewards.len(),
            tokens_used: 0,
            cuts: Vec::new(),
            ood_score: None,
            timing: engine::Timing::default(),
        };
        assert_eq!(of_rewards(&rewarded(&[3.0]), &reward_head(Some(2.0))), None);
        let one_of_two = of_rewards(&rewarded(&[0.0, 3.0_f32.ln()]), &reward_head(None)).unwrap();
        assert!((one_of_two.margin.unwrap() - 0.5).abs() < 1e-6);
        assert_eq!(one_of_two.calibrated, None);
        let flat = of_rewards(&rewarded(&[0.0, 9.0_f32.ln()]), &reward_head(Some(2.0))).unwrap();
        assert!((flat.calibrated.unwrap() - 0.75).abs() < 1e-6);
    }
}
