//! How long rows count as, so that rows of like length share their attention.

/// What one more group costs on a GPU, in tokens: its attention's launches, in every layer, take about as long as the
/// products of so many tokens (computed for an H100).
const GROUP_COST: usize = 768;
const TILE: usize = 16;

/// How finely lengths are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granularity {
    /// Every length is its own and nothing is padded: processors pay for each token, and little for a group.
    Exact,
    /// Multiples of 16, few of them: GPUs want aligned shapes, and pay for each launch.
    Tiles,
}

impl Granularity {
    /// What `device` is best served with.
    pub(crate) fn of(device: tch::Device) -> Self {
        if device == tch::Device::Cpu { Self::Exact } else { Self::Tiles }
    }

    /// The length each of `sorted`, shortest first, counts as: never less than its own, and never falling.
    pub(crate) fn lengths(self, sorted: &[usize]) -> Vec<usize> {
        match self {
            Self::Exact => sorted.to_vec(),
            Self::Tiles => few_lengths(sorted),
        }
    }
}

/// The cheapest way to cut `sorted` into groups, each as long as its longest row in whole tiles.
fn few_lengths(sorted: &[usize]) -> Vec<usize> {
    // Rows of the same number of tiles are never apart: `ends[i]` rows have at most `tiles[i]` of them.
    let mut tiles: Vec<usize> = Vec::new();
    let mut ends: Vec<usize> = Vec::new();
    for (row, length) in sorted.iter().enumerate() {
        let count = length.div_ceil(TILE);
        if tiles.last() != Some(&count) {
            tiles.push(count);
            ends.push(row);
        }
        if let Some(end) = ends.last_mut() {
            *end = row + 1;
        }
    }
    let rows_before = |index: usize| if index == 0 { 0 } else { ends[index - 1] };
    // The least cost of the first `last` sizes, and where their last group begins.
    let mut best = vec![(0usize, 0usize)];
    for last in 1..=tiles.len() {
        let cost = |first: usize| {
            let rows = ends[last - 1] - rows_before(first);
            best[first].0 + rows * tiles[last - 1] * TILE + GROUP_COST
        };
        let cheapest = (0..last).map(|first| (cost(first), first)).min().unwrap_or_default();
        best.push(cheapest);
    }
    let mut lengths = vec![0; sorted.len()];
    let mut last = tiles.len();
    while last > 0 {
        let first = best[last].1;
        lengths[rows_before(first)..ends[last - 1]].fill(tiles[last - 1] * TILE);
        last = first;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_pads_nothing() {
        assert_eq!(Granularity::of(tch::Device::Cpu), Granularity::Exact);
        assert_eq!(Granularity::Exact.lengths(&[1, 1, 7, 300]), [1, 1, 7, 300]);
    }

    #[test]
    fn a_gpu_gets_whole_tiles() {
        assert_eq!(Granularity::of(tch::Device::Cuda(0)), Granularity::Tiles);
        assert_eq!(Granularity::Tiles.lengths(&[1]), [16]);
        assert_eq!(Granularity::Tiles.lengths(&[16, 16]), [16, 16]);
        assert_eq!(Granularity::Tiles.lengths(&[]), [0usize; 0]);
    }

    #[test]
    fn like_lengths_are_joined_and_unlike_ones_stay_apart() {
        assert_eq!(Granularity::Tiles.lengths(&[5, 20, 33]), [48; 3], "three launches cost more than the padding");
        let mut sorted = vec![10; 40];
        sorted.extend([500; 8]);
        let lengths = Granularity::Tiles.lengths(&sorted);
        assert!(lengths[..40].iter().all(|length| *length == 16), "{lengths:?}");
        assert!(lengths[40..].iter().all(|length| *length == 512), "{lengths:?}");
    }

    #[test]
    fn mixed_traffic_has_few_groups_and_little_padding() {
        let sorted: Vec<usize> = (0..64).map(|row| 5 + row * 3).collect();
        let lengths = Granularity::Tiles.lengths(&sorted);
        assert!(lengths.iter().zip(&sorted).all(|(length, own)| length >= own) && lengths.is_sorted());
        let groups: std::collections::BTreeSet<_> = lengths.iter().collect();
        assert!((2..=5).contains(&groups.len()), "{groups:?}");
        let (padded, real): (usize, usize) = (lengths.iter().sum(), sorted.iter().sum());
        assert!(padded * 10 < real * 14, "{real} tokens became {padded}");
    }
}
