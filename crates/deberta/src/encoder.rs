//! The stack of layers over one set of relative embeddings.

use tch::{TchError, Tensor};

use crate::config::Config;
use crate::convolution::ConvolutionLayer;
use crate::error::LoadError;
use crate::layer::Layer;
use crate::loading::Loading;
use crate::packing::Packing;
use crate::relative_position::Diagonals;
use crate::weights::Weights;

/// The layers, and how far their position tables reach.
#[derive(Debug)]
pub(crate) struct Encoder {
    layers: Vec<Layer>,
    convolution: Option<ConvolutionLayer>,
    diagonals: Option<Diagonals>,
    config: Config,
    device: tch::Device,
}

/// The last layer's output.
#[derive(Debug)]
pub(crate) struct Hidden {
    /// `[rows, hidden]`, in packed order.
    pub(crate) first: Tensor,
    /// `[tokens, hidden]`, where every token was asked for.
    pub(crate) every: Option<Tensor>,
}

impl Encoder {
    pub(crate) fn load(loading: &mut Loading<'_>) -> Result<Self, LoadError> {
        let config = loading.config;
        let relative_rows = relative_rows(&mut loading.weights, config)?;
        let device = loading.placement.device;
        let diagonals = match config.relative {
            Some(relative) => Some(Diagonals::reaching(&relative, config.max_position_embeddings.min(512), device)?),
            None => None,
        };
        let mut layers = Vec::new();
        for index in 0..config.layers {
            layers.push(Layer::load(loading, index, relative_rows.as_ref(), diagonals.as_ref())?);
        }
        let convolution =
            config.convolution.map(|convolution| ConvolutionLayer::load(loading, convolution)).transpose()?;
        Ok(Self { layers, convolution, diagonals, config: config.clone(), device })
    }

    /// Runs the layers over `input`, `[tokens, hidden]`. Where only first tokens are read, the last layer computes
    /// nothing else.
    pub(crate) fn forward(&mut self, input: &Tensor, packing: &Packing, every: bool) -> Result<Hidden, TchError> {
        let reach = self.reach(packing.longest())?;
        let first_tokens = Tensor::f_from_slice(&packing.first_tokens)?.f_to_device(self.device)?;
        let Some((last, before)) = self.layers.split_last() else {
            return Err(TchError::Shape("an encoder without layers".to_owned()));
        };
        let mut hidden = None;
        for (index, layer) in before.iter().enumerate() {
            let mut output = layer.forward(hidden.as_ref().unwrap_or(input), packing, reach)?;
            if let Some(convolution) = self.convolution.as_ref().filter(|_| index == 0) {
                output = convolution.forward(input, &output, packing)?;
            }
            hidden = Some(output);
        }
        let hidden = hidden.as_ref().unwrap_or(input);
        // With a single layer the convolution follows the last layer, and wants all of it.
        let convolution_is_last = self.convolution.as_ref().filter(|_| before.is_empty());
        if !every && convolution_is_last.is_none() {
            let first = last.forward_first(hidden, &first_tokens, packing, reach)?;
            return Ok(Hidden { first, every: None });
        }
        let mut every = last.forward(hidden, packing, reach)?;
        if let Some(convolution) = convolution_is_last {
            every = convolution.forward(input, &every, packing)?;
        }
        Ok(Hidden { first: every.f_index_select(0, &first_tokens)?, every: Some(every) })
    }

    /// How far the tables reach, after making them reach `longest`.
    fn reach(&mut self, longest: i64) -> Result<i64, TchError> {
        let (Some(relative), Some(diagonals)) = (self.config.relative, &self.diagonals) else { return Ok(longest) };
        if longest <= diagonals.reach {
            return Ok(diagonals.reach);
        }
        let wider = Diagonals::reaching(&relative, longest, self.device)?;
        for layer in &mut self.layers {
            layer.extend(&wider)?;
        }
        let reach = wider.reach;
        self.diagonals = Some(wider);
        Ok(reach)
    }
}

/// `rel_embeddings` with their normalisation, `[2 * span, hidden]`, in fp32 on the processor.
pub(crate) fn relative_rows(weights: &mut Weights, config: &Config) -> Result<Option<Tensor>, LoadError> {
    let mut norm = None;
    if config.norm_relative {
        let weight = weights.take("encoder.LayerNorm.weight", &[config.hidden])?;
        let bias = weights.take("encoder.LayerNorm.bias", &[config.hidden])?;
        norm = Some((weight, bias));
    }
    let Some(relative) = config.relative else { return Ok(None) };
    let rows = weights.take("encoder.rel_embeddings.weight", &[2 * relative.span, config.hidden])?;
    let Some((weight, bias)) = norm else { return Ok(Some(rows)) };
    let normed = rows.f_layer_norm([config.hidden], Some(&weight), Some(&bias), config.layer_norm_eps, false)?;
    Ok(Some(normed))
}
