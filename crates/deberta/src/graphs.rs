//! CUDA graphs: the layers of a small batch recorded once a shape and replayed, because launching their kernels one by
//! one takes longer than running them.
//!
//! Small batches are filled up to few shapes, the buckets. A recording reads and writes the same memory every time, so
//! what a replay returns is good until the next one; the model reads it before that.

use std::collections::HashMap;

use tch::{TchError, Tensor};

use crate::encoder::Hidden;
use crate::layout::Layout;
use crate::shim::{Graph, GraphPool};

const BUCKET_ROWS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Multiples of 16: `Granularity::Tiles`.
const BUCKET_LENGTHS: [usize; 9] = [16, 32, 48, 64, 96, 128, 192, 256, 512];
/// Beyond so many tokens the kernels take longer than their launches.
const BUCKET_TOKENS: usize = 2_048;
/// Recordings kept; shapes beyond are launched kernel by kernel. There are at most 90.
const MOST_GRAPHS: usize = 64;

/// A shape that small batches are filled up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    pub(crate) rows: usize,
    pub(crate) length: usize,
}

impl Bucket {
    /// The least bucket that holds rows of `lengths` tokens, if they are few enough for one.
    pub(crate) fn holding(lengths: &[usize]) -> Option<Self> {
        let longest = *lengths.iter().max()?;
        let rows = BUCKET_ROWS.into_iter().find(|rows| *rows >= lengths.len())?;
        let length = BUCKET_LENGTHS.into_iter().find(|length| *length >= longest)?;
        (rows * length <= BUCKET_TOKENS).then_some(Self { rows, length })
    }
}

/// The recordings of one encoder.
#[derive(Debug)]
pub(crate) struct Graphs {
    pool: GraphPool,
    recorded: HashMap<(Bucket, bool), Recording>,
    /// Recordings read the position tables where they lay when they reached this far.
    reach: i64,
    is_refused: bool,
}

/// A graph and the memory that it reads and writes.
#[derive(Debug)]
struct Recording {
    graph: Graph,
    input: Tensor,
    layout: Layout,
    hidden: Hidden,
}

impl Graphs {
    /// An empty set for `device`; nothing where it cannot record.
    pub(crate) fn open(device: tch::Device) -> Option<Self> {
        if device == tch::Device::Cpu {
            return None;
        }
        let pool = GraphPool::new().ok()?;
        Some(Self { pool, recorded: HashMap::new(), reach: 0, is_refused: false })
    }

    /// What `layers` make of `input` and `layout`, whose shape `bucket` and `every` determine: replayed if that shape was
    /// met before.
    pub(crate) fn run(
        &mut self,
        (bucket, every): (Bucket, bool),
        input: &Tensor,
        layout: Layout,
        layers: impl Fn(&Tensor, &Layout) -> Result<Hidden, TchError>,
    ) -> Result<Hidden, TchError> {
        if layout.reach != self.reach {
            self.recorded.clear();
            self.reach = layout.reach;
        }
        if let Some(recording) = self.recorded.get_mut(&(bucket, every)) {
            return recording.replay(input, &layout);
        }
        // Libraries set themselves up at first use, which cannot be recorded: this run comes before any recording.
        let hidden = layers(input, &layout)?;
        if self.is_refused || self.recorded.len() >= MOST_GRAPHS {
            return Ok(hidden);
        }
        match self.pool.record(|| layers(input, &layout)) {
            Ok((graph, hidden)) => {
                let recording = Recording { graph, input: input.shallow_clone(), layout, hidden };
                self.recorded.insert((bucket, every), recording);
            }
            Err(reason) => {
                tracing::warn!(%reason, "batches run without CUDA graphs");
                self.is_refused = true;
            }
        }
        Ok(hidden)
    }
}

impl Recording {
    fn replay(&mut self, input: &Tensor, layout: &Layout) -> Result<Hidden, TchError> {
        self.input.f_copy_(input)?;
        if let (Some(own), Some(padding)) = (&mut self.layout.padding, &layout.padding) {
            own.f_copy_(padding)?;
        }
        self.graph.replay()?;
        let every = self.hidden.every.as_ref().map(Tensor::shallow_clone);
        Ok(Hidden { first: self.hidden.first.shallow_clone(), every })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_batch_gets_the_least_bucket_that_holds_it() {
        assert_eq!(Bucket::holding(&[1]), Some(Bucket { rows: 1, length: 16 }));
        assert_eq!(Bucket::holding(&[17, 3, 128]), Some(Bucket { rows: 4, length: 128 }));
        assert_eq!(Bucket::holding(&[512; 4]), Some(Bucket { rows: 4, length: 512 }));
    }

    #[test]
    fn a_batch_whose_kernels_outlast_their_launches_gets_none() {
        assert_eq!(Bucket::holding(&[512; 5]), None);
        assert_eq!(Bucket::holding(&[1; 33]), None);
        assert_eq!(Bucket::holding(&[513]), None);
        assert_eq!(Bucket::holding(&[]), None);
    }

    #[test]
    fn a_processor_records_nothing() {
        assert!(Graphs::open(tch::Device::Cpu).is_none());
    }
}
