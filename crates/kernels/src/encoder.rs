//! The encoder as its owner sees it: arrays in, then batches of ids in and states out.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::adapter::{Adapter, LayerFactors};
use crate::clock::Profile;
use crate::distance::Distances;
use crate::forward::{self, Machine};
use crate::isa::{Avx2, Avx512};
use crate::plan::InputRow;
use crate::support::{Instructions, Unsupported};
use crate::team::Team;
use crate::weights::{
    Dense, EmbeddingArrays, Fp32, Geometry, HalfBrain, Int8, Layers, Mode, Packed, PackedLayer, PackedPositions,
    Weights,
};
use crate::workspace::Workspace;

/// Longest rows that distances are made ready for at first; and by how much that grows.
const REACH: usize = 512;

/// Numbers of linear layers and attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// fp32 throughout.
    Fp32,
    /// bf16 products with fp32 sums; residuals, statistics and softmax in fp32.
    Bf16,
    /// int8 linear layers: one scale an output, and one scale and zero point a row found as it comes. The rest as bf16.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        })
    }
}

/// The same for every mode: `$result`, with what the variant of `$value` holds.
macro_rules! in_each_mode {
    ($of:ident, $value:expr, ($($held:ident),+) => $result:expr) => {
        match $value {
            $of::Fp32Avx2($($held),+) => $result,
            $of::Fp32($($held),+) => $result,
            $of::Bf16($($held),+) => $result,
            $of::Int8($($held),+) => $result,
        }
    };
}

/// Weights that encoders share.
#[derive(Debug, Clone)]
pub struct SharedWeights(AnyWeights);

#[derive(Debug, Clone)]
enum AnyWeights {
    Fp32Avx2(Arc<Weights<Fp32<Avx2>>>),
    Fp32(Arc<Weights<Fp32<Avx512>>>),
    Bf16(Arc<Weights<HalfBrain>>),
    Int8(Arc<Weights<Int8>>),
}

impl SharedWeights {
    /// An adapter for encoders on these weights: `layers` says what is added to each layer, and `pooler` takes the place of
    /// theirs. Widths must be the encoder's: whoever calls has checked them.
    #[must_use]
    pub fn adapter(&self, layers: &[LayerFactors], pooler: Option<&Dense>) -> Adapter {
        in_each_mode!(AnyWeights, &self.0, (weights) => Adapter::pack(weights, layers, pooler))
    }
}

/// Takes an encoder's arrays one by one: what has been taken is packed, and the array can go.
#[derive(Debug)]
pub struct Builder(Building);

#[derive(Debug)]
enum Building {
    Fp32Avx2(Layers<Fp32<Avx2>>),
    Fp32(Layers<Fp32<Avx512>>),
    Bf16(Layers<HalfBrain>),
    Int8(Layers<Int8>),
}

impl Builder {
    /// Begins an encoder.
    ///
    /// # Errors
    /// [`Unsupported`] where encoders in `precision` do not run on such instructions here.
    pub fn new(precision: Precision, instructions: Instructions, geometry: Geometry) -> Result<Self, Unsupported> {
        Ok(Self(match (precision, instructions.serving(precision)?) {
            (Precision::Fp32, Instructions::Avx2) => Building::Fp32Avx2(Layers::new(geometry)),
            (Precision::Fp32, _) => Building::Fp32(Layers::new(geometry)),
            (Precision::Bf16, _) => Building::Bf16(Layers::new(geometry)),
            (Precision::Int8, _) => Building::Int8(Layers::new(geometry)),
        }))
    }

    /// A linear layer of the next layer.
    #[must_use]
    pub fn pack(&self, dense: &Dense) -> Packed {
        in_each_mode!(Building, &self.0, (layers) => layers.packed(dense))
    }

    /// Its keys and values.
    #[must_use]
    pub fn pack_pair(&self, keys: Dense, values: &Dense) -> Packed {
        in_each_mode!(Building, &self.0, (layers) => layers.packed_pair(keys, values))
    }

    /// Its projections of the relative embeddings, `[slots, hidden]`: what queries meet; and what keys meet, with the
    /// score's scale in it.
    #[must_use]
    pub fn pack_positions(&self, keys: Option<&[f32]>, queries: Option<&[f32]>) -> PackedPositions {
        in_each_mode!(Building, &self.0, (layers) => layers.packed_positions(keys, queries))
    }

    /// Adds the next layer.
    pub fn push(&mut self, layer: PackedLayer) {
        in_each_mode!(Building, &mut self.0, (layers) => layers.push(layer));
    }

    /// The weights: all layers pushed, at least one, and what stands before and behind them.
    #[must_use]
    pub fn finish(self, embeddings: EmbeddingArrays, pooler: Option<&Dense>) -> SharedWeights {
        SharedWeights(match self.0 {
            Building::Fp32Avx2(layers) => AnyWeights::Fp32Avx2(Arc::new(layers.finish(embeddings, pooler))),
            Building::Fp32(layers) => AnyWeights::Fp32(Arc::new(layers.finish(embeddings, pooler))),
            Building::Bf16(layers) => AnyWeights::Bf16(Arc::new(layers.finish(embeddings, pooler))),
            Building::Int8(layers) => AnyWeights::Int8(Arc::new(layers.finish(embeddings, pooler))),
        })
    }
}

/// What a batch leaves of one row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OutputRow {
    /// The wanted states, `[1, hidden]` or `[tokens, hidden]`.
    pub states: Vec<f32>,
    /// The pooler's output, `[hidden]`, where it was asked for.
    pub pooled: Vec<f32>,
}

/// Which slot of the relative embeddings a distance has.
pub type SlotOf = Box<dyn Fn(i64) -> usize + Send + Sync>;

/// One stream of batches over shared weights, on a team of threads of its own.
pub struct Encoder {
    team: Team,
    distances: Option<(SlotOf, Distances)>,
    parts: Parts,
    profile: Mutex<Profile>,
}

#[derive(Debug)]
enum Parts {
    Fp32Avx2(Arc<Weights<Fp32<Avx2>>>, Workspace<Fp32<Avx2>>),
    Fp32(Arc<Weights<Fp32<Avx512>>>, Workspace<Fp32<Avx512>>),
    Bf16(Arc<Weights<HalfBrain>>, Workspace<HalfBrain>),
    Int8(Arc<Weights<Int8>>, Workspace<Int8>),
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("threads", &self.team.members()).finish_non_exhaustive()
    }
}

/// Why an encoder cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// Neighbouring distances skip a slot: no published encoder has that, and these kernels count on it.
    #[error("neighbouring distances between tokens skip a row of the relative embeddings")]
    SkippedSlots,
    /// A row's adapter was made for other weights.
    #[error("the adapter of row {row} was made for other weights")]
    OtherAdapter {
        /// Its position in the batch.
        row: usize,
    },
    /// The operating system gives no thread.
    #[error("cannot start the encoder's threads")]
    Threads(#[from] std::io::Error),
}

impl Encoder {
    /// An encoder on `threads` threads, the caller's among them. `slot` is needed where the weights have relative
    /// embeddings.
    ///
    /// # Errors
    /// [`EncoderError`].
    pub fn new(weights: &SharedWeights, threads: usize, slot: Option<SlotOf>) -> Result<Self, EncoderError> {
        let (geometry, layers) =
            in_each_mode!(AnyWeights, &weights.0, (weights) => (weights.geometry, weights.layers.len()));
        let distances = match slot {
            Some(slot) => {
                let distances = Distances::reaching(REACH, geometry.slots, &slot).ok_or(EncoderError::SkippedSlots)?;
                Some((slot, distances))
            }
            None => None,
        };
        let team = Team::new(threads, forward::steps(layers))?;
        let members = team.members();
        let parts = match &weights.0 {
            AnyWeights::Fp32Avx2(weights) => Parts::Fp32Avx2(Arc::clone(weights), Workspace::new(weights, members)),
            AnyWeights::Fp32(weights) => Parts::Fp32(Arc::clone(weights), Workspace::new(weights, members)),
            AnyWeights::Bf16(weights) => Parts::Bf16(Arc::clone(weights), Workspace::new(weights, members)),
            AnyWeights::Int8(weights) => Parts::Int8(Arc::clone(weights), Workspace::new(weights, members)),
        };
        Ok(Self { team, distances, parts, profile: Mutex::default() })
    }

    /// Runs a batch. Ids, types and widths must fit the tables: whoever calls has checked them.
    ///
    /// # Errors
    /// [`EncoderError::SkippedSlots`] where a row is longer than any before and its distances skip a slot;
    /// [`EncoderError::OtherAdapter`].
    ///
    /// # Panics
    /// On an id or a type beyond its table.
    pub fn forward(&mut self, rows: &[InputRow<'_>], pooled: bool) -> Result<Vec<OutputRow>, EncoderError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let made_for = in_each_mode!(Parts, &self.parts, (weights, _space) => Arc::as_ptr(weights).cast::<()>());
        let is_other = |row: &InputRow<'_>| row.adapter.is_some_and(|adapter| adapter.made_for != made_for);
        if let Some(row) = rows.iter().position(is_other) {
            return Err(EncoderError::OtherAdapter { row });
        }
        self.reach(rows.iter().map(|row| row.ids.len()).max().unwrap_or(0))?;
        let distances = self.distances.as_ref().map(|(_, distances)| distances);
        let (team, profile) = (&mut self.team, &self.profile);
        Ok(in_each_mode!(Parts, &mut self.parts, (weights, space) => {
            outputs(weights, distances, rows, pooled, Machine { team, space, profile })
        }))
    }

    /// Where the time of all passes so far went.
    #[must_use]
    pub fn profile(&self) -> Profile {
        *self.profile.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&mut self, longest: usize) -> Result<(), EncoderError> {
        if let Some((slot, distances)) = &mut self.distances
            && longest > distances.reach
        {
            let reach = longest.next_multiple_of(REACH);
            *distances = Distances::reaching(reach, distances.slots, &*slot).ok_or(EncoderError::SkippedSlots)?;
        }
        Ok(())
    }
}

fn outputs<M: Mode>(
    weights: &Weights<M>,
    distances: Option<&Distances>,
    rows: &[InputRow<'_>],
    pooled: bool,
    machine: Machine<'_, M>,
) -> Vec<OutputRow> {
    let pooled = pooled && weights.pooler.is_some();
    let Machine { team, space, profile } = machine;
    let plan = forward::run(weights, distances, rows, pooled, Machine { team, space: &mut *space, profile });
    let (hidden, width) = (weights.geometry.hidden, weights.width);
    let (states, pooled_rows) = (space.states.as_slice(), space.pooled.as_slice());
    let output = |(index, row): (usize, &InputRow<'_>)| {
        let wanted = if row.every_token { row.ids.len() } else { 1 };
        let first = plan.first_wanted[index];
        let states = (first..first + wanted).flat_map(|place| &states[place * width..][..hidden]);
        let pooled = if pooled { pooled_rows[index * width..][..hidden].to_vec() } else { Vec::new() };
        OutputRow { states: states.copied().collect(), pooled }
    };
    rows.iter().enumerate().map(output).collect()
}
