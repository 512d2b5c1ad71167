//! An adapter as tensors: what is added to the linear layers of the rows that carry it.

use engine::{Adapter, LowRank, Site};
use tch::{TchError, Tensor};

use crate::pooler::Pooler;
use crate::precision::Placement;
use crate::relative_position::PositionTables;

/// One adapter on the device.
#[derive(Debug)]
pub(crate) struct PlacedAdapter {
    /// One a layer of the encoder.
    pub(crate) layers: Vec<LayerAdditions>,
    /// In place of the encoder's.
    pub(crate) pooler: Option<Pooler>,
}

/// What an adapter changes of one layer.
#[derive(Debug, Default)]
pub(crate) struct LayerAdditions {
    /// With the score's scale in it.
    pub(crate) query: Option<Addition>,
    pub(crate) key: Option<Addition>,
    pub(crate) value: Option<Addition>,
    pub(crate) attention_output: Option<Addition>,
    pub(crate) intermediate: Option<Addition>,
    pub(crate) output: Option<Addition>,
    /// In place of the layer's, where the changed projections make the position terms too.
    pub(crate) positions: Option<PositionTables>,
}

/// A low-rank addition to a linear layer.
#[derive(Debug)]
pub(crate) struct Addition {
    /// `[rank, inputs]`.
    down: Tensor,
    /// `[rank, outputs]`.
    up: Tensor,
}

impl Addition {
    /// The addition `part`, times `scale`.
    fn new(part: &LowRank, scale: f64, placement: Placement) -> Result<Self, TchError> {
        let [down, up] = halves(part)?;
        let up = up.f_mul_scalar(scale)?.f_t_copy()?;
        Ok(Self { down: placement.place(&down)?, up: placement.place(&up)? })
    }

    /// Adds what it makes of `input`, `[tokens, inputs]`, to `output`, `[tokens, outputs]`, which may be a view.
    pub(crate) fn add(&self, input: &Tensor, output: &Tensor) -> Result<(), TchError> {
        let narrow = input.f_linear(&self.down, None::<Tensor>)?; // [tokens, rank]
        output.shallow_clone().f_addmm_(&narrow, &self.up).map(drop)
    }

    fn bytes(&self) -> usize {
        bytes_of(&self.down) + bytes_of(&self.up)
    }
}

impl LayerAdditions {
    /// What `adapter` adds to the linear layers of layer `index`; queries carry `query_scale`.
    pub(crate) fn new(
        adapter: &Adapter,
        index: usize,
        query_scale: f64,
        placement: Placement,
    ) -> Result<Self, TchError> {
        let addition = |site, scale| -> Result<Option<Addition>, TchError> {
            adapter.part(index, site).map(|part| Addition::new(part, scale, placement)).transpose()
        };
        Ok(Self {
            query: addition(Site::Query, query_scale)?,
            key: addition(Site::Key, 1.0)?,
            value: addition(Site::Value, 1.0)?,
            attention_output: addition(Site::AttentionOutput, 1.0)?,
            intermediate: addition(Site::Intermediate, 1.0)?,
            output: addition(Site::Output, 1.0)?,
            positions: None,
        })
    }

    /// Adds to the joined projections `[tokens, 3 * hidden]` of `input`, `[tokens, hidden]`.
    pub(crate) fn add_projections(&self, input: &Tensor, projected: &Tensor) -> Result<(), TchError> {
        let hidden = projected.size2()?.1 / 3;
        for (place, addition) in (0i64..).zip([&self.query, &self.key, &self.value]) {
            if let Some(addition) = addition {
                addition.add(input, &projected.f_narrow(1, place * hidden, hidden)?)?;
            }
        }
        Ok(())
    }

    /// Bytes of all tensors.
    pub(crate) fn bytes(&self) -> usize {
        let additions = [&self.query, &self.key, &self.value, &self.attention_output, &self.intermediate, &self.output];
        let additions: usize = additions.into_iter().flatten().map(Addition::bytes).sum();
        additions + self.positions.as_ref().map_or(0, PositionTables::bytes)
    }
}

/// What `part` adds to the projections of `rows`, `[2 * span, hidden]`, in fp32 on the processor, times `scale`.
pub(crate) fn projected_addition(
    part: Option<&LowRank>,
    rows: &Tensor,
    scale: f64,
) -> Result<Option<Tensor>, TchError> {
    let Some(part) = part else { return Ok(None) };
    let [down, up] = halves(part)?;
    let projected = rows.f_linear(&down, None::<Tensor>)?.f_linear(&up, None::<Tensor>)?; // [2 * span, hidden]
    projected.f_mul_scalar(scale).map(Some)
}

/// `down`, `[rank, inputs]`, and `up`, `[outputs, rank]`, in fp32 on the processor.
fn halves(part: &LowRank) -> Result<[Tensor; 2], TchError> {
    let matrix = |numbers: &[f32], rows: usize| {
        let rows = i64::try_from(rows).map_err(|_| TchError::Shape("too many rows".to_owned()))?;
        Tensor::f_from_slice(numbers)?.f_view([rows, -1])
    };
    Ok([matrix(part.down(), part.rank())?, matrix(part.up(), part.outputs())?])
}

pub(crate) fn bytes_of(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}
