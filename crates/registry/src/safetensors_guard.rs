//! The header of a safetensors file, checked in full before anything else looks at it.
//!
//! ```text
//! header length n: u64 LE | n bytes of JSON, first `{` | tensor data, covered without gap or overlap, to the end
//! ```

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;

use crate::safetensors_header::{self, RawEntry};
use crate::weights_error::WeightsError;

/// Where the header begins: after its length.
const LENGTH_BYTES: u64 = 8;
const MAX_RANK: usize = 8;
const MAX_NAME_BYTES: usize = 512;

/// How large a header a reader is ready to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorLimits {
    /// Longest header, in bytes.
    pub header_bytes: usize,
    /// Most tensors.
    pub tensors: usize,
}

impl TensorLimits {
    /// For an encoder or a multi-task checkpoint, which an operator supplies.
    pub const CHECKPOINT: Self = Self { header_bytes: 4 << 20, tensors: 16_384 };
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name is the type")]
pub enum ElementType {
    Bool,
    U8,
    I8,
    I16,
    I32,
    I64,
    F16,
    BF16,
    F32,
    F64,
}

/// One tensor of a checked header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name: printable, without a leading slash or two dots in a row.
    pub name: String,
    /// The type of its elements.
    pub element: ElementType,
    /// Its shape: at most 8 dimensions, whose product does not overflow.
    pub shape: Vec<usize>,
    /// Its bytes, counted from the beginning of the file.
    pub bytes: Range<u64>,
}

/// The checked header of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorIndex {
    entries: Vec<TensorEntry>,
    by_name: HashMap<String, usize>,
}

impl ElementType {
    const ALL: [Self; 10] =
        [Self::Bool, Self::U8, Self::I8, Self::I16, Self::I32, Self::I64, Self::F16, Self::BF16, Self::F32, Self::F64];

    /// The type's name in a header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::U8 => "U8",
            Self::I8 => "I8",
            Self::I16 => "I16",
            Self::I32 => "I32",
            Self::I64 => "I64",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::F32 => "F32",
            Self::F64 => "F64",
        }
    }

    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|element| element.as_str() == name)
    }
}

impl TensorIndex {
    /// Checks the header of a whole file in memory.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn of_bytes(bytes: &[u8], limits: &TensorLimits) -> Result<Self, WeightsError> {
        Self::read(bytes, bytes.len() as u64, limits)
    }

    /// Checks the header that `reader`, at the beginning of a file of `file_bytes`, gives. Reads no tensor data.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(mut reader: impl Read, file_bytes: u64, limits: &TensorLimits) -> Result<Self, WeightsError> {
        let mut length = [0; LENGTH_BYTES as usize];
        read_exactly(&mut reader, &mut length)?;
        let length = u64::from_le_bytes(length);
        if length < 2 || length > limits.header_bytes as u64 {
            return Err(WeightsError::HeaderLength { bytes: length, limit: limits.header_bytes });
        }
        if file_bytes.saturating_sub(LENGTH_BYTES) < length {
            return Err(WeightsError::Truncated);
        }
        let mut header = vec![0; length as usize];
        read_exactly(&mut reader, &mut header)?;
        if header.first() != Some(&b'{') {
            return Err(WeightsError::NotSafetensors);
        }
        let raw = safetensors_header::parse(&header, limits.tensors, MAX_RANK).map_err(WeightsError::Header)?;
        Self::check(raw, LENGTH_BYTES + length, file_bytes)
    }

    /// The tensors in the order of their bytes.
    #[must_use]
    pub fn entries(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// The tensor called `name`.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&TensorEntry> {
        self.entries.get(*self.by_name.get(name)?)
    }

    /// The bytes of `entry` in `file`, the very bytes that were checked.
    #[must_use]
    pub fn data<'file>(&self, file: &'file [u8], entry: &TensorEntry) -> &'file [u8] {
        file.get(entry.bytes.start as usize..entry.bytes.end as usize).unwrap_or_default()
    }

    fn check(raw: Vec<(String, RawEntry)>, data_start: u64, file_bytes: u64) -> Result<Self, WeightsError> {
        let mut entries = Vec::with_capacity(raw.len());
        for (index, (name, entry)) in raw.into_iter().enumerate() {
            if !is_proper_name(&name) {
                return Err(WeightsError::Name { index });
            }
            entries.push(check_entry(name, entry, data_start)?);
        }
        entries.sort_by_key(|entry| (entry.bytes.start, entry.bytes.end));
        let mut end = data_start;
        for entry in &entries {
            if entry.bytes.start != end {
                return Err(WeightsError::Coverage { name: entry.name.clone() });
            }
            end = entry.bytes.end;
        }
        if end != file_bytes {
            return Err(WeightsError::End { end, file: file_bytes });
        }
        let by_name = entries.iter().enumerate().map(|(index, entry)| (entry.name.clone(), index)).collect();
        Ok(Self { entries, by_name })
    }
}

fn check_entry(name: String, raw: RawEntry, data_start: u64) -> Result<TensorEntry, WeightsError> {
    let Some(element) = ElementType::parse(&raw.dtype) else {
        return Err(WeightsError::Header(format!("tensor {name} has an element type that is not supported")));
    };
    let fits = |raw: &RawEntry| {
        // A zero beside huge dimensions makes a small product; each dimension must be sound alone as well.
        let elements = raw.shape.iter().try_fold(1_u64, |product, &dimension| {
            i64::try_from(dimension).ok()?;
            product.checked_mul(dimension.max(1))
        })?;
        let elements = if raw.shape.contains(&0) { 0 } else { elements };
        let bytes = elements.checked_mul(element.bytes())?;
        let [begin, end] = raw.data_offsets;
        let range = data_start.checked_add(begin)?..data_start.checked_add(end)?;
        (end.checked_sub(begin)? == bytes).then_some(range)
    };
    let Some(bytes) = fits(&raw) else {
        return Err(WeightsError::Offsets { name });
    };
    let shape = raw.shape.iter().map(|&dimension| dimension as usize).collect();
    Ok(TensorEntry { name, element, shape, bytes })
}

fn is_proper_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('/')
        && !name.contains("..")
        && !name.chars().any(|character| character.is_control() || character == '\\')
}

fn read_exactly(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), WeightsError> {
    reader.read_exact(buffer).map_err(|error| {
        let kind = error.kind();
        if kind == std::io::ErrorKind::UnexpectedEof { WeightsError::Truncated } else { WeightsError::Read(kind) }
    })
}
