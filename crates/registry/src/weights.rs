//! `weights.safetensors` of a head: bytes to arrays under hard caps, and back.

use std::sync::Arc;

use engine::{Adapter, Head, MAX_ADAPTER_LAYERS, MAX_LABELS, Site};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};

use crate::adapter_tensors;
use crate::safetensors_guard::{ElementType, TensorEntry, TensorIndex, TensorLimits};
use crate::weights_error::WeightsError;

/// The largest `weights.safetensors` of a head, in bytes.
pub const MAX_WEIGHTS_BYTES: usize = 64 << 20;

const HEAD_LIMITS: TensorLimits =
    TensorLimits { header_bytes: 256 << 10, tensors: 16 + 2 * Site::ALL.len() * MAX_ADAPTER_LAYERS };

/// The numbers of a head, widened to `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors {
    /// Row-major `[outputs, hidden]`.
    pub weight: Arc<[f32]>,
    /// `[outputs]`.
    pub bias: Arc<[f32]>,
    /// `[embedding]`.
    pub task_embedding: Option<Arc<[f32]>>,
    /// What the head's training changed of the encoder.
    pub adapter: Option<Arc<Adapter>>,
}

/// The sizes of the encoder a head must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncoderWidths {
    /// Width of the encoder's output: columns of `weight`.
    pub hidden: usize,
    /// Width of its word embeddings: length of `task_embedding`. Equal to `hidden` for most encoders.
    pub embedding: usize,
}

impl Tensors {
    /// The numbers of `head`, shared with it.
    #[must_use]
    pub fn of_head(head: &Head) -> Self {
        let parts = head.parts();
        Self {
            weight: Arc::clone(&parts.weight),
            bias: Arc::clone(&parts.bias),
            task_embedding: parts.task_embedding.clone(),
            adapter: parts.adapter.clone(),
        }
    }

    /// Parses the bytes of a head's `weights.safetensors`: exactly the tensors `weight [outputs, hidden]`,
    /// `bias [outputs]`, optionally `task_embedding [embedding]` and those of an adapter, in F32, F16 or BF16, every
    /// number finite.
    ///
    /// # Errors
    /// The first thing that is wrong, naming the tensor.
    pub fn parse(bytes: &[u8], widths: EncoderWidths) -> Result<Self, WeightsError> {
        if bytes.len() > MAX_WEIGHTS_BYTES {
            return Err(WeightsError::FileTooLarge { bytes: bytes.len(), limit: MAX_WEIGHTS_BYTES });
        }
        let index = TensorIndex::of_bytes(bytes, &HEAD_LIMITS)?;
        for entry in index.entries() {
            let known = ["weight", "bias", "task_embedding"].contains(&entry.name.as_str());
            if !known && !adapter_tensors::is_ours(&entry.name) {
                return Err(WeightsError::UnknownTensor { name: entry.name.clone() });
            }
        }
        let bias = numbers(bytes, &index, "bias")?.ok_or(WeightsError::MissingTensor { name: "bias" })?;
        let outputs = bias.len();
        if outputs == 0 || outputs > MAX_LABELS {
            return Err(WeightsError::Outputs { outputs });
        }
        check_shape(&index, "bias", &[outputs])?;
        check_shape(&index, "weight", &[outputs, widths.hidden])?;
        check_shape(&index, "task_embedding", &[widths.embedding])?;
        let weight = numbers(bytes, &index, "weight")?.ok_or(WeightsError::MissingTensor { name: "weight" })?;
        let task_embedding = numbers(bytes, &index, "task_embedding")?;
        let adapter = adapter_tensors::parse(bytes, &index, widths.hidden)?.map(Arc::new);
        Ok(Self { weight, bias, task_embedding, adapter })
    }

    /// The bytes of `weights.safetensors` in F32: equal tensors give equal bytes.
    ///
    /// # Errors
    /// [`WeightsError::Unwritable`] if `weight` is no multiple of `bias`.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, WeightsError> {
        let outputs = self.bias.len();
        let hidden = self.weight.len().checked_div(outputs).unwrap_or(0);
        let mut arrays: Vec<Array<'_>> = vec![
            ("bias".to_owned(), vec![outputs], &self.bias),
            ("weight".to_owned(), vec![outputs, hidden], &self.weight),
        ];
        if let Some(task_embedding) = &self.task_embedding {
            arrays.push(("task_embedding".to_owned(), vec![task_embedding.len()], task_embedding));
        }
        if let Some(adapter) = &self.adapter {
            arrays.extend(adapter_tensors::arrays(adapter));
        }
        written(&arrays)
    }
}

/// Name, shape and numbers of a tensor to write.
pub(crate) type Array<'a> = (String, Vec<usize>, &'a [f32]);

/// A safetensors file of `arrays` in F32.
pub(crate) fn written(arrays: &[Array<'_>]) -> Result<Vec<u8>, WeightsError> {
    let unwritable = |error: safetensors::SafeTensorError| WeightsError::Unwritable(error.to_string());
    let bytes: Vec<Vec<u8>> = arrays.iter().map(|(_, _, numbers)| little_endian(numbers)).collect();
    let views = arrays
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unwritable)?;
    safetensors::serialize(views, None).map_err(unwritable)
}

/// `numbers` as little-endian F32.
pub(crate) fn little_endian(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn check_shape(index: &TensorIndex, name: &'static str, expected: &[usize]) -> Result<(), WeightsError> {
    match index.entry(name) {
        Some(entry) if entry.shape != expected => {
            Err(WeightsError::Shape { name: name.to_owned(), found: entry.shape.clone(), expected: expected.to_vec() })
        }
        _ => Ok(()),
    }
}

fn numbers(bytes: &[u8], index: &TensorIndex, name: &'static str) -> Result<Option<Arc<[f32]>>, WeightsError> {
    let Some(entry) = index.entry(name) else { return Ok(None) };
    let numbers = widened(bytes, index, entry)?;
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(index) => Err(WeightsError::NotFinite { name, index }),
        None => Ok(Some(numbers)),
    }
}

/// The numbers of a tensor, whatever they are.
pub(crate) fn widened(bytes: &[u8], index: &TensorIndex, entry: &TensorEntry) -> Result<Arc<[f32]>, WeightsError> {
    let data = index.data(bytes, entry);
    Ok(match entry.element {
        ElementType::F32 => data.chunks_exact(4).map(|four| f32::from_le_bytes(array(four))).collect(),
        ElementType::F16 => data.chunks_exact(2).map(|two| f16::from_le_bytes(array(two)).to_f32()).collect(),
        ElementType::BF16 => data.chunks_exact(2).map(|two| bf16::from_le_bytes(array(two)).to_f32()).collect(),
        ElementType::Bool
        | ElementType::U8
        | ElementType::I8
        | ElementType::I16
        | ElementType::I32
        | ElementType::I64
        | ElementType::F64 => {
            return Err(WeightsError::Element { name: entry.name.clone(), found: entry.element.as_str() });
        }
    })
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}
