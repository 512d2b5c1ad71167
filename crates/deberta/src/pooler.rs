//! The pooler: what sequence heads read, a dense layer over each row's first token. In fp32 in every mode.

use engine::OwnPooler;
use tch::{Kind, TchError, Tensor};

use crate::activation::Activation;
use crate::error::LoadError;
use crate::linear::Linear;
use crate::loading::Loading;
use crate::precision::Placement;

/// The dense layer and its activation.
#[derive(Debug)]
pub(crate) struct Pooler {
    dense: Linear,
    activation: Activation,
}

impl Pooler {
    /// The pooler, if the weights hold one: bare encoders and token classifiers do without.
    pub(crate) fn load(loading: &mut Loading<'_>) -> Result<Option<Self>, LoadError> {
        if !loading.weights.has("pooler.dense.weight") && !loading.weights.has("pooler.dense.bias") {
            return Ok(None);
        }
        let hidden = loading.config.hidden;
        let (weight, bias) = loading.plain("pooler.dense", hidden, hidden)?;
        let exact = Placement { kind: Kind::Float, ..loading.placement };
        let dense = Linear::new(&weight, Some(&bias), exact)?;
        Ok(Some(Self { dense, activation: loading.config.pooler_activation }))
    }

    /// The pooler `own` in place of this one, on the device of `placement`.
    pub(crate) fn replaced(&self, own: &OwnPooler, placement: Placement) -> Result<Self, TchError> {
        let bias = Tensor::f_from_slice(&own.bias)?;
        let hidden = bias.size1()?;
        let weight = Tensor::f_from_slice(&own.weight)?.f_view([hidden, hidden])?;
        let exact = Placement { kind: Kind::Float, ..placement };
        Ok(Self { dense: Linear::new(&weight, Some(&bias), exact)?, activation: self.activation })
    }

    /// `[rows, hidden]` in fp32 to `[rows, hidden]` in fp32.
    pub(crate) fn forward(&self, first: &Tensor) -> Result<Tensor, TchError> {
        self.dense.forward_activated(first, self.activation)
    }
}
