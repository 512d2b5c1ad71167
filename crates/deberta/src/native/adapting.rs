//! Adapters as our own kernels take them: made ready when a row first brings one, and shared by all models of a source.

use std::sync::{Arc, Mutex, PoisonError};

use engine::{Adapter, LowRank, OwnPooler, Site};
use kernels::{Dense, Factors, LayerFactors, SharedWeights};
use tch::{TchError, Tensor};

use crate::adapters::{BatchAdapters, ReadyAdapters};
use crate::config::Config;
use crate::placed_adapter::projected_addition;
use crate::tensors::{on_host, unsigned};

/// What adapters are made from, and those that are ready.
#[derive(Debug)]
pub(crate) struct Adapting {
    layers: usize,
    /// In the queries.
    scale: f64,
    content_to_position: bool,
    position_to_content: bool,
    /// `[2 * span, hidden]`, normalised, where the position terms come out of the projections of the content.
    relative_rows: Option<Rows>,
    ready: Mutex<ReadyAdapters<kernels::Adapter>>,
}

/// Numbers of a matrix and its width.
#[derive(Debug)]
struct Rows {
    numbers: Vec<f32>,
    width: i64,
}

impl Adapting {
    /// For an encoder of `config` with (normalised) relative embeddings `relative_rows`, `[2 * span, hidden]`.
    ///
    /// # Errors
    /// If those cannot be read.
    pub(super) fn new(config: &Config, relative_rows: Option<Tensor>) -> Result<Self, TchError> {
        let shares = config.relative.is_some_and(|relative| relative.shared);
        let relative_rows = match relative_rows.filter(|_| shares) {
            Some(rows) => Some(Rows { numbers: on_host(&rows)?, width: config.hidden }),
            None => None,
        };
        Ok(Self {
            layers: unsigned(config.layers),
            scale: 1.0 / config.score_scale(),
            content_to_position: config.content_to_position,
            position_to_content: config.position_to_content,
            relative_rows,
            ready: Mutex::default(),
        })
    }

    /// The adapters of `batch`, for encoders on `weights`.
    ///
    /// # Errors
    /// If the products of the position tables fail.
    pub(super) fn ready(
        &self,
        weights: &SharedWeights,
        batch: &BatchAdapters,
    ) -> Result<Vec<Arc<kernels::Adapter>>, TchError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        // A failure leaves what was ready before.
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |adapter: &Arc<Adapter>| {
            ready.get(adapter, || {
                let made = self.make(weights, adapter)?;
                let bytes = made.bytes();
                Ok((made, bytes))
            })
        };
        batch.distinct.iter().map(one).collect()
    }

    fn make(&self, weights: &SharedWeights, adapter: &Adapter) -> Result<kernels::Adapter, TchError> {
        let rows = match &self.relative_rows {
            Some(rows) => Some(Tensor::f_from_slice(&rows.numbers)?.f_view([-1, rows.width])?),
            None => None,
        };
        let layers: Vec<LayerFactors> =
            (0..self.layers).map(|layer| self.layer(adapter, layer, rows.as_ref())).collect::<Result<_, _>>()?;
        let pooler =
            adapter.pooler().map(|OwnPooler { weight, bias }| Dense { weight: weight.to_vec(), bias: bias.to_vec() });
        Ok(weights.adapter(&layers, pooler.as_ref()))
    }

    fn layer(&self, adapter: &Adapter, layer: usize, rows: Option<&Tensor>) -> Result<LayerFactors, TchError> {
        let part = |site| adapter.part(layer, site);
        let factors = |site| part(site).map(|part| factors(part, 1.0));
        let positions = |site, used: bool, scale: f64| -> Result<Option<Vec<f32>>, TchError> {
            let Some(rows) = rows.filter(|_| used) else { return Ok(None) };
            projected_addition(part(site), rows, scale)?.map(|added| on_host(&added)).transpose()
        };
        Ok(LayerFactors {
            query: part(Site::Query).map(|part| self::factors(part, self.scale)),
            key: factors(Site::Key),
            value: factors(Site::Value),
            attention_output: factors(Site::AttentionOutput),
            intermediate: factors(Site::Intermediate),
            output: factors(Site::Output),
            position_keys: positions(Site::Key, self.content_to_position, 1.0)?,
            position_queries: positions(Site::Query, self.position_to_content, self.scale)?,
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the scale is an fp32 number in the reference")]
fn factors(part: &LowRank, scale: f64) -> Factors {
    let up = part.up().iter().map(|number| number * scale as f32).collect();
    Factors { rank: part.rank(), down: part.down().to_vec(), up }
}
