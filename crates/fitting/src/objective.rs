//! What is made small: the mean loss of a linear layer plus L2 on its weights.

use crate::blocks::Blocks;
use crate::error::FitError;
use crate::loss::Loss;
use crate::product::{Left, add_product};

/// A smooth function of many numbers.
pub(crate) trait Objective {
    /// The value at `point`; `gradient` is overwritten.
    ///
    /// # Errors
    /// [`FitError::Cancelled`].
    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, FitError>;
}

/// The mean loss over some units, plus half the strength times the sum of squared weights. Biases are free.
pub(crate) struct Regularised<'a, 'b> {
    pub(crate) blocks: &'b mut Blocks<'a>,
    pub(crate) loss: &'b Loss<'a>,
    pub(crate) units: &'b [usize],
    pub(crate) strength: f64,
}

impl Objective for Regularised<'_, '_> {
    fn evaluate(&mut self, layer: &[f64], gradient: &mut [f64]) -> Result<f64, FitError> {
        let (width, outputs) = (self.blocks.examples.width(), self.blocks.outputs());
        gradient.fill(0.0);
        let (of_weight, of_bias) = gradient.split_at_mut(width * outputs);
        let mut sum = 0.0;
        self.blocks.each(self.units, layer, |block| {
            sum += self.loss.derive(block.units, block.logits);
            add_product(Left::turned(block.vectors, width), block.logits, outputs, of_weight);
            for derivatives in block.logits.chunks_exact(outputs) {
                of_bias.iter_mut().zip(derivatives).for_each(|(sum, derivative)| *sum += derivative);
            }
        })?;
        let units = self.units.len() as f64;
        gradient.iter_mut().for_each(|derivative| *derivative /= units);
        let mut squares = 0.0;
        for (derivative, weight) in gradient.iter_mut().zip(&layer[..width * outputs]) {
            *derivative += self.strength * weight;
            squares += weight * weight;
        }
        Ok(sum / units + self.strength / 2.0 * squares)
    }
}
