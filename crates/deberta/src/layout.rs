//! What the layers need to know of a batch, on the device.

use std::sync::Arc;

use tch::{Kind, TchError, Tensor};

use crate::fused::FusedBatch;
use crate::packing::Group;
use crate::placed_adapter::{Addition, LayerAdditions, PlacedAdapter};

/// Where rows lie and what of them is padding.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Runs of equal length.
    pub(crate) groups: Vec<Group>,
    /// `[rows]` in i32, each row's first place in `[tokens, ..]`.
    pub(crate) first_tokens: Tensor,
    /// How far the position tables reach.
    pub(crate) reach: i64,
    /// `[tokens]`, 0 for tokens and minus infinity for padding; absent where no row is padded.
    pub(crate) padding: Option<Tensor>,
    /// The adapters that groups name.
    pub(crate) adapters: Vec<Arc<PlacedAdapter>>,
    /// Where our own kernels take the batch; there are no groups then.
    pub(crate) fused: Option<FusedBatch>,
}

/// What a tensor of a batch has a row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Every token.
    Tokens,
    /// Every row's first token.
    Rows,
}

impl Layout {
    /// What attention adds to the scores of a group's keys, `[rows, 1, 1, length]`, where any of its rows is padded.
    pub(crate) fn padding_of(&self, group: Group) -> Result<Option<Tensor>, TchError> {
        match &self.padding {
            Some(padding) if group.is_padded => group.of(padding)?.f_view([group.rows, 1, 1, group.length]).map(Some),
            _ => Ok(None),
        }
    }

    /// What the adapter of `group` changes of layer `layer`.
    pub(crate) fn additions_of(&self, group: Group, layer: usize) -> Option<&LayerAdditions> {
        self.adapters.get(group.adapter?)?.layers.get(layer)
    }

    /// The groups whose adapter changes what `part` picks of layer `layer`.
    pub(crate) fn adapted<'a, T>(
        &'a self,
        layer: usize,
        part: impl Fn(&'a LayerAdditions) -> Option<T> + 'a,
    ) -> impl Iterator<Item = (Group, T)> + 'a {
        self.groups.iter().filter_map(move |group| Some((*group, part(self.additions_of(*group, layer)?)?)))
    }

    /// Adds what adapters make of `input` at one linear layer to its `output`; both have a row for each of `extent`.
    pub(crate) fn add<'a>(
        &'a self,
        (layer, part): (usize, impl Fn(&'a LayerAdditions) -> Option<&'a Addition> + 'a),
        (input, output): (&Tensor, &Tensor),
        extent: Extent,
    ) -> Result<(), TchError> {
        for (group, addition) in self.adapted(layer, part) {
            let own = |tensor: &Tensor| match extent {
                Extent::Tokens => group.of(tensor),
                Extent::Rows => group.rows_of(tensor),
            };
            addition.add(&own(input)?, &own(output)?)?;
        }
        Ok(())
    }

    /// `states`, `[tokens, ..]`, with padding set to zero; nothing where there is none.
    pub(crate) fn silenced(&self, states: &Tensor) -> Result<Option<Tensor>, TchError> {
        let Some(padding) = &self.padding else { return Ok(None) };
        let is_padding = padding.f_to_kind(Kind::Float)?.f_isinf()?.f_unsqueeze(1)?; // [tokens, 1]
        states.f_masked_fill(&is_padding, 0.0).map(Some)
    }
}
