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

    /// Where the tables lie.
    pub(crate) fn placement(&self) -> Placement {
        self.placement
    }

    /// The input of the first layer, `[tokens, hidden]`, for checked rows. Padding and spare rows hold token 0.
    pub(crate) fn forward(&self, rows: &[Row], packing: &Packing) -> Result<Tensor, TchError> {
        self.sum(rows, packing, |sum| self.add_task_embeddings(sum, rows, packing))
    }

    /// The same where every row carries `task_embedding`, `[embedding]`, which may want a gradient.
    pub(crate) fn forward_with(
        &self,
        rows: &[Row],
        packing: &Packing,
        task_embedding: &Tensor,
    ) -> Result<Tensor, TchError> {
        self.sum(rows, packing, |sum| {
            let tokens = self.placement.copy_of(&packing.first_tokens[..rows.len()])?;
            let values = task_embedding.f_unsqueeze(0)?.f_expand([rows.len() as i64, self.embedding], false)?;
            *sum = sum.f_index_add(0, &tokens, &values)?;
            Ok(())
        })
    }

    fn sum(
        &self,
        rows: &[Row],
        packing: &Packing,
        add_task_embeddings: impl FnOnce(&mut Tensor) -> Result<(), TchError>,
    ) -> Result<Tensor, TchError> {
        let ids = packing.lay_out(0, |row| rows[row].tokens.ids.iter().copied().map(i64::from));
        let mut sum = self.rows_of(&self.words, &ids)?; // [tokens, embedding]
        add_task_embeddings(&mut sum)?;
        if let Some(positions) = &self.positions {
            let position_ids = packing.lay_out(0, |row| (0i64..).take(rows[row].tokens.len()));
            sum = sum.f_add(&self.rows_of(positions, &position_ids)?)?;
        }
        if let Some(types) = &self.types {
            let type_ids = packing.lay_out(0, |row| rows[row].tokens.type_ids.iter().copied().map(i64::from));
            sum = sum.f_add(&self.rows_of(types, &type_ids)?)?;
        }
        if let Some(projection) = &self.projection {
            sum = sum.f_linear(projection, None::<Tensor>)?; // [tokens, hidden]
        }
        self.norm.forward(&sum)?.f_to_kind(self.placement.kind)
    }

    fn rows_of(&self, table: &Tensor, indices: &[i64]) -> Result<Tensor, TchError> {
        let indices = self.placement.copy_of(indices)?;
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
        let tokens = self.placement.copy_of(&tokens)?;
        let values = self.placement.copy_of(&values)?;
        let values = values.f_view([-1, self.embedding])?; // [rows with one, embedding]
        sum.f_index_add_(0, &tokens, &values).map(drop)
    }
}
