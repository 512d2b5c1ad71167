//! What every part of the encoder is built from: the weights, the configuration and where tensors go.

use tch::Tensor;

use crate::config::Config;
use crate::error::LoadError;
use crate::linear::{LayerNorm, Linear};
use crate::precision::Placement;
use crate::weights::Weights;

/// One load in progress.
#[derive(Debug)]
pub(crate) struct Loading<'a> {
    pub(crate) weights: Weights,
    pub(crate) config: &'a Config,
    pub(crate) placement: Placement,
}

impl Loading<'_> {
    /// Weight `[outputs, inputs]` and bias `[outputs]` of `name`, in fp32 on the processor.
    pub(crate) fn plain(&mut self, name: &str, outputs: i64, inputs: i64) -> Result<(Tensor, Tensor), LoadError> {
        let weight = self.weights.take(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.weights.take(&format!("{name}.bias"), &[outputs])?;
        Ok((weight, bias))
    }

    /// The linear layer `name`, placed.
    pub(crate) fn linear(&mut self, name: &str, outputs: i64, inputs: i64) -> Result<Linear, LoadError> {
        let (weight, bias) = self.plain(name, outputs, inputs)?;
        Ok(Linear::new(&weight, Some(&bias), self.placement)?)
    }

    /// The normalisation `name` over the hidden size, placed.
    pub(crate) fn norm(&mut self, name: &str) -> Result<LayerNorm, LoadError> {
        let hidden = self.config.hidden;
        let weight = self.weights.take(&format!("{name}.weight"), &[hidden])?;
        let bias = self.weights.take(&format!("{name}.bias"), &[hidden])?;
        Ok(LayerNorm::new(&weight, &bias, self.config.layer_norm_eps, self.placement)?)
    }
}
