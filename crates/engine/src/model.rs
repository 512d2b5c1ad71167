//! The seam to the encoder: rows in, floats out. No tensor crosses it.

use std::sync::{Arc, Weak};

use crate::adapter::Adapter;
use crate::head::{Head, HeadKind};
use crate::tokens::Tokens;

/// One token sequence for the encoder.
#[derive(Debug, Clone)]
pub struct Row {
    /// The sequence.
    pub tokens: Arc<Tokens>,
    /// Added to the word-embedding output of position 0, `[embedding]`; `None` is the shared mode.
    pub task_embedding: Option<Arc<[f32]>>,
    /// What this row's head changed of the encoder; `None` is the encoder as it is.
    pub adapter: Option<Arc<Adapter>>,
    /// What of the output is wanted.
    pub reads: Reads,
}

/// What of a row's output is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Reads {
    /// The pooler's output.
    pub pooled: bool,
    /// The last hidden state at `[CLS]`.
    pub cls: bool,
    /// The last hidden state of every token.
    pub tokens: bool,
}

impl Reads {
    /// What a head of `kind` reads: every token, or the pooled vector.
    #[must_use]
    pub fn of_kind(kind: HeadKind) -> Self {
        Self { pooled: !kind.reads_tokens(), cls: false, tokens: kind.reads_tokens() }
    }

    /// Whether everything that `other` reads is read here too.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.union(other) == self
    }

    /// What the answers of `head` are made of: what its kind reads, and the pooled vector where it tells how far a
    /// text lies from its training text.
    #[must_use]
    pub fn of_head(head: &Head) -> Self {
        let reads = Self::of_kind(head.kind());
        Self { pooled: reads.pooled || head.parts().trust.ood.is_some(), ..reads }
    }

    /// What either wants.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { pooled: self.pooled || other.pooled, cls: self.cls || other.cls, tokens: self.tokens || other.tokens }
    }
}

impl Reads {
    /// What is wanted and not among the parts of `known`.
    pub(crate) fn without(self, known: &RowOutput) -> Self {
        Self {
            pooled: self.pooled && known.pooled.is_none(),
            cls: self.cls && known.cls.is_none(),
            tokens: self.tokens && known.tokens.is_none(),
        }
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl From<VectorKind> for Reads {
    fn from(kind: VectorKind) -> Self {
        match kind {
            VectorKind::Pooled => Self { pooled: true, ..Self::default() },
            VectorKind::Cls => Self { cls: true, ..Self::default() },
        }
    }
}

/// Which vector of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VectorKind {
    /// The pooler's output: what sequence heads read.
    Pooled,
    /// The encoder's last hidden state at `[CLS]`, before the pooler.
    Cls,
}

/// What the model says of itself once loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// Digest of configuration, tokenizer and weights, `sha256:` and hex digits.
    pub encoder_digest: String,
    /// Width of the pooled vector and of every token's hidden state.
    pub hidden: usize,
    /// Width of a task embedding.
    pub embedding: usize,
    /// Vocabulary size: ids must be smaller.
    pub vocabulary: usize,
    /// The longest sequence the encoder accepts; `None` where it has no absolute positions.
    pub max_positions: Option<usize>,
    /// Whether a pooler was loaded: sequence heads and [`VectorKind::Pooled`] need one.
    pub has_pooler: bool,
    /// Where it runs, such as `cpu` or `cuda:0`.
    pub device: String,
    /// Element type of the products, such as `fp32`.
    pub dtype: String,
}

/// The logits of one head on one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// 1 for a head on the pooled vector, the number of tokens for a token head.
    pub positions: usize,
    /// Row-major `[positions, outputs]`.
    pub logits: Vec<f32>,
}

/// What the model computed for one row: the parts it was asked for, in fp32 on the host. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowOutput {
    /// The pooler's output, `[hidden]`: what sequence heads read.
    pub pooled: Option<Arc<[f32]>>,
    /// The last hidden state at `[CLS]`, before the pooler, `[hidden]`.
    pub cls: Option<Arc<[f32]>>,
    /// The last hidden state of every token, row-major `[tokens, hidden]`: what token heads read.
    pub tokens: Option<Arc<[f32]>>,
}

impl RowOutput {
    /// The vector of that kind, where it was asked for.
    #[must_use]
    pub fn vector(&self, kind: VectorKind) -> Option<&Arc<[f32]>> {
        match kind {
            VectorKind::Pooled => self.pooled.as_ref(),
            VectorKind::Cls => self.cls.as_ref(),
        }
    }

    /// The parts that `reads` names.
    pub(crate) fn only(self, reads: Reads) -> Self {
        Self {
            pooled: self.pooled.filter(|_| reads.pooled),
            cls: self.cls.filter(|_| reads.cls),
            tokens: self.tokens.filter(|_| reads.tokens),
        }
    }

    /// Takes from `other` the parts that are missing here.
    pub(crate) fn fill(&mut self, other: &Self) {
        for (own, part) in
            [(&mut self.pooled, &other.pooled), (&mut self.cls, &other.cls), (&mut self.tokens, &other.tokens)]
        {
            *own = own.take().or_else(|| part.clone());
        }
    }

    /// Bytes of all parts.
    pub(crate) fn bytes(&self) -> usize {
        let parts = [&self.pooled, &self.cls, &self.tokens];
        parts.into_iter().flatten().map(|part| size_of_val(part.as_ref())).sum()
    }
}

/// Why a batch has no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// A row does not fit this model: an id beyond the vocabulary, an embedding of another width, no tokens.
    /// Usual cause: a head or a tokenizer of another encoder.
    #[error("row {row} does not fit the encoder: {reason}")]
    RowMisfit {
        /// Position in the batch.
        row: usize,
        /// What does not fit.
        reason: String,
    },
    /// The device has no memory left for a batch of this size.
    #[error("the device is out of memory")]
    OutOfMemory,
    /// A result holds NaN or infinity.
    #[error("row {row} has an output that is not finite")]
    NotFinite {
        /// Position in the batch.
        row: usize,
    },
    /// The model has no such thing, such as derivatives.
    #[error("{0}")]
    Unsupported(String),
    /// The model could not be built from its files.
    #[error("cannot load the encoder: {0}")]
    Load(String),
    /// The backend failed in a way the caller cannot mend.
    #[error("the backend failed: {0}")]
    Backend(String),
}

/// One shared encoder. Built on its worker thread; never leaves it. Heads are the engine's business.
///
/// An implementation keeps row order, gives a row the same output whatever stands beside it (1e-5 in fp32),
/// ignores padding of its own making, and checks ids and widths before they reach a device. `model_suite` in the
/// repository's tests proves it.
pub trait Model {
    /// What the model says of itself.
    fn info(&self) -> &ModelInfo;

    /// One output per row, in row order, with every part that the row's [`Reads`] name.
    ///
    /// # Errors
    /// [`ModelError`]; then no row of the batch has an output.
    fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError>;

    /// The derivative of a loss by the embedding of `lesson`, `[embedding]`, summed over its rows: `upstream` is shown
    /// their pooled vectors and gives the loss's derivative by each. The weights stay as they are.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] where the model does not differentiate, as it is unless it says otherwise.
    fn embedding_gradient(&mut self, lesson: Lesson<'_>, upstream: &mut Upstream<'_>) -> Result<Vec<f32>, ModelError> {
        let _ = (lesson, upstream);
        Err(ModelError::Unsupported("this encoder does not differentiate".to_owned()))
    }
}

/// From the pooled vectors of rows to a loss's derivative by each, `[hidden]`.
pub type Upstream<'a> = dyn FnMut(&[Arc<[f32]>]) -> Vec<Vec<f32>> + 'a;

/// A course of lessons. What a model holds for lessons alone it may let go once the last clone is dropped.
#[derive(Debug, Clone, Default)]
pub struct Lessons(Arc<()>);

impl Lessons {
    /// Says later whether the course is over.
    #[must_use]
    pub fn watch(&self) -> Weak<()> {
        Arc::downgrade(&self.0)
    }
}

/// Rows to differentiate by the task embedding that all of them carry.
#[derive(Debug, Clone, Copy)]
pub struct Lesson<'a> {
    /// The rows; their own task embeddings do not count.
    pub rows: &'a [Row],
    /// `[embedding]`.
    pub embedding: &'a [f32],
    /// The course that this is part of.
    pub lessons: &'a Lessons,
}
