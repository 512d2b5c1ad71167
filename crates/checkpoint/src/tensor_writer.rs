//! Writes a safetensors file as a stream: the header first, from a plan, then the numbers of each tensor in turn.

use std::io::{self, BufWriter, Write};

use registry::ElementType;
use serde_json::{Map, Value, json};

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedTensor {
    /// Its name in the file.
    pub(crate) name: String,
    /// Its element type.
    pub(crate) element: ElementType,
    /// Its dimensions.
    pub(crate) shape: Vec<usize>,
}

/// A file whose header is written and whose numbers are awaited, in plan order.
#[derive(Debug)]
pub(crate) struct TensorWriter<W: Write> {
    out: BufWriter<W>,
    awaited: u64,
}

impl PlannedTensor {
    /// Bytes of its numbers.
    pub(crate) fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.element.bytes()
    }
}

impl<W: Write> TensorWriter<W> {
    /// Writes the header for `plan`, padded so that the numbers begin at a multiple of eight bytes.
    pub(crate) fn begin(out: W, plan: &[PlannedTensor]) -> io::Result<Self> {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
        let mut offset = 0;
        for tensor in plan {
            let end = offset + tensor.bytes();
            let info = json!({"dtype": tensor.element.as_str(), "shape": tensor.shape, "data_offsets": [offset, end]});
            header.insert(tensor.name.clone(), info);
            offset = end;
        }
        let mut text = Value::Object(header).to_string();
        text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
        let mut out = BufWriter::with_capacity(1 << 20, out);
        out.write_all(&(text.len() as u64).to_le_bytes())?;
        out.write_all(text.as_bytes())?;
        Ok(Self { out, awaited: offset })
    }

    /// Writes the next numbers, little-endian.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.awaited = self
            .awaited
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "more numbers than planned"))?;
        self.out.write_all(bytes)
    }

    /// Gives the file back once every planned number is in it.
    pub(crate) fn finish(self) -> io::Result<W> {
        if self.awaited > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "fewer numbers than planned"));
        }
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}
