//! One safetensors file behind the guard: its header is checked in full, and its tensors stay on disk until they are
//! asked for.

use std::fs::File;
use std::os::unix::fs::FileExt;

use half::{bf16, f16};
use registry::{ElementType, TensorEntry, TensorIndex, TensorLimits};

use crate::error::CheckpointError;

/// An open file of tensors whose header has been checked.
#[derive(Debug)]
pub(crate) struct TensorFile {
    name: String,
    file: File,
    index: TensorIndex,
}

impl TensorFile {
    /// Reads and checks the header of `file`; `name` is for messages.
    ///
    /// # Errors
    /// [`CheckpointError::BadTensorFile`], naming the broken rule.
    pub(crate) fn open(name: &str, mut file: File) -> Result<Self, CheckpointError> {
        let length = file.metadata().map_err(CheckpointError::io(name))?.len();
        // A converted file comes with its cursor at the end.
        std::io::Seek::rewind(&mut file).map_err(CheckpointError::io(name))?;
        let index = TensorIndex::read(&file, length, &TensorLimits::CHECKPOINT)
            .map_err(|source| CheckpointError::BadTensorFile { file: name.to_owned(), source })?;
        Ok(Self { name: name.to_owned(), file, index })
    }

    /// Names, shapes, element types and places, in the order of the file.
    pub(crate) fn entries(&self) -> &[TensorEntry] {
        self.index.entries()
    }

    /// The tensor called `name`.
    pub(crate) fn entry(&self, name: &str) -> Option<&TensorEntry> {
        self.index.entry(name)
    }

    /// Fills `bytes` from the tensor `entry`, starting `offset` bytes into it.
    pub(crate) fn read_at(&self, entry: &TensorEntry, offset: u64, bytes: &mut [u8]) -> Result<(), CheckpointError> {
        self.file.read_exact_at(bytes, entry.bytes.start + offset).map_err(CheckpointError::io(&self.name))
    }

    /// All numbers of a tensor, widened or narrowed to 32 bits.
    pub(crate) fn numbers(&self, entry: &TensorEntry) -> Result<Vec<f32>, CheckpointError> {
        let mut bytes = vec![0; (entry.bytes.end - entry.bytes.start) as usize];
        self.read_at(entry, 0, &mut bytes)?;
        as_f32(&bytes, entry.element).ok_or_else(|| bad_element(entry))
    }
}

/// The error for a tensor that holds no floating-point numbers.
pub(crate) fn bad_element(entry: &TensorEntry) -> CheckpointError {
    CheckpointError::BadElementType { name: entry.name.clone(), found: entry.element.as_str() }
}

/// Little-endian numbers as 32-bit floats; `None` if they are no floats.
pub(crate) fn as_f32(bytes: &[u8], element: ElementType) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect()
    }
    match element {
        ElementType::F32 => Some(each(bytes, f32::from_le_bytes)),
        ElementType::F16 => Some(each(bytes, |pair| f16::from_le_bytes(pair).to_f32())),
        ElementType::BF16 => Some(each(bytes, |pair| bf16::from_le_bytes(pair).to_f32())),
        ElementType::F64 => Some(each(bytes, |eight| f64::from_le_bytes(eight) as f32)),
        ElementType::Bool
        | ElementType::U8
        | ElementType::I8
        | ElementType::I16
        | ElementType::I32
        | ElementType::I64 => None,
    }
}
