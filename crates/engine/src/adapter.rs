//! What a head's training changed of the encoder: low-rank additions to its linear layers, and perhaps its own pooler.
//!
//! A row that carries an adapter runs in one batch with rows that carry none or another. At every linear layer that the
//! adapter names, the row's output is the shared one plus `(input * downᵀ) * upᵀ`. In an encoder whose position terms
//! come out of the same projections, those terms are the adapter's too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The highest rank of one addition.
pub const MAX_ADAPTER_RANK: usize = 256;
/// Layers are numbered below this.
pub const MAX_ADAPTER_LAYERS: usize = 128;
/// The most numbers of one adapter: 48 MiB of them.
pub const MAX_ADAPTER_NUMBERS: usize = 12 << 20;

/// A linear layer within a layer of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// The projection of the queries.
    Query,
    /// The projection of the keys.
    Key,
    /// The projection of the values.
    Value,
    /// Behind attention.
    AttentionOutput,
    /// The first of the feed-forward pair.
    Intermediate,
    /// The second of the feed-forward pair.
    Output,
}

/// A low-rank addition to one linear layer. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    rank: usize,
    down: Arc<[f32]>,
    up: Arc<[f32]>,
}

/// A pooler in place of the encoder's. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnPooler {
    /// `[hidden, hidden]`.
    pub weight: Arc<[f32]>,
    /// `[hidden]`.
    pub bias: Arc<[f32]>,
}

/// What a head brings along for the encoder. Never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    hidden: usize,
    /// Width between the two layers of the feed-forward pair, where one of them is changed.
    inner: Option<usize>,
    parts: BTreeMap<(usize, Site), LowRank>,
    pooler: Option<OwnPooler>,
}

/// Why numbers do not make an adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// Neither an addition nor a pooler.
    #[error("an adapter needs at least one low-rank part or a pooler")]
    Empty,
    /// The rank is zero or beyond the limit.
    #[error("the adapter's {place} has rank {rank}, expected 1 to {MAX_ADAPTER_RANK}")]
    Rank {
        /// Layer and site.
        place: String,
        /// The rank found.
        rank: usize,
    },
    /// A layer's number is beyond the limit.
    #[error("the adapter changes layer {layer}, the limit is {}", MAX_ADAPTER_LAYERS - 1)]
    Layer {
        /// The layer, from 0.
        layer: usize,
    },
    /// Widths that do not fit the encoder or each other.
    #[error("the adapter's {place} maps {inputs} to {outputs} numbers, expected {expected}")]
    Widths {
        /// Layer and site.
        place: String,
        /// Width of its input.
        inputs: usize,
        /// Width of its output.
        outputs: usize,
        /// What would fit.
        expected: String,
    },
    /// The pooler is not a square of the hidden size with its bias.
    #[error("the adapter's pooler has {weight} and {bias} numbers, expected [{hidden}, {hidden}] and [{hidden}]")]
    Pooler {
        /// Numbers of its weight.
        weight: usize,
        /// Numbers of its bias.
        bias: usize,
        /// The hidden size.
        hidden: usize,
    },
    /// The adapter belongs to an encoder of another width.
    #[error("the adapter is for a hidden size of {found}, the head has {expected}")]
    Hidden {
        /// The adapter's.
        found: usize,
        /// The head's.
        expected: usize,
    },
    /// A number is NaN or infinite.
    #[error("the adapter's {place} holds a number that is not finite")]
    NotFinite {
        /// Layer and site, or the pooler.
        place: String,
    },
    /// More numbers than an adapter may have.
    #[error("the adapter has {numbers} numbers, the limit is {MAX_ADAPTER_NUMBERS}: a lower rank is smaller")]
    TooLarge {
        /// Numbers found.
        numbers: usize,
    },
}

impl Site {
    /// Every site, in the order in which a row meets them.
    pub const ALL: [Self; 6] =
        [Self::Query, Self::Key, Self::Value, Self::AttentionOutput, Self::Intermediate, Self::Output];

    /// The site's name in a head folder.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::AttentionOutput => "attention_output",
            Self::Intermediate => "intermediate",
            Self::Output => "output",
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl LowRank {
    /// The addition of `down`, `[rank, inputs]`, and `up`, `[outputs, rank]`, which carries every scale. What it is
    /// added to is not known here; [`Adapter::new`] checks the widths.
    #[must_use]
    pub fn new(rank: usize, down: Arc<[f32]>, up: Arc<[f32]>) -> Self {
        Self { rank, down, up }
    }

    /// The inner width.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Width of the input.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.down.len() / self.rank.max(1)
    }

    /// Width of the output.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.up.len() / self.rank.max(1)
    }

    /// `[rank, inputs]`.
    #[must_use]
    pub fn down(&self) -> &Arc<[f32]> {
        &self.down
    }

    /// `[outputs, rank]`.
    #[must_use]
    pub fn up(&self) -> &Arc<[f32]> {
        &self.up
    }

    fn numbers(&self) -> usize {
        self.down.len() + self.up.len()
    }
}

impl OwnPooler {
    fn numbers(&self) -> usize {
        self.weight.len() + self.bias.len()
    }
}

impl Adapter {
    /// Checks `parts`, by layer and site, and `pooler` against `hidden`, the encoder's hidden size, and each other.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(
        hidden: usize,
        parts: BTreeMap<(usize, Site), LowRank>,
        pooler: Option<OwnPooler>,
    ) -> Result<Self, AdapterError> {
        if parts.is_empty() && pooler.is_none() {
            return Err(AdapterError::Empty);
        }
        let mut inner = None;
        for ((layer, site), part) in &parts {
            check_part((*layer, *site), part, hidden, &mut inner)?;
        }
        if let Some(OwnPooler { weight, bias }) = &pooler {
            if weight.len() != hidden * hidden || bias.len() != hidden {
                return Err(AdapterError::Pooler { weight: weight.len(), bias: bias.len(), hidden });
            }
            if weight.iter().chain(bias.iter()).any(|number| !number.is_finite()) {
                return Err(AdapterError::NotFinite { place: "pooler".to_owned() });
            }
        }
        let adapter = Self { hidden, inner, parts, pooler };
        match adapter.numbers() {
            numbers if numbers > MAX_ADAPTER_NUMBERS => Err(AdapterError::TooLarge { numbers }),
            _ => Ok(adapter),
        }
    }

    /// Hidden size of the encoder that it is for.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// The feed-forward width of the encoder that it is for, where that is known.
    #[must_use]
    pub fn inner(&self) -> Option<usize> {
        self.inner
    }

    /// How many layers the encoder must have at least.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.parts.keys().map(|(layer, _)| layer + 1).max().unwrap_or(0)
    }

    /// Numbers of all parts.
    #[must_use]
    pub fn numbers(&self) -> usize {
        let own = self.pooler.as_ref().map_or(0, OwnPooler::numbers);
        self.parts.values().map(LowRank::numbers).sum::<usize>() + own
    }

    /// The addition at one site of one layer.
    #[must_use]
    pub fn part(&self, layer: usize, site: Site) -> Option<&LowRank> {
        self.parts.get(&(layer, site))
    }

    /// All additions, by layer and site.
    pub fn parts(&self) -> impl Iterator<Item = (usize, Site, &LowRank)> {
        self.parts.iter().map(|((layer, site), part)| (*layer, *site, part))
    }

    /// The pooler that takes the place of the encoder's.
    #[must_use]
    pub fn pooler(&self) -> Option<&OwnPooler> {
        self.pooler.as_ref()
    }
}

fn check_part(
    (layer, site): (usize, Site),
    part: &LowRank,
    hidden: usize,
    inner: &mut Option<usize>,
) -> Result<(), AdapterError> {
    let place = || format!("layer {layer}, {site}");
    if layer >= MAX_ADAPTER_LAYERS {
        return Err(AdapterError::Layer { layer });
    }
    let (rank, inputs, outputs) = (part.rank, part.inputs(), part.outputs());
    if rank == 0 || rank > MAX_ADAPTER_RANK {
        return Err(AdapterError::Rank { place: place(), rank });
    }
    let whole = part.down.len() == rank * inputs && part.up.len() == rank * outputs;
    let (fits, expected) = match site {
        Site::Query | Site::Key | Site::Value | Site::AttentionOutput => {
            (inputs == hidden && outputs == hidden, format!("{hidden} to {hidden}"))
        }
        Site::Intermediate => {
            let wide = *inner.get_or_insert(outputs);
            (inputs == hidden && outputs == wide && wide > 0, format!("{hidden} to {wide}"))
        }
        Site::Output => {
            let wide = *inner.get_or_insert(inputs);
            (inputs == wide && outputs == hidden && wide > 0, format!("{wide} to {hidden}"))
        }
    };
    if !whole || !fits {
        return Err(AdapterError::Widths { place: place(), inputs, outputs, expected });
    }
    if part.down.iter().chain(part.up.iter()).any(|number| !number.is_finite()) {
        return Err(AdapterError::NotFinite { place: place() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(rank: usize, inputs: usize, outputs: usize) -> LowRank {
        LowRank::new(rank, vec![0.5; rank * inputs].into(), vec![0.5; rank * outputs].into())
    }

    fn refusal(place: (usize, Site), part: LowRank) -> AdapterError {
        Adapter::new(4, [((0, Site::Output), self::part(1, 8, 4)), (place, part)].into(), None).unwrap_err()
    }

    #[test]
    fn parts_that_fit_the_encoder_and_each_other_make_an_adapter() {
        let parts = [((0, Site::Query), part(2, 4, 4)), ((3, Site::Intermediate), part(1, 4, 8))];
        let adapter = Adapter::new(4, parts.into(), None).unwrap();
        assert_eq!((adapter.layers(), adapter.inner(), adapter.hidden()), (4, Some(8), 4));
        assert_eq!(adapter.part(0, Site::Query).map(LowRank::rank), Some(2));
        assert_eq!(adapter.part(1, Site::Query), None);
    }

    #[test]
    fn parts_of_another_width_or_rank_are_refused_by_place() {
        let widths = |refused| matches!(refused, AdapterError::Widths { place, .. } if place.starts_with("layer 1"));
        assert!(widths(refusal((1, Site::Query), part(1, 4, 5))));
        assert!(widths(refusal((1, Site::Intermediate), part(1, 4, 9))), "the other layer is 8 wide inside");
        assert!(widths(refusal((1, Site::Value), LowRank::new(2, vec![0.0; 7].into(), vec![0.0; 8].into()))));
        assert!(matches!(refusal((1, Site::Key), part(0, 4, 4)), AdapterError::Rank { rank: 0, .. }));
        assert!(matches!(refusal((1, Site::Key), part(257, 4, 4)), AdapterError::Rank { rank: 257, .. }));
        assert!(matches!(refusal((128, Site::Key), part(1, 4, 4)), AdapterError::Layer { layer: 128 }));
        let nan = LowRank::new(1, vec![f32::NAN; 4].into(), vec![0.0; 4].into());
        assert!(matches!(refusal((1, Site::Key), nan), AdapterError::NotFinite { .. }));
    }

    #[test]
    fn nothing_at_all_a_crooked_pooler_and_too_many_numbers_are_refused() {
        assert_eq!(Adapter::new(4, BTreeMap::new(), None), Err(AdapterError::Empty));
        let pooler = OwnPooler { weight: vec![0.0; 15].into(), bias: vec![0.0; 4].into() };
        let refused = Adapter::new(4, BTreeMap::new(), Some(pooler));
        assert!(matches!(refused, Err(AdapterError::Pooler { weight: 15, .. })));
        let hidden = MAX_ADAPTER_NUMBERS / 64;
        let large = part(64, hidden, hidden);
        let refused = Adapter::new(hidden, [((0, Site::Query), large)].into(), None);
        assert!(matches!(refused, Err(AdapterError::TooLarge { .. })));
    }
}
