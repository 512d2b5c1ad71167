//! From a pickled state dictionary to a safetensors file with the same names, shapes and numbers.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;

use crate::archive::{Archive, StorageRange};
use crate::error::CheckpointError;
use crate::pickle::{self, PickledTensor};
use crate::tensor_writer::{PlannedTensor, TensorWriter};

/// How much is copied at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// Reads the pickled checkpoint in `input` and writes it to `output`, at most `max_bytes` long.
///
/// # Errors
/// [`CheckpointError::BadPickle`] for everything that is not a plain archive of tensors.
pub(crate) fn convert(input: File, output: File, max_bytes: u64) -> Result<(), CheckpointError> {
    let mut archive = Archive::open(input)?;
    let tensors = pickle::read(&archive.pickle()?)?;
    let plan = plan(&tensors, max_bytes)?;
    let mut ranges = BTreeMap::new();
    for (_, tensor) in &tensors {
        if !ranges.contains_key(&tensor.storage.key) {
            ranges.insert(tensor.storage.key.clone(), archive.storage(&tensor.storage.key)?);
        }
    }
    let mut writer = TensorWriter::begin(output, &plan).map_err(CheckpointError::io("the converted file"))?;
    for (name, tensor) in &tensors {
        let range = ranges.get(&tensor.storage.key).copied().filter(|range| holds(*range, tensor));
        let range = range.ok_or_else(|| bad(format!("the storage of {name} is shorter than it claims")))?;
        copy(&archive, range, tensor, &mut writer)?;
    }
    writer.finish().map_err(CheckpointError::io("the converted file"))?;
    Ok(())
}

fn bad(reason: String) -> CheckpointError {
    CheckpointError::BadPickle(reason)
}

fn plan(tensors: &[(String, PickledTensor)], max_bytes: u64) -> Result<Vec<PlannedTensor>, CheckpointError> {
    let mut seen = HashSet::new();
    let mut total = 0u64;
    let mut plan = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        if !seen.insert(name) {
            return Err(bad(format!("the name {name:?} appears twice")));
        }
        let elements = tensor.shape.iter().product::<usize>() as u64;
        total = total.saturating_add(elements.saturating_mul(element_bytes(tensor) as u64));
        if total > max_bytes {
            return Err(bad(format!("its tensors make more than {max_bytes} bytes")));
        }
        plan.push(PlannedTensor { name: name.clone(), element: tensor.storage.element, shape: tensor.shape.clone() });
    }
    Ok(plan)
}

fn element_bytes(tensor: &PickledTensor) -> usize {
    tensor.storage.element.bytes() as usize
}

/// Whether the archive really has as many bytes as the tensor's storage claims elements.
fn holds(range: StorageRange, tensor: &PickledTensor) -> bool {
    (tensor.storage.elements as u64).checked_mul(element_bytes(tensor) as u64).is_some_and(|claim| claim <= range.bytes)
}

fn copy(
    archive: &Archive,
    range: StorageRange,
    tensor: &PickledTensor,
    writer: &mut TensorWriter<File>,
) -> Result<(), CheckpointError> {
    let width = element_bytes(tensor);
    let total = tensor.shape.iter().product::<usize>() * width;
    if total == 0 {
        // Nothing bounds the offset and the other dimensions of a tensor without elements.
        return Ok(());
    }
    let start = range.start + (tensor.offset * width) as u64;
    if is_contiguous(tensor) {
        let mut chunk = vec![0; CHUNK_BYTES.min(total)];
        let mut done = 0;
        while done < total {
            let length = chunk.len().min(total - done);
            let part = chunk.get_mut(..length).unwrap_or_default();
            archive.read_at(start + done as u64, part)?;
            writer.write(part).map_err(CheckpointError::io("the converted file"))?;
            done += length;
        }
        return Ok(());
    }
    let reach = tensor.shape.iter().zip(&tensor.strides).map(|(size, stride)| (size - 1) * stride).sum::<usize>();
    let mut span = vec![0; (reach + 1) * width];
    archive.read_at(start, &mut span)?;
    let mut gathered = Vec::with_capacity(total);
    let mut index = vec![0; tensor.shape.len()];
    for _ in 0..total / width {
        let element = index.iter().zip(&tensor.strides).map(|(position, stride)| position * stride).sum::<usize>();
        gathered.extend_from_slice(span.get(element * width..(element + 1) * width).unwrap_or_default());
        for (position, size) in index.iter_mut().zip(&tensor.shape).rev() {
            *position += 1;
            if *position < *size {
                break;
            }
            *position = 0;
        }
    }
    writer.write(&gathered).map_err(CheckpointError::io("the converted file"))
}

/// Whether the elements lie one after the other, rows first. Strides of single-element dimensions do not matter.
fn is_contiguous(tensor: &PickledTensor) -> bool {
    let mut expected = 1;
    for (size, stride) in tensor.shape.iter().zip(&tensor.strides).rev() {
        if *size != 1 && *stride != expected {
            return false;
        }
        expected *= size;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::*;

    const FIXTURE: &str = "../../tests/fixtures/layouts/b-model-and-adapters/adapters/pytorch_model.bin";

    fn convert_bytes(bytes: &[u8]) -> Result<(), CheckpointError> {
        let mut input = tempfile::tempfile().unwrap();
        input.write_all(bytes).unwrap();
        convert(input, tempfile::tempfile().unwrap(), 1 << 20)
    }

    #[test]
    fn spoilt_bytes_are_an_error_or_nothing_but_never_a_panic() {
        let whole = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE)).unwrap();
        convert_bytes(&whole).unwrap();
        let mut n_refused = 0;
        let mut try_with = |place: usize, byte: u8| {
            let mut spoilt = whole.clone();
            spoilt[place] = byte;
            n_refused += usize::from(convert_bytes(&spoilt).is_err());
        };
        // The pickle lies at the beginning, the directory at the end.
        let places = (0..4_000).chain(whole.len() - 1_500..whole.len());
        for (step, place) in places.enumerate().filter(|(step, _)| step % 3 == 0) {
            try_with(place, [0x00, 0xff, 0x7f, 0x80, b'R', b't'][step / 3 % 6]);
        }
        assert!(n_refused > 1_000, "{n_refused}");
        for cut in (0..whole.len()).step_by(97) {
            assert!(convert_bytes(&whole[..cut]).is_err(), "{cut}");
        }
    }
}
