//! Token ids to the encoder's input: word rows, the task embedding at position 0, positions, types, normalisation.

use engine::Row;
use tch::{Kind, TchError, Tensor};

use crate::error::LoadError;
use crate::linear::LayerNorm;
use crate::loading::Loading;
use crate::packing::Packing;
use crate::precision::Placement;

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

    /// The input of the first layer, `[tokens, hidden]`, for checked rows. Spare rows at the end hold token 0.
    pub(crate) fn forward(&self, rows: &[Row], packing: &Packing) -> Result<Tensor, TchError> {
        let packed = || packing.order.iter().map(|row| &rows[*row]);
        let ids = packed().flat_map(|row| row.tokens.ids.iter().copied());
        let mut sum = self.rows_of(&self.words, ids, packing)?; // [tokens, embedding]
        self.add_task_embeddings(&mut sum, rows, packing)?;
        if let Some(positions) = &self.positions {
            let position_ids = packed().flat_map(|row| (0u32..).take(row.tokens.len()));
            sum = sum.f_add(&self.rows_of(positions, position_ids, packing)?)?;
        }
        if let Some(types) = &self.types {
            let type_ids = packed().flat_map(|row| {
                let given = row.tokens.type_ids.iter().copied();
                given.chain(std::iter::repeat(0)).take(row.tokens.len())
            });
            sum = sum.f_add(&self.rows_of(types, type_ids, packing)?)?;
        }
        if let Some(projection) = &self.projection {
            sum = sum.f_linear(projection, None::<Tensor>)?; // [tokens, hidden]
        }
        self.norm.forward(&sum)?.f_to_kind(self.placement.kind)
    }

    fn rows_of(
        &self,
        table: &Tensor,
        indices: impl Iterator<Item = u32>,
        packing: &Packing,
    ) -> Result<Tensor, TchError> {
        let mut indices: Vec<i64> = indices.map(i64::from).collect();
        indices.resize(usize::try_from(packing.padded_tokens).unwrap_or_default(), 0);
        let indices = Tensor::f_from_slice(&indices)?.f_to_device(self.placement.device)?;
        table.f_index_select(0, &indices)?.f_to_kind(Kind::Float)
    }

    /// Adds each row's task embedding to its first token, by position and never by token id: a text that spells out
    /// `[CLS]` keeps that token unshifted.
    fn add_task_embeddings(&self, sum: &mut Tensor, rows: &[Row], packing: &Packing) -> Result<(), TchError> {
        let mut tokens = Vec::new();
        let mut values = Vec::new();
        for (row, first_token) in packing.order.iter().zip(&packing.first_tokens) {
            if let Some(task_embedding) = &rows[*row].task_embedding {
                tokens.push(*first_token);
                values.extend_from_slice(task_embedding);
            }
        }
        if tokens.is_empty() {
            return Ok(());
        }
        let tokens = Tensor::f_from_slice(&tokens)?.f_to_device(self.placement.device)?;
        let values = Tensor::f_from_slice(&values)?.f_to_device(self.placement.device)?;
        let values = values.f_view([-1, self.embedding])?; // [rows with one, embedding]
        sum.f_index_add_(0, &tokens, &values).map(drop)
    }
}
