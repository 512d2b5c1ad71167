//! Examples in small blocks: scaled vectors side by side, and what a layer gives for them.

use crate::error::FitError;
use crate::examples::{Answers, Examples};
use crate::product::{Left, add_product, padded};
use crate::scaling::Scaling;
use crate::watch::Watch;

/// Rows of a block at most: its vectors then stay in the second cache.
const BLOCK_ROWS: usize = 64;
/// Products of a block's logits: about a third of a millisecond, after which the watch may call a halt.
const BLOCK_PRODUCTS: usize = 2 << 20;
/// Questions of a block.
const BLOCK_QUESTIONS: usize = 16;

/// A linear layer over scaled vectors: row-major `[width + 1, padded outputs]`, the biases last. Padding is 0.
pub(crate) type Layer = Vec<f64>;

/// Some units of the examples.
pub(crate) struct Block<'b> {
    pub(crate) units: &'b [usize],
    /// Row-major `[rows, width]`, scaled.
    pub(crate) vectors: &'b [f64],
    /// Row-major `[rows, padded outputs]`.
    pub(crate) logits: &'b mut [f64],
}

/// Examples as blocks, under a watch.
pub(crate) struct Blocks<'a> {
    pub(crate) examples: &'a Examples,
    pub(crate) scaling: &'a Scaling,
    pub(crate) watch: &'a dyn Watch,
    vectors: Vec<f64>,
    logits: Vec<f64>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(examples: &'a Examples, scaling: &'a Scaling, watch: &'a dyn Watch) -> Self {
        Self { examples, scaling, watch, vectors: Vec::new(), logits: Vec::new() }
    }

    /// Padded outputs.
    pub(crate) fn outputs(&self) -> usize {
        padded(self.examples.outputs())
    }

    /// Numbers of a layer.
    pub(crate) fn dimension(&self) -> usize {
        (self.examples.width() + 1) * self.outputs()
    }

    /// Shows every block of `units` with the logits that `layer` gives.
    ///
    /// # Errors
    /// [`FitError::Cancelled`].
    pub(crate) fn each(
        &mut self,
        units: &[usize],
        layer: &[f64],
        mut visit: impl FnMut(Block<'_>),
    ) -> Result<(), FitError> {
        let outputs = self.outputs();
        let (weight, bias) = layer.split_at(self.examples.width() * outputs);
        let rows = (BLOCK_PRODUCTS / (self.examples.width() * outputs)).clamp(1, BLOCK_ROWS);
        let together = match self.examples.answers() {
            Answers::Classes(_) | Answers::Labels(_) | Answers::Values(_) => rows,
            Answers::Choices(_) => BLOCK_QUESTIONS,
        };
        for units in units.chunks(together) {
            if self.watch.is_cancelled() {
                return Err(FitError::Cancelled);
            }
            self.load(units);
            let rows = self.vectors.len() / self.examples.width();
            self.logits.clear();
            (0..rows).for_each(|_| self.logits.extend_from_slice(bias));
            let vectors = Left::plain(&self.vectors, self.examples.width());
            add_product(vectors, weight, outputs, &mut self.logits);
            visit(Block { units, vectors: &self.vectors, logits: &mut self.logits });
        }
        Ok(())
    }

    fn load(&mut self, units: &[usize]) {
        let width = self.examples.width();
        self.vectors.clear();
        for row in units.iter().flat_map(|unit| self.examples.rows_of(*unit)) {
            let start = self.vectors.len();
            self.vectors.resize(start + width, 0.0);
            self.scaling.apply(self.examples.vector(row), &mut self.vectors[start..]);
        }
    }
}
