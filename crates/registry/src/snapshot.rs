//! The whole registry as one canonical file: equal registries give equal bytes.
//!
//! ```text
//! "hwsnap01" | generation u64 | records u64 | for each, sorted: key length u32, key, value length u32, value
//!            | SHA-256 of all before
//! ```

use crate::digest::Digest;
use crate::fields::{FieldReader, FieldWriter};
use crate::store::Records;

const MAGIC: &[u8; 8] = b"hwsnap01";
const CHECKSUM_BYTES: usize = 32;

/// The file's bytes.
pub(crate) fn encode(generation: u64, records: &Records) -> Vec<u8> {
    let mut fields = FieldWriter(MAGIC.to_vec());
    fields.u64(generation);
    fields.u64(records.len() as u64);
    for (key, value) in records {
        fields.bytes(key);
        fields.bytes(value);
    }
    let checksum = Digest::of(&fields.0);
    fields.digest(&checksum);
    fields.0
}

/// Generation and records; `None` if the bytes are not exactly as they were written.
pub(crate) fn decode(bytes: &[u8]) -> Option<(u64, Records)> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    if Digest::of(body).as_bytes() != checksum {
        return None;
    }
    let mut fields = FieldReader(body);
    if &fields.array()? != MAGIC {
        return None;
    }
    let generation = fields.u64()?;
    let count = fields.u64()?;
    let mut records = Records::new();
    for _ in 0..count {
        records.insert(fields.bytes()?.to_vec(), fields.bytes()?.to_vec());
    }
    (fields.is_at_end() && records.len() as u64 == count).then_some((generation, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_with_any_byte_changed_or_missing_is_no_snapshot() {
        let records = Records::from([(b"a".to_vec(), vec![1; 5]), (b"b".to_vec(), vec![2; 7])]);
        let bytes = encode(9, &records);
        assert_eq!(decode(&bytes), Some((9, records)));
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert_eq!(decode(&changed), None, "byte {place}");
            assert_eq!(decode(&bytes[..place]), None, "cut at {place}");
        }
    }
}
