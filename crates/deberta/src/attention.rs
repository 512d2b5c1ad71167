//! Disentangled self-attention: content to content, content to position, position to content.

use engine::{Adapter, Site};
use tch::{TchError, Tensor};

use crate::error::LoadError;
use crate::fused::Answered;
use crate::layout::Layout;
use crate::linear::Linear;
use crate::loading::Loading;
use crate::packing::{Group, Packing};
use crate::placed_adapter::{LayerAdditions, projected_addition};
use crate::precision::Placement;
use crate::relative_position::{Diagonals, PositionTables, Shape};
use crate::tensors::unsigned;

/// The fused attention of GPUs takes heads whose size is a multiple of this, in every element type.
const ALIGNED_HEAD: i64 = 8;

/// The attention of one layer up to the mixed values; its output projection belongs to the layer.
#[derive(Debug)]
pub(crate) struct Attention {
    /// Queries, keys and values in one product, `[3 * hidden, hidden]`; the queries carry the score's scale.
    queries_keys_values: Linear,
    positions: Option<PositionTables>,
    /// Whether the position terms come out of the projections of the content.
    shares_projections: bool,
    /// In the queries.
    scale: f64,
    heads: i64,
    head_size: i64,
    /// The layer's number, from 0.
    layer: usize,
    placement: Placement,
    differentiable: bool,
}

impl Attention {
    /// Loads layer `layer`'s attention. `relative_rows` are the (normalised) relative embeddings, `[2 * span, hidden]`.
    pub(crate) fn load(
        loading: &mut Loading<'_>,
        layer: i64,
        relative_rows: Option<&Tensor>,
        diagonals: Option<&Diagonals>,
    ) -> Result<Self, LoadError> {
        let (config, placement) = (loading.config, loading.placement);
        let (hidden, heads, head_size) = (config.hidden, config.heads, config.head_size);
        let scale = 1.0 / config.score_scale();
        let name = |projection: &str| format!("encoder.layer.{layer}.attention.self.{projection}");
        let scaled = |(weight, bias): (Tensor, Tensor)| -> Result<(Tensor, Tensor), TchError> {
            Ok((weight.f_mul_scalar(scale)?, bias.f_mul_scalar(scale)?))
        };
        let query = scaled(loading.plain(&name("query_proj"), hidden, hidden)?)?;
        let key = loading.plain(&name("key_proj"), hidden, hidden)?;
        let value = loading.plain(&name("value_proj"), hidden, hidden)?;

        let positions = match (config.relative, relative_rows, diagonals) {
            (Some(relative), Some(rows), Some(diagonals)) => {
                let projected = |projection: &(Tensor, Tensor)| -> Result<Tensor, TchError> {
                    let all_heads = rows.f_linear(&projection.0, Some(&projection.1))?; // [2 * span, hidden]
                    let by_head = all_heads.f_view([-1, heads, head_size])?;
                    placement.place(&by_head.f_permute([1, 2, 0])?) // [heads, head_size, 2 * span]
                };
                let keys = match (config.content_to_position, relative.shared) {
                    (false, _) => None,
                    (true, true) => Some(projected(&key)?),
                    (true, false) => Some(projected(&loading.plain(&name("pos_key_proj"), hidden, hidden)?)?),
                };
                let queries = match (config.position_to_content, relative.shared) {
                    (false, _) => None,
                    (true, true) => Some(projected(&query)?),
                    (true, false) => {
                        let own = scaled(loading.plain(&name("pos_query_proj"), hidden, hidden)?)?;
                        Some(projected(&own)?)
                    }
                };
                Some(PositionTables::new(keys, queries, diagonals)?)
            }
            _ => None,
        };

        let weight = Tensor::f_cat(&[&query.0, &key.0, &value.0], 0)?;
        let bias = Tensor::f_cat(&[&query.1, &key.1, &value.1], 0)?;
        let queries_keys_values = Linear::new(&weight, Some(&bias), placement)?;
        Ok(Self {
            queries_keys_values,
            positions,
            shares_projections: config.relative.is_some_and(|relative| relative.shared),
            scale,
            heads,
            head_size,
            layer: unsigned(layer),
            placement,
            differentiable: placement.differentiable,
        })
    }

    /// What `adapter` changes of this layer, its feed-forward pair included. `relative_rows` as in [`Attention::load`].
    pub(crate) fn additions(
        &self,
        adapter: &Adapter,
        relative_rows: Option<&Tensor>,
        diagonals: Option<&Diagonals>,
    ) -> Result<LayerAdditions, TchError> {
        let mut additions = LayerAdditions::new(adapter, self.layer, self.scale, self.placement)?;
        if let (Some(positions), Some(rows), Some(diagonals), true) =
            (&self.positions, relative_rows, diagonals, self.shares_projections)
        {
            let (query, key) = (adapter.part(self.layer, Site::Query), adapter.part(self.layer, Site::Key));
            let by_head = |added: Option<Tensor>| -> Result<Option<Tensor>, TchError> {
                let Some(added) = added else { return Ok(None) };
                added.f_view([-1, self.heads, self.head_size])?.f_permute([1, 2, 0]).map(Some)
            };
            let keys = by_head(projected_addition(key, rows, 1.0)?)?;
            let queries = by_head(projected_addition(query, rows, self.scale)?)?;
            additions.positions = positions.plus(keys, queries, diagonals)?;
        }
        Ok(additions)
    }

    /// The position tables of `group`: the layer's, or those of the group's adapter.
    fn positions_of<'a>(&'a self, group: Group, layout: &'a Layout) -> Option<&'a PositionTables> {
        let own = layout.additions_of(group, self.layer).and_then(|own| own.positions.as_ref());
        own.or(self.positions.as_ref())
    }

    /// Queries, keys and values of every token, side by side: `[tokens, 3 * hidden]`.
    fn project(&self, input: &Tensor, layout: &Layout) -> Result<Tensor, TchError> {
        let projected = self.queries_keys_values.forward(input)?;
        for (group, additions) in layout.adapted(self.layer, Some) {
            additions.add_projections(&group.of(input)?, &group.of(&projected)?)?;
        }
        Ok(projected)
    }

    /// Makes the position tables serve other `diagonals`.
    pub(crate) fn extend(&mut self, diagonals: &Diagonals) -> Result<(), TchError> {
        self.positions.as_mut().map_or(Ok(()), |positions| positions.extend(diagonals))
    }

    /// Every token's mixed values: `[tokens, hidden]` to `[tokens, hidden]`; spare rows hold anything.
    pub(crate) fn forward(&self, input: &Tensor, layout: &Layout) -> Result<Tensor, TchError> {
        let projected = self.project(input, layout)?;
        if let Some(fused) = &layout.fused {
            return fused.attend(&projected, self.positions.as_ref(), Answered::Every);
        }
        let mixed = layout.groups.iter().map(|group| self.mix(&projected, *group, layout));
        Packing::join(mixed.collect::<Result<_, _>>()?, input)
    }

    /// The mixed values of every row's first token only: `[tokens, hidden]` to `[rows, hidden]`.
    pub(crate) fn forward_first(&self, input: &Tensor, layout: &Layout) -> Result<Tensor, TchError> {
        let projected = self.project(input, layout)?;
        if let Some(fused) = &layout.fused {
            return fused.attend(&projected, self.positions.as_ref(), Answered::First);
        }
        let mixed = layout.groups.iter().map(|group| self.mix_first(&projected, *group, layout));
        let mixed: Vec<Tensor> = mixed.collect::<Result<_, _>>()?;
        Tensor::f_cat(&mixed, 0)
    }

    fn mix(&self, projected: &Tensor, group: Group, layout: &Layout) -> Result<Tensor, TchError> {
        let [queries, keys, values] = self.by_row(&group.of(projected)?, group)?;
        let scores = match self.positions_of(group, layout) {
            Some(positions) => {
                let (queries, keys) = (queries.f_transpose(0, 1)?, keys.f_transpose(0, 1)?);
                positions.scores(&queries, &keys, self.shape(group, layout))?
            }
            None => None,
        };
        let bias = self.masked(scores, group, group.length, layout)?;
        self.attend(&queries, &keys, &values, bias)
    }

    fn mix_first(&self, projected: &Tensor, group: Group, layout: &Layout) -> Result<Tensor, TchError> {
        let [queries, keys, values] = self.by_row(&group.of(projected)?, group)?;
        let queries = queries.f_narrow(2, 0, 1)?; // [rows, heads, 1, head_size]
        let scores = match self.positions_of(group, layout) {
            Some(positions) => positions.first_scores(&queries, &keys, self.shape(group, layout))?,
            None => None,
        };
        let bias = self.masked(scores, group, 1, layout)?;
        self.attend(&queries, &keys, &values, bias)
    }

    /// Queries, keys and values of one group, each `[rows, heads, length, head_size]`: views, not copies.
    fn by_row(&self, projected: &Tensor, group: Group) -> Result<[Tensor; 3], TchError> {
        let parts = projected.f_view([group.rows, group.length, 3, self.heads, self.head_size])?;
        let part = |index: i64| parts.f_select(2, index)?.f_permute([0, 2, 1, 3]);
        Ok([part(0)?, part(1)?, part(2)?])
    }

    /// `scores`, `[rows, heads, queries, length]`, with the padding of the group's rows out of sight.
    fn masked(
        &self,
        scores: Option<Tensor>,
        group: Group,
        queries: i64,
        layout: &Layout,
    ) -> Result<Option<Tensor>, TchError> {
        let Some(padding) = layout.padding_of(group)? else { return Ok(scores) };
        match scores {
            Some(mut scores) => scores.f_add_(&padding).map(Some),
            None => padding.f_expand([group.rows, self.heads, queries, group.length], false).map(Some),
        }
    }

    /// Softmax over content scores plus `bias`, times the values: `[rows * queries, hidden]`.
    fn attend(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        bias: Option<Tensor>,
    ) -> Result<Tensor, TchError> {
        let is_fused = queries.device() != tch::Device::Cpu && self.head_size % ALIGNED_HEAD == 0;
        let mixed = if is_fused && !self.differentiable {
            // By name, because libtorch would choose cuDNN, which plans anew for every shape. This one reads the bias where
            // it lies if its strides are multiples of 16: lengths on a GPU are.
            let (mixed, ..) = Tensor::f_internal_scaled_dot_product_efficient_attention(
                queries, keys, values, bias, false, 0.0, false, 1.0,
            )?;
            mixed
        } else {
            Tensor::f_scaled_dot_product_attention(queries, keys, values, bias, 0.0, false, 1.0, false)?
        };
        mixed.f_permute([0, 2, 1, 3])?.f_reshape([-1, self.heads * self.head_size])
    }

    fn shape(&self, group: Group, layout: &Layout) -> Shape {
        Shape { rows: group.rows, heads: self.heads, length: group.length, reach: layout.reach }
    }
}
