//! The JSON of a safetensors header, read in one pass that refuses repeated keys and never holds more than the limits.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

const METADATA: &str = "__metadata__";

/// What a header says about one tensor, unchecked.
pub(crate) struct RawEntry {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) data_offsets: [u64; 2],
}

/// The tensors in header order, at most `max_tensors` of at most `max_rank` dimensions; or what is wrong, in words.
pub(crate) fn parse(header: &[u8], max_tensors: usize, max_rank: usize) -> Result<Vec<(String, RawEntry)>, String> {
    let short = |error: serde_json::Error| error.to_string().chars().take(256).collect::<String>();
    let mut json = serde_json::Deserializer::from_slice(header);
    let entries = Header { max_tensors, max_rank }.deserialize(&mut json).map_err(short)?;
    json.end().map_err(short)?;
    Ok(entries)
}

struct Header {
    max_tensors: usize,
    max_rank: usize,
}

impl<'de> DeserializeSeed<'de> for Header {
    type Value = Vec<(String, RawEntry)>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Header {
    type Value = Vec<(String, RawEntry)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom("a name appears twice"));
            }
            if name == METADATA {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if entries.len() == self.max_tensors {
                return Err(A::Error::custom(format_args!("more than {} tensors", self.max_tensors)));
            }
            entries.push((name, map.next_value_seed(Entry { max_rank: self.max_rank })?));
        }
        Ok(entries)
    }
}

struct Entry {
    max_rank: usize,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Dtype,
    Shape,
    DataOffsets,
}

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = RawEntry;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<RawEntry, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = RawEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with dtype, shape and data_offsets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawEntry, A::Error> {
        let (mut dtype, mut shape, mut data_offsets) = (None, None, None);
        while let Some(field) = map.next_key::<Field>()? {
            let repeated = match field {
                Field::Dtype => dtype.replace(map.next_value::<String>()?).is_some(),
                Field::Shape => shape.replace(map.next_value_seed(Shape { max_rank: self.max_rank })?).is_some(),
                Field::DataOffsets => data_offsets.replace(map.next_value::<[u64; 2]>()?).is_some(),
            };
            if repeated {
                return Err(A::Error::custom("a key of a tensor appears twice"));
            }
        }
        match (dtype, shape, data_offsets) {
            (Some(dtype), Some(shape), Some(data_offsets)) => Ok(RawEntry { dtype, shape, data_offsets }),
            _ => Err(A::Error::custom("a tensor lacks dtype, shape or data_offsets")),
        }
    }
}

struct Shape {
    max_rank: usize,
}

impl<'de> DeserializeSeed<'de> for Shape {
    type Value = Vec<u64>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Vec<u64>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Shape {
    type Value = Vec<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} dimensions", self.max_rank)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<u64>, A::Error> {
        let mut shape = Vec::new();
        while let Some(dimension) = sequence.next_element::<u64>()? {
            if shape.len() == self.max_rank {
                return Err(A::Error::custom(format_args!("more than {} dimensions", self.max_rank)));
            }
            shape.push(dimension);
        }
        Ok(shape)
    }
}
