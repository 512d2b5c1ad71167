//! How much of each side is kept where both together are too long: the longest side loses first.

/// Tokens kept of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) text: usize,
    pub(super) pair: usize,
}

/// What of a text of `text` tokens and a pair of `pair` is kept within `room`, as the reference's `longest_first` does.
pub(super) fn longest_first(text: usize, pair: Option<usize>, room: usize) -> Kept {
    let Some(pair) = pair else { return Kept { text: text.min(room), pair: 0 } };
    if text + pair <= room {
        return Kept { text, pair };
    }
    let (shorter, longer) = (text.min(pair), room - text.min(pair).min(room));
    let (shorter, longer) = if shorter <= longer { (shorter, longer) } else { (room / 2, room - room / 2) };
    // Where both are cut, the one that was longer keeps the odd token; of two equal ones the pair.
    if text <= pair { Kept { text: shorter, pair: longer } } else { Kept { text: longer, pair: shorter } }
}

#[cfg(test)]
mod tests {
    use tokenizers::{Encoding, Token, TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings};

    use super::*;

    fn side(tokens: usize) -> Encoding {
        Encoding::from_tokens(vec![Token::new(0, "a".to_owned(), (0, 1)); tokens], 0)
    }

    #[test]
    fn every_small_case_equals_the_librarys_own_rule() {
        for room in 1..12 {
            for text in 0..16 {
                for pair in (0..16).map(Some).chain([None]) {
                    let params = TruncationParams {
                        max_length: room,
                        strategy: TruncationStrategy::LongestFirst,
                        stride: 0,
                        direction: TruncationDirection::Right,
                    };
                    let (first, second) = truncate_encodings(side(text), pair.map(side), &params).unwrap();
                    let theirs = Kept { text: first.len(), pair: second.map_or(0, |second| second.len()) };
                    assert_eq!(longest_first(text, pair, room), theirs, "{text} {pair:?} in {room}");
                }
            }
        }
    }
}
