//! CUDA graphs: the forward of a small batch recorded once a shape and replayed, because launching its kernels one by one
//! takes longer than running them.
//!
//! Small batches are filled up to few shapes, the buckets. A recording reads and writes the same memory every time, so
//! what a replay returns is good until the next one; the model reads it before that.

use std::collections::HashMap;

use tch::TchError;

use crate::batch::{Batch, HostBatch};
use crate::packing::tiles_of;
use crate::shim::{Graph, GraphPool};
use crate::tensors::{Vectors, Wanted};

const BUCKET_ROWS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Multiples of 16: `Granularity::Tiles`.
const BUCKET_LENGTHS: [usize; 9] = [16, 32, 48, 64, 96, 128, 192, 256, 512];
/// Tokens of rows laid end to end: steps of at most a quarter.
const PACKED_TOKENS: [usize; 20] =
    [16, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1_024, 1_280, 1_536, 2_048, 3_072, 4_096];
/// Beyond so many padded tokens the kernels take longer than their launches.
const BUCKET_TOKENS: usize = 2_048;
/// Recordings kept; shapes beyond are launched kernel by kernel.
const MOST_GRAPHS: usize = 128;

/// A shape that small batches are filled up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bucket {
    /// Rows filled up to one length.
    Padded { rows: usize, length: usize },
    /// Rows laid end to end; there are no more rows than tiles.
    Packed { tokens: usize, tiles: usize },
}

impl Bucket {
    /// The least rows and length that hold rows of `lengths` tokens, if those are few enough for a bucket.
    pub(crate) fn padded(lengths: &[usize]) -> Option<(usize, usize)> {
        let longest = *lengths.iter().max()?;
        let rows = BUCKET_ROWS.into_iter().find(|rows| *rows >= lengths.len())?;
        let length = BUCKET_LENGTHS.into_iter().find(|length| *length >= longest)?;
        (rows * length <= BUCKET_TOKENS).then_some((rows, length))
    }

    /// The least bucket that holds rows of `lengths` tokens end to end, if those are few enough for one.
    pub(crate) fn packed(lengths: &[usize]) -> Option<Self> {
        let tokens: usize = lengths.iter().sum();
        let tokens = PACKED_TOKENS.into_iter().find(|most| *most >= tokens)?;
        (!lengths.is_empty()).then(|| Self::Packed { tokens, tiles: tiles_of(lengths).next_power_of_two() })
    }
}

/// The recordings of one model.
#[derive(Debug)]
pub(crate) struct Graphs {
    pool: GraphPool,
    recorded: HashMap<(Bucket, Wanted), Recording>,
    /// Recordings read the position tables where they lay when they reached this far.
    reach: i64,
    is_refused: bool,
}

/// A graph and the memory that it reads and writes.
#[derive(Debug)]
struct Recording {
    graph: Graph,
    batch: Batch,
    vectors: Vectors,
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

    /// What `forward` makes of `host`, whose shape `bucket` determines: replayed if that shape was met before. `place`
    /// puts it on the device, for position tables that reach as far as `reach`.
    pub(crate) fn run(
        &mut self,
        (bucket, wanted, reach): (Bucket, Wanted, i64),
        host: &HostBatch,
        place: impl FnOnce() -> Result<Batch, TchError>,
        forward: impl Fn(&Batch) -> Result<Vectors, TchError>,
    ) -> Result<Vectors, TchError> {
        if reach != self.reach {
            self.recorded.clear();
            self.reach = reach;
        }
        if let Some(recording) = self.recorded.get_mut(&(bucket, wanted)) {
            recording.batch.become_like(host)?;
            recording.graph.replay()?;
            return Ok(recording.vectors.shallow_clone());
        }
        // Libraries set themselves up at first use, which cannot be recorded: this run comes before any recording.
        let batch = place()?;
        let vectors = forward(&batch)?;
        if self.is_refused || self.recorded.len() >= MOST_GRAPHS {
            return Ok(vectors);
        }
        match self.pool.record(|| forward(&batch)) {
            Ok((graph, vectors)) => {
                self.recorded.insert((bucket, wanted), Recording { graph, batch, vectors });
            }
            Err(reason) => {
                tracing::warn!(%reason, "batches run without CUDA graphs");
                self.is_refused = true;
            }
        }
        Ok(vectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_batch_gets_the_least_bucket_that_holds_it() {
        assert_eq!(Bucket::padded(&[1]), Some((1, 16)));
        assert_eq!(Bucket::padded(&[17, 3, 128]), Some((4, 128)));
        assert_eq!(Bucket::padded(&[512; 4]), Some((4, 512)));
        assert_eq!(Bucket::packed(&[1]), Some(Bucket::Packed { tokens: 16, tiles: 1 }));
        assert_eq!(Bucket::packed(&[17, 3, 128]), Some(Bucket::Packed { tokens: 160, tiles: 4 }));
        assert_eq!(Bucket::packed(&[1; 33]), Some(Bucket::Packed { tokens: 48, tiles: 64 }));
        assert_eq!(Bucket::packed(&[512; 8]), Some(Bucket::Packed { tokens: 4_096, tiles: 64 }));
    }

    #[test]
    fn a_batch_whose_kernels_outlast_their_launches_gets_none() {
        assert_eq!(Bucket::padded(&[512; 5]), None);
        assert_eq!(Bucket::padded(&[1; 33]), None);
        assert_eq!(Bucket::padded(&[513]), None);
        assert_eq!(Bucket::padded(&[]), None);
        assert_eq!(Bucket::packed(&[512; 9]), None);
        assert_eq!(Bucket::packed(&[]), None);
    }

    #[test]
    fn a_processor_records_nothing() {
        assert!(Graphs::open(tch::Device::Cpu).is_none());
    }
}
