//! Writes a state dictionary the way PyTorch does: a zip archive with a pickle of names and shapes, and one entry of
//! numbers for each tensor.

use std::fs::File;
use std::io::{self, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::tensor_writer::PlannedTensor;

const FOLDER: &str = "pytorch_model";

/// An archive whose pickle is written and whose numbers are awaited. All tensors are 32-bit floats.
pub(super) struct Archive {
    zip: ZipWriter<File>,
}

impl Archive {
    /// Writes everything but the numbers of `plan`.
    pub(super) fn begin(file: File, plan: &[PlannedTensor]) -> io::Result<Self> {
        let mut archive = Self { zip: ZipWriter::new(file) };
        for (name, bytes) in
            [("data.pkl", pickle(plan)), ("byteorder", b"little".to_vec()), ("version", b"3\n".to_vec())]
        {
            archive.begin_entry(name)?;
            archive.write(&bytes)?;
        }
        Ok(archive)
    }

    /// Begins the numbers of tensor `index` of the plan.
    pub(super) fn begin_storage(&mut self, index: usize) -> io::Result<()> {
        self.begin_entry(&format!("data/{index}"))
    }

    /// Writes the next numbers, little-endian.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.zip.write_all(bytes)
    }

    /// Writes the archive's directory.
    pub(super) fn finish(self) -> io::Result<()> {
        self.zip.finish().map(drop).map_err(io::Error::other)
    }

    fn begin_entry(&mut self, name: &str) -> io::Result<()> {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        self.zip.start_file(format!("{FOLDER}/{name}"), stored).map_err(io::Error::other)
    }
}

/// The pickle of an `OrderedDict` from names to tensors, protocol 2.
fn pickle(plan: &[PlannedTensor]) -> Vec<u8> {
    const ORDERED: &[u8] = b"ccollections\nOrderedDict\n)R";
    let mut out = b"\x80\x02".to_vec();
    out.extend_from_slice(ORDERED);
    out.push(b'(');
    for (index, tensor) in plan.iter().enumerate() {
        let elements: usize = tensor.shape.iter().product();
        text(&mut out, &tensor.name);
        out.extend_from_slice(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend_from_slice(b"ctorch\nFloatStorage\n");
        text(&mut out, &index.to_string());
        text(&mut out, "cpu");
        number(&mut out, elements);
        out.extend_from_slice(b"tQ");
        number(&mut out, 0);
        let strides =
            tensor.shape.iter().enumerate().map(|(dimension, _)| tensor.shape.iter().skip(dimension + 1).product());
        for sizes in [tensor.shape.clone(), strides.collect()] {
            out.push(b'(');
            sizes.into_iter().for_each(|size| number(&mut out, size));
            out.push(b't');
        }
        // Needs no gradient, has no hooks.
        out.push(0x89);
        out.extend_from_slice(ORDERED);
        out.extend_from_slice(b"tR");
    }
    out.extend_from_slice(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(b"\x8a\x08");
    out.extend_from_slice(&(number as u64).to_le_bytes());
}
