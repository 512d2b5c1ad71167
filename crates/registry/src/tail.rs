//! Changes since the last snapshot, one frame each, appended and synced before the change is acknowledged.
//!
//! ```text
//! frame   "hwtl" | payload length u32, payload | SHA-256 of all before
//! payload generation u64 | changes u32 | for each: key length u32, key, 1 and value length u32, value; or 0
//! ```
//! A frame that ends early was never acknowledged; it and all after it count as absent.

use std::fs::File;
use std::io::Write;

use crate::digest::Digest;
use crate::fields::{FieldReader, FieldWriter};
use crate::store::RecordBatch;

const MAGIC: &[u8; 4] = b"hwtl";

/// A frame's bytes.
pub(crate) fn encode(generation: u64, batch: &RecordBatch) -> Vec<u8> {
    let mut payload = FieldWriter::default();
    payload.u64(generation);
    payload.u32(batch.iter().len() as u32);
    for (key, value) in batch.iter() {
        payload.bytes(key);
        payload.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            payload.bytes(value);
        }
    }
    let mut frame = FieldWriter(MAGIC.to_vec());
    frame.bytes(&payload.0);
    let checksum = Digest::of(&frame.0);
    frame.digest(&checksum);
    frame.0
}

/// The whole frames at the front of `bytes`, in order.
pub(crate) fn decode(bytes: &[u8]) -> Vec<(u64, RecordBatch)> {
    let mut rest = FieldReader(bytes);
    std::iter::from_fn(|| decode_frame(&mut rest)).collect()
}

/// Appends `frame` and waits until it is on the disk.
pub(crate) fn append(file: &mut File, frame: &[u8]) -> std::io::Result<()> {
    file.write_all(frame)?;
    file.sync_data()
}

fn decode_frame(rest: &mut FieldReader<'_>) -> Option<(u64, RecordBatch)> {
    let whole = rest.0;
    if &rest.array()? != MAGIC {
        return None;
    }
    let payload = rest.bytes()?;
    let (body, _) = whole.split_at_checked(whole.len() - rest.0.len())?;
    if rest.digest()? != Digest::of(body) {
        return None;
    }
    let mut fields = FieldReader(payload);
    let generation = fields.u64()?;
    let mut batch = RecordBatch::default();
    for _ in 0..fields.u32()? {
        let key = fields.bytes()?.to_vec();
        match fields.u8()? {
            0 => batch.remove(key),
            _ => batch.put_encoded(key, fields.bytes()?.to_vec()),
        }
    }
    fields.is_at_end().then_some((generation, batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u8) -> RecordBatch {
        let mut batch = RecordBatch::default();
        batch.put_encoded(vec![number], vec![number; 10]);
        batch.remove(vec![number, 0]);
        batch
    }

    #[test]
    fn whole_frames_are_read_up_to_the_first_damage() {
        let frames: Vec<_> = (1..=3).map(|number| encode(u64::from(number), &batch(number))).collect();
        let bytes = frames.concat();
        assert_eq!(decode(&bytes), [(1, batch(1)), (2, batch(2)), (3, batch(3))]);
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]).len(), length / frames[0].len(), "cut at {length}");
        }
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert_eq!(decode(&damaged).len(), place / frames[0].len(), "byte {place}");
        }
    }
}
