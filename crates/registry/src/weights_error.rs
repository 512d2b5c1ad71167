//! Why a safetensors file, or the tensors in it, were refused.

/// Why tensors were refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WeightsError {
    /// Larger than a head may be.
    #[error("{bytes} bytes of weights, the limit is {limit}")]
    FileTooLarge {
        /// Size found.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Ends before its header does.
    #[error("the file ends inside its header")]
    Truncated,
    /// The header announces more than the limit, or is too short to be one.
    #[error("the header has {bytes} bytes, expected 2 to {limit}")]
    HeaderLength {
        /// Length announced.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// Not a safetensors file: a pickle, a zip archive or something else.
    #[error("the header does not begin with an opening brace: this is no safetensors file")]
    NotSafetensors,
    /// The header is no JSON of the expected form, repeats a key, or breaks a limit.
    #[error("the header cannot be read: {0}")]
    Header(String),
    /// A name that could mislead whoever prints or stores it.
    #[error(
        "tensor {index} has a name that is empty, too long, or begins with a slash, or holds a control character, a backslash or two dots"
    )]
    Name {
        /// Position in the header, from 0.
        index: usize,
    },
    /// Shape, element type and data offsets do not agree, or overflow.
    #[error("tensor {name}: shape, element type and data offsets do not agree")]
    Offsets {
        /// The tensor.
        name: String,
    },
    /// The tensors leave a gap, overlap, or do not end where the file does.
    #[error("the tensors do not cover the file exactly: tensor {name} begins or ends in the wrong place")]
    Coverage {
        /// The first tensor that is not where it should be.
        name: String,
    },
    /// Bytes after the last tensor, or data missing.
    #[error("the tensors end at byte {end}, the file at byte {file}")]
    End {
        /// Where the tensors end.
        end: u64,
        /// Where the file ends.
        file: u64,
    },
    /// A tensor that a head needs is not there.
    #[error("tensor {name} is missing")]
    MissingTensor {
        /// The tensor.
        name: &'static str,
    },
    /// A tensor that a head does not have.
    #[error(
        "tensor {name} is not expected: a head has weight, bias, optionally task_embedding, and those of an adapter"
    )]
    UnknownTensor {
        /// The tensor.
        name: String,
    },
    /// A shape that does not fit the encoder or the other tensors.
    #[error("tensor {name} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits.
        expected: Vec<usize>,
    },
    /// No output, or more than a head may have.
    #[error("bias has {outputs} numbers, expected 1 to {}", engine::MAX_LABELS)]
    Outputs {
        /// Numbers in the bias.
        outputs: usize,
    },
    /// An element type that a head may not have.
    #[error("tensor {name} is {found}, expected F32, F16 or BF16")]
    Element {
        /// The tensor.
        name: String,
        /// Its element type.
        found: &'static str,
    },
    /// NaN or infinity.
    #[error("tensor {name} holds a number that is not finite, at {index}")]
    NotFinite {
        /// The tensor.
        name: &'static str,
        /// Position of the first such number.
        index: usize,
    },
    /// One half of a pair without the other.
    #[error("tensor {name} of an adapter is missing")]
    MissingHalf {
        /// The tensor that is not there.
        name: String,
    },
    /// Tensors that make no adapter.
    #[error(transparent)]
    Adapter(#[from] engine::AdapterError),
    /// Tensors that have no safetensors form.
    #[error("the tensors cannot be written: {0}")]
    Unwritable(String),
    /// The file could not be read.
    #[error("the file cannot be read: {0}")]
    Read(std::io::ErrorKind),
}
