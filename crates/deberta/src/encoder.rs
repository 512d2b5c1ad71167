//! The stack of layers over one set of relative embeddings, and how batches are laid out for it.

use std::rc::Rc;
use std::sync::Arc;

use engine::Adapter;
use tch::{TchError, Tensor};

use crate::adapters::{BatchAdapters, ReadyAdapters};
use crate::config::Config;
use crate::convolution::ConvolutionLayer;
use crate::error::LoadError;
use crate::fused::Fused;
use crate::graphs::Bucket;
use crate::layer::Layer;
use crate::layout::Layout;
use crate::loading::Loading;
use crate::packing::{Granularity, Packing};
use crate::placed_adapter::{LayerAdditions, PlacedAdapter};
use crate::pooler::Pooler;
use crate::precision::Placement;
use crate::relative_position::Diagonals;
use crate::weights::Weights;

/// The layers, and how far their position tables reach.
#[derive(Debug)]
pub(crate) struct Encoder {
    stack: Stack,
    diagonals: Option<Diagonals>,
    /// `[2 * span, hidden]`, normalised, in fp32 on the processor: what adapters' position tables are made of.
    relative_rows: Option<Tensor>,
    ready: ReadyAdapters<PlacedAdapter>,
    pub(crate) fused: Option<Rc<Fused>>,
    pub(crate) granularity: Granularity,
    config: Config,
    placement: Placement,
}

#[derive(Debug)]
struct Stack {
    layers: Vec<Layer>,
    convolution: Option<ConvolutionLayer>,
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
        let (config, placement) = (loading.config, loading.placement);
        let relative_rows = relative_rows(&mut loading.weights, config)?;
        let fused = Fused::open(config, placement);
        let diagonals = match config.relative {
            Some(relative) => {
                let tokens = config.max_position_embeddings.min(512);
                Some(Diagonals::reaching(&relative, tokens, placement.device)?.for_kernels(fused.is_some()))
            }
            None => None,
        };
        let mut layers = Vec::new();
        for index in 0..config.layers {
            layers.push(Layer::load(loading, index, relative_rows.as_ref(), diagonals.as_ref())?);
        }
        let convolution =
            config.convolution.map(|convolution| ConvolutionLayer::load(loading, convolution)).transpose()?;
        Ok(Self {
            stack: Stack { layers, convolution },
            diagonals,
            relative_rows,
            ready: ReadyAdapters::default(),
            fused,
            granularity: Granularity::of(placement.device),
            config: config.clone(),
            placement,
        })
    }

    /// Lays out rows of `lengths` tokens as this encoder is served best, in a bucket if small batches are recorded.
    /// Recordings and our own kernels know no adapters.
    pub(crate) fn pack(&self, lengths: &[usize], adapters: &BatchAdapters, is_recorded: bool) -> Packing {
        let is_recorded = is_recorded && adapters.is_empty();
        if self.fused.is_some() && adapters.is_empty() {
            return Packing::in_tiles(lengths, Bucket::packed(lengths).filter(|_| is_recorded));
        }
        match Bucket::padded(lengths).filter(|_| is_recorded) {
            Some(shape) => Packing::filled_up(lengths, shape),
            None => {
                let heads = usize::try_from(self.config.heads).unwrap_or(1);
                Packing::new(lengths, &adapters.of_row, heads, self.granularity)
            }
        }
    }

    /// `adapters` as tensors, for rows of up to `longest` tokens; `pooler` is the encoder's.
    pub(crate) fn place(
        &mut self,
        adapters: &[Arc<Adapter>],
        longest: i64,
        pooler: Option<&Pooler>,
    ) -> Result<Vec<Arc<PlacedAdapter>>, TchError> {
        self.reach(longest)?;
        let Self { stack, diagonals, relative_rows, ready, placement, .. } = self;
        let place = |adapter: &Adapter| {
            let layer = |layer: &Layer| layer.additions(adapter, relative_rows.as_ref(), diagonals.as_ref());
            let layers: Vec<_> = stack.layers.iter().map(layer).collect::<Result<_, _>>()?;
            let own = pooler.zip(adapter.pooler());
            let pooler = own.map(|(pooler, own)| pooler.replaced(own, *placement)).transpose()?;
            let of_pooler = adapter.pooler().map_or(0, |own| size_of_val(&*own.weight));
            let bytes = layers.iter().map(LayerAdditions::bytes).sum::<usize>() + of_pooler;
            Ok::<_, TchError>((PlacedAdapter { layers, pooler }, bytes))
        };
        adapters.iter().map(|adapter| ready.get(adapter, || place(adapter))).collect()
    }

    /// Runs the layers over `input`, `[tokens, hidden]`. Where only first tokens are read, the last layer computes
    /// nothing else.
    pub(crate) fn forward(&self, input: &Tensor, layout: &Layout, every: bool) -> Result<Hidden, TchError> {
        self.stack.forward(input, layout, every)
    }

    /// How far the tables reach, after making them reach `longest`.
    pub(crate) fn reach(&mut self, longest: i64) -> Result<i64, TchError> {
        let (Some(relative), Some(diagonals)) = (self.config.relative, &self.diagonals) else { return Ok(longest) };
        if longest <= diagonals.reach {
            return Ok(diagonals.reach);
        }
        let wider = Diagonals::reaching(&relative, longest, self.placement.device)?.for_kernels(self.fused.is_some());
        for layer in &mut self.stack.layers {
            layer.extend(&wider)?;
        }
        self.ready.clear();
        let reach = wider.reach;
        self.diagonals = Some(wider);
        Ok(reach)
    }
}

impl Stack {
    fn forward(&self, input: &Tensor, layout: &Layout, every: bool) -> Result<Hidden, TchError> {
        let Some((last, before)) = self.layers.split_last() else {
            return Err(TchError::Shape("an encoder without layers".to_owned()));
        };
        let mut hidden = None;
        for (index, layer) in before.iter().enumerate() {
            let mut output = layer.forward(hidden.as_ref().unwrap_or(input), layout)?;
            if let Some(convolution) = self.convolution.as_ref().filter(|_| index == 0) {
                output = convolution.forward(input, &output, layout)?;
            }
            hidden = Some(output);
        }
        let hidden = hidden.as_ref().unwrap_or(input);
        // With a single layer the convolution follows the last layer, and wants all of it.
        let convolution_is_last = self.convolution.as_ref().filter(|_| before.is_empty());
        if !every && convolution_is_last.is_none() {
            return Ok(Hidden { first: last.forward_first(hidden, layout)?, every: None });
        }
        let mut every = last.forward(hidden, layout)?;
        if let Some(convolution) = convolution_is_last {
            every = convolution.forward(input, &every, layout)?;
        }
        Ok(Hidden { first: every.f_index_select(0, &layout.first_tokens)?, every: Some(every) })
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
