//! The header of a safetensors file: length, JSON and layout, checked before any of it is believed.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// A header longer than this is not an encoder's: 16,384 tensors with long names fit.
const MAX_HEADER_BYTES: u64 = 4 << 20;
const MAX_TENSORS: usize = 16_384;
const MAX_RANK: usize = 4;
/// The file begins with the header's length, as a little-endian `u64`.
const LENGTH_BYTES: u64 = 8;

/// Why there is no header.
#[derive(Debug)]
pub(super) enum Failure {
    Io(std::io::Error),
    Form(String),
}

/// The tensors a file says it holds, and the byte at which their data starts.
pub(super) fn read(file: &File) -> Result<(Vec<(String, TensorInfo)>, u64), Failure> {
    let file_bytes = file.metadata().map_err(Failure::Io)?.len();
    if file_bytes < LENGTH_BYTES {
        return form(format!("{file_bytes} bytes are too few for a header"));
    }
    let mut length = [0u8; 8];
    file.read_exact_at(&mut length, 0).map_err(Failure::Io)?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER_BYTES {
        return form(format!("a header of {header_bytes} bytes is over the limit of {MAX_HEADER_BYTES}"));
    }
    let data_start = LENGTH_BYTES + header_bytes;
    if data_start > file_bytes {
        return form("the header is cut off".to_owned());
    }
    let mut header = vec![0u8; usize::try_from(header_bytes).unwrap_or_default()];
    file.read_exact_at(&mut header, LENGTH_BYTES).map_err(Failure::Io)?;
    let tensors = parse(&header, file_bytes - data_start)?;
    Ok((tensors, data_start))
}

fn parse(header: &[u8], data_bytes: u64) -> Result<Vec<(String, TensorInfo)>, Failure> {
    if header.first() != Some(&b'{') {
        return form("the header does not begin with '{'".to_owned());
    }
    let names = serde_json::Deserializer::from_slice(header)
        .deserialize_map(UniqueNames)
        .map_err(|error| Failure::Form(error.to_string()))?;
    if names > MAX_TENSORS {
        return form(format!("{names} tensors are over the limit of {MAX_TENSORS}"));
    }
    let metadata: Metadata = serde_json::from_slice(header).map_err(|error| Failure::Form(error.to_string()))?;
    if metadata.data_len() as u64 != data_bytes {
        return form(format!("{data_bytes} bytes of data, the header speaks of {}", metadata.data_len()));
    }
    let tensors: Vec<_> = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
    for (name, info) in &tensors {
        if info.shape.len() > MAX_RANK || info.shape.contains(&0) {
            return form(format!("tensor {name:?} has shape {:?}", info.shape));
        }
        if name.chars().any(char::is_control) {
            return form(format!("tensor {name:?} has a control character in its name"));
        }
    }
    Ok(tensors)
}

fn form<T>(reason: String) -> Result<T, Failure> {
    Err(Failure::Form(reason))
}

/// Counts the keys of the outer object and refuses one that is there twice: the parser would keep the last.
struct UniqueNames;

impl<'de> Visitor<'de> for UniqueNames {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if seen.len() > MAX_TENSORS {
                return Err(Error::custom(format!("more than {MAX_TENSORS} tensors")));
            }
            map.next_value::<IgnoredAny>()?;
            if !seen.insert(name.clone()) {
                return Err(Error::custom(format!("{name:?} is there twice")));
            }
        }
        Ok(seen.len())
    }
}
