//! Token ids to the encoder's input: word rows, the task embedding at position 0, positions, types, normalisation.

use tch::{Kind, TchError, Tensor};

use crate::batch::{Batch, Inputs};
use crate::error::LoadError;
use crate::linear::LayerNorm;
use crate::loading::Loading;
use crate::precision::Placement;
use crate::tensors::unsigned;

/// The tables of the input. Sums are in fp32 in every mode.
#[derive(Debug)]
pub(crate) struct Embeddings {
    /// `[vocabulary, embedding]`.
    words: Tensor,
    /// `[positions, embedding]`.
    positions: Option<Tensor>,
    /// `[types, embedding]`.
    types: Option<Tensor>,
    /// `[hidden, embedding]`.
    projection: Option<Tensor>,
    norm: LayerNorm,
    embedding: i64,
    placement: Placement,
}

impl Embeddings {
    pub(crate) fn load(loading: &mut Loading<'_>) -> Result<Self, LoadError> {
        let (config, placement) = (loading.config, loading.placement);
        let embedding = config.embedding;
        let weights = &mut loading.weights;
        let mut table = |name: &str, rows: i64| -> Result<Tensor, LoadError> {
            let rows = weights.take(&format!("embeddings.{name}.weight"), &[rows, embedding])?;
            Ok(placement.place(&rows)?)
        };
        let words = table("word_embeddings", config.vocabulary)?;
        let positions = config.absolute_positions.map(|rows| table("position_embeddings", rows)).transpose()?;
        let has_types = config.token_types > 0;
        let types = has_types.then(|| table("token_type_embeddings", config.token_types)).transpose()?;
        let projection = if embedding == config.hidden {
            None
        } else {
            let weight = weights.take("embeddings.embed_proj.weight", &[config.hidden, embedding])?;
            Some(placement.place_exact(&weight)?)
        };
        if positions.is_none() {
            weights.ignore("embeddings.position_embeddings.weight");
        }
        let exact = Placement { kind: Kind::Float, ..placement };
        let weight = weights.take("embeddings.LayerNorm.weight", &[config.hidden])?;
        let bias = weights.take("embeddings.LayerNorm.bias", &[config.hidden])?;
        let norm = LayerNorm::new(&weight, &bias, config.layer_norm_eps, exact)?;
        Ok(Self { words, positions, types, projection, norm, embedding, placement })
    }

    /// Where the tables lie.
    pub(crate) fn placement(&self) -> Placement {
        self.placement
    }

    /// What these tables read of a row.
    pub(crate) fn inputs(&self) -> Inputs {
        let (positions, types) = (self.positions.is_some(), self.types.is_some());
        Inputs { positions, types, embedding: unsigned(self.embedding) }
    }

    /// The input of the first layer, `[tokens, hidden]`.
    ///
    /// A task embedding is added to its row's first token, by position and never by token id: a text that spells out
    /// `[CLS]` keeps that token unshifted.
    pub(crate) fn forward(&self, batch: &Batch) -> Result<Tensor, TchError> {
        let mut sum = rows_of(&self.words, &batch.ids)?; // [tokens, embedding]
        if let Some(task_embeddings) = &batch.task_embeddings {
            sum = sum.f_index_add(0, &batch.layout.first_tokens, task_embeddings)?;
        }
        for (table, ids) in [(&self.positions, &batch.positions), (&self.types, &batch.types)] {
            if let (Some(table), Some(ids)) = (table, ids) {
                sum = sum.f_add(&rows_of(table, ids)?)?;
            }
        }
        if let Some(projection) = &self.projection {
            sum = sum.f_linear(projection, None::<Tensor>)?; // [tokens, hidden]
        }
        self.norm.forward(&sum)?.f_to_kind(self.placement.kind)
    }
}

fn rows_of(table: &Tensor, indices: &Tensor) -> Result<Tensor, TchError> {
    table.f_index_select(0, indices)?.f_to_kind(Kind::Float)
}
