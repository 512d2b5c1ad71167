//! Texts for tasks that have no rows of their own: those of other tasks, or random pieces of the vocabulary.

use engine::{Head, HeadKind, Input, Tokenizer};

const SEED: u64 = 20_251_123;
/// Marks the beginning of a word in a piece of the vocabulary.
const WORD_MARK: char = '\u{2581}';
const LONGEST: usize = 96;

/// `count` texts of 4 to 100 pieces of the vocabulary each, most of them short; the same from every run.
pub(super) fn random(tokenizer: &dyn Tokenizer, count: usize) -> Vec<String> {
    let pieces: Vec<String> = (0..).map_while(|id| tokenizer.piece(id)).collect();
    let mut random = Random(SEED);
    let mut text = || {
        let (one, other) = (random.below(LONGEST), random.below(LONGEST));
        let mut text = String::new();
        for _ in 0..4 + one.min(other) {
            let piece = pieces.get(random.below(pieces.len()));
            text.push_str(&piece.map_or_else(String::new, |piece| piece.replace(WORD_MARK, " ")));
        }
        if text.trim().is_empty() { "blank".to_owned() } else { text.trim().to_owned() }
    };
    (0..count).map(|_| text()).collect()
}

/// `count` inputs as `head` takes them, from `texts` in turn, beginning at `start`.
pub(super) fn inputs(head: &Head, texts: &[String], start: usize, count: usize) -> Vec<Input> {
    let text = |index: usize| texts.get(index % texts.len().max(1)).cloned().unwrap_or_default();
    let input = |index: usize| match head.kind() {
        HeadKind::Classification | HeadKind::MultiLabel | HeadKind::Regression | HeadKind::TokenClassification => {
            Input { text: Some(text(index)), ..Input::default() }
        }
        HeadKind::MultipleChoice | HeadKind::Reward => {
            Input { text: Some(text(index)), choices: vec![text(index + 1), text(index + 2)], ..Input::default() }
        }
    };
    (start..start + count).map(input).collect()
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::HeadParts;

    #[test]
    fn choices_are_the_texts_that_follow() {
        let parts = HeadParts { weight: vec![1.0].into(), bias: vec![0.0].into(), ..HeadParts::default() };
        let head = Head::new(HeadKind::MultipleChoice, 1, parts).unwrap();
        let texts = ["a", "b", "c"].map(str::to_owned);
        let inputs = inputs(&head, &texts, 2, 2);
        let seen: Vec<_> = inputs.iter().map(|input| (input.text.as_deref(), input.choices.join(" "))).collect();
        assert_eq!(seen, [(Some("c"), "a b".to_owned()), (Some("a"), "b c".to_owned())]);
    }
}
