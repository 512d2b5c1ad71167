//! What becomes of a sequence that is longer than its limit: how much of each side is kept, and where windows lie.

use std::ops::Range;

/// Which side gives way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The longer side, as the reference's `longest_first`.
    #[default]
    LongestFirst,
    /// The text and never its pair, as `only_first`.
    OnlyFirst,
}

/// How a sequence is made to fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fit {
    /// Which side gives way.
    pub strategy: Strategy,
    /// Whether that side is read in overlapping windows instead of being cut.
    pub in_windows: bool,
}

/// Tokens that one row has room for, of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Of the text.
    pub text: usize,
    /// Of its pair; 0 where there is none.
    pub pair: usize,
}

/// The side that is read in windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The text.
    Text,
    /// Its pair.
    Pair,
}

impl Kept {
    /// What of a text of `text` tokens and a pair of `pair` has room in a row with `room` tokens for both. `None` where
    /// the pair may not be cut and leaves the text no token.
    #[must_use]
    pub fn of(text: usize, pair: Option<usize>, room: usize, strategy: Strategy) -> Option<Self> {
        let Some(pair) = pair else { return Some(Self { text: text.min(room), pair: 0 }) };
        if text + pair <= room {
            return Some(Self { text, pair });
        }
        match strategy {
            Strategy::LongestFirst => Some(longest_first(text, pair, room)),
            Strategy::OnlyFirst if pair < room => Some(Self { text: room - pair, pair }),
            Strategy::OnlyFirst => None,
        }
    }

    /// The side that windows go over: the one that does not fit; where neither does, the longer, beside a beginning of
    /// the other. `None` where all of both sides is kept.
    #[must_use]
    pub fn windowed(self, text: usize, pair: Option<usize>) -> Option<Side> {
        let pair = pair.unwrap_or(0);
        match (self.text < text, self.pair < pair) {
            (false, false) => None,
            (true, false) => Some(Side::Text),
            (false, true) => Some(Side::Pair),
            (true, true) => Some(if text > pair { Side::Text } else { Side::Pair }),
        }
    }
}

fn longest_first(text: usize, pair: usize, room: usize) -> Kept {
    let (shorter, longer) = (text.min(pair), room - text.min(pair).min(room));
    let (shorter, longer) = if shorter <= longer { (shorter, longer) } else { (room / 2, room - room / 2) };
    // Where both are cut, the one that was longer keeps the odd token; of two equal ones the pair.
    if text <= pair { Kept { text: shorter, pair: longer } } else { Kept { text: longer, pair: shorter } }
}

/// Tokens that neighbouring windows of `room` tokens have in common: a quarter.
#[must_use]
pub fn overlap(room: usize) -> usize {
    room / 4
}

/// The windows over a side of `tokens` tokens, each of at most `room`, at least 1: from the beginning, each a step of
/// `room - overlap(room)` after the one before, until one reaches the end. The reference's `stride` lays them the same.
#[must_use]
pub fn windows(tokens: usize, room: usize) -> Vec<Range<usize>> {
    let room = room.max(1);
    let step = room - overlap(room);
    let n_steps = tokens.saturating_sub(room).div_ceil(step);
    (0..=n_steps).map(|window| window * step..(window * step + room).min(tokens)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_token_and_overlap_by_a_quarter() {
        let bounds = |tokens| windows(tokens, 8).iter().map(|window| (window.start, window.end)).collect::<Vec<_>>();
        assert_eq!(bounds(5), [(0, 5)]);
        assert_eq!(bounds(8), [(0, 8)]);
        assert_eq!(bounds(9), [(0, 8), (6, 9)]);
        assert_eq!(bounds(20), [(0, 8), (6, 14), (12, 20)]);
        assert_eq!(bounds(21), [(0, 8), (6, 14), (12, 20), (18, 21)]);
        for (tokens, room) in (0..60).flat_map(|tokens| (1..20).map(move |room| (tokens, room))) {
            let found = windows(tokens, room);
            assert!(found.iter().all(|window| window.len() <= room), "{tokens} in {room}");
            assert_eq!((found[0].start, found[found.len() - 1].end), (0, tokens), "{tokens} in {room}");
            let pairs = found.windows(2);
            assert!(pairs.clone().all(|pair| pair[0].end - pair[1].start == overlap(room)), "{tokens} in {room}");
            assert!(pairs.clone().all(|pair| pair[0].end < tokens), "a window after the last: {tokens} in {room}");
        }
    }

    #[test]
    fn a_pair_that_may_not_be_cut_needs_room_beside_it() {
        let kept = |text, pair, room| Kept::of(text, Some(pair), room, Strategy::OnlyFirst);
        assert_eq!(kept(10, 4, 9), Some(Kept { text: 5, pair: 4 }));
        assert_eq!(kept(10, 8, 9), Some(Kept { text: 1, pair: 8 }));
        assert_eq!(kept(10, 9, 9), None);
        assert_eq!(kept(0, 9, 9), Some(Kept { text: 0, pair: 9 }), "what fits is not cut");
        assert_eq!(Kept::of(10, None, 4, Strategy::OnlyFirst), Some(Kept { text: 4, pair: 0 }));
    }

    #[test]
    fn windows_go_over_the_side_that_does_not_fit() {
        let windowed = |text, pair: Option<usize>, room| {
            Kept::of(text, pair, room, Strategy::LongestFirst).and_then(|kept| kept.windowed(text, pair))
        };
        assert_eq!(windowed(5, Some(4), 9), None);
        assert_eq!(windowed(50, Some(4), 9), Some(Side::Text));
        assert_eq!(windowed(4, Some(50), 9), Some(Side::Pair));
        assert_eq!(windowed(50, Some(40), 9), Some(Side::Text));
        assert_eq!(windowed(40, Some(40), 9), Some(Side::Pair));
        assert_eq!(windowed(50, None, 9), Some(Side::Text));
    }
}
