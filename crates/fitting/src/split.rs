//! Rows to learn from beside rows held out, and solutions for one strength after another.

use crate::blocks::{Blocks, Layer};
use crate::error::FitError;
use crate::examples::Examples;
use crate::lbfgs::{Limits, minimise};
use crate::least_squares::{NormalEquations, values};
use crate::loss::Loss;
use crate::objective::{Objective, Regularised};
use crate::scaling::Scaling;
use crate::watch::Watch;

/// Examples under the scaling and the watch of one fit.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) examples: &'a Examples,
    pub(crate) scaling: &'a Scaling,
    pub(crate) watch: &'a dyn Watch,
    pub(crate) balanced: bool,
}

/// How a solution was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) iterations: usize,
    pub(crate) converged: bool,
}

/// Learns from some units. Each solution begins at the last one.
pub(crate) struct Learner<'a> {
    blocks: Blocks<'a>,
    loss: Loss<'a>,
    units: Vec<usize>,
    /// Where answers are numbers: nothing to descend.
    equations: Option<NormalEquations>,
    pub(crate) layer: Layer,
}

impl<'a> View<'a> {
    fn blocks(&self) -> Blocks<'a> {
        Blocks::new(self.examples, self.scaling, self.watch)
    }

    fn loss(&self, units: &[usize]) -> Loss<'a> {
        if self.balanced { Loss::balanced(self.examples, units) } else { Loss::plain(self.examples) }
    }

    /// The mean loss of `layer` over units held out, classes weighted as in the fit.
    ///
    /// # Errors
    /// [`FitError::Cancelled`].
    pub(crate) fn mean_loss(&self, units: &[usize], layer: &[f64]) -> Result<f64, FitError> {
        let loss = self.loss(units);
        let mut sum = 0.0;
        self.blocks().each(units, layer, |block| sum += loss.derive(block.units, block.logits))?;
        Ok(sum / units.len() as f64)
    }

    /// Shows the logits that `layer` gives for blocks of `units`.
    ///
    /// # Errors
    /// [`FitError::Cancelled`].
    pub(crate) fn logits(
        &self,
        units: &[usize],
        layer: &[f64],
        mut visit: impl FnMut(&[usize], &[f64], usize),
    ) -> Result<(), FitError> {
        let mut blocks = self.blocks();
        let outputs = blocks.outputs();
        blocks.each(units, layer, |block| visit(block.units, block.logits, outputs))
    }
}

impl<'a> Learner<'a> {
    /// # Errors
    /// [`FitError::Cancelled`].
    pub(crate) fn new(view: View<'a>, units: Vec<usize>) -> Result<Self, FitError> {
        let mut blocks = view.blocks();
        let equations = match values(view.examples) {
            Some(values) => Some(NormalEquations::new(&mut blocks, values, &units)?),
            None => None,
        };
        let layer = vec![0.0; blocks.dimension()];
        Ok(Self { blocks, loss: view.loss(&units), units, equations, layer })
    }

    /// Solves for `strength`; `each` is told every iteration.
    ///
    /// # Errors
    /// [`FitError::Cancelled`], [`FitError::Diverged`].
    pub(crate) fn solve(
        &mut self,
        strength: f64,
        limits: Limits,
        each: &mut dyn FnMut(usize),
    ) -> Result<Reached, FitError> {
        if let Some(equations) = &self.equations {
            self.layer = equations.solve(strength, self.blocks.outputs())?;
            each(1);
            return Ok(Reached { iterations: 1, converged: true });
        }
        let start = std::mem::take(&mut self.layer);
        let mut objective = Regularised { blocks: &mut self.blocks, loss: &self.loss, units: &self.units, strength };
        let solution = minimise(&mut objective, start, limits, each)?;
        self.layer = solution.point;
        Ok(Reached { iterations: solution.iterations, converged: solution.converged })
    }

    /// What a solution for `strength` has made small.
    ///
    /// # Errors
    /// [`FitError::Cancelled`].
    pub(crate) fn value(&mut self, strength: f64) -> Result<f64, FitError> {
        let layer = std::mem::take(&mut self.layer);
        let mut objective = Regularised { blocks: &mut self.blocks, loss: &self.loss, units: &self.units, strength };
        let value = objective.evaluate(&layer, &mut vec![0.0; layer.len()]);
        self.layer = layer;
        value
    }
}
