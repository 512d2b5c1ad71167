//! Relative positions: which row of the table a distance uses, and each layer's projections of those rows.
//!
//! A score's position terms depend on the distance alone, so they lie on diagonals. A table here has one column a
//! diagonal, in the order in which a skewed view of the product reads them: no index tensor, no gather.

use tch::{Kind, TchError, Tensor};

use crate::config::Relative;
use crate::placed_adapter::bytes_of;

/// Reaches are multiples of this: longer rows than before make the tables grow rarely.
const REACH_STEP: i64 = 256;

/// Rows up to this length meet all their diagonals in one product.
const WHOLE_LENGTH: i64 = 256;
/// Tokens of a longer row that share a product.
const BLOCK_TOKENS: usize = 64;

/// The row of `rel_embeddings` for a distance of `query - key` positions.
///
/// The arithmetic follows the reference operation by operation, in its types: fp32 where it has fp32.
pub(crate) fn slot(relative: &Relative, distance: i64) -> i64 {
    let bucket = if relative.buckets > 0 { bucket(relative, distance) } else { distance };
    bucket.saturating_add(relative.span).clamp(0, 2 * relative.span - 1)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the reference rounds here too; every distance in use is below 2^24"
)]
fn bucket(relative: &Relative, distance: i64) -> i64 {
    let mid = relative.buckets / 2;
    let magnitude = if -mid < distance && distance < mid { mid - 1 } else { distance.abs() };
    if magnitude <= mid {
        return distance;
    }
    let quotient = (magnitude as f32 / mid as f32).ln();
    let whole = (((relative.max_distance - 1) as f64 / mid as f64) as f32).ln();
    let logarithmic = (quotient / whole * (mid - 1) as f32).ceil() + mid as f32;
    (logarithmic * distance.signum() as f32) as i64
}

/// Which slots the columns of a layer's tables hold, for all rows up to `reach` tokens.
///
/// There are `2 * reach` columns. The last is read by nobody: with it, products have rows of an even and mostly aligned
/// length, which GPUs multiply much faster.
#[derive(Debug)]
pub(crate) struct Diagonals {
    /// The longest row the tables serve.
    pub(crate) reach: i64,
    /// Slot of distance `reach - 1 - t` at column `t`.
    descending: Tensor,
    /// Slot of distance `t - (reach - 1)` at column `t`.
    ascending: Tensor,
    /// Whether tables hold a row a distance too.
    for_kernels: bool,
}

impl Diagonals {
    /// The columns for rows of up to at least `tokens` tokens.
    pub(crate) fn reaching(relative: &Relative, tokens: i64, device: tch::Device) -> Result<Self, TchError> {
        let reach = (tokens + REACH_STEP - 1) / REACH_STEP * REACH_STEP;
        let ascending: Vec<i64> = (1 - reach..=reach).map(|distance| slot(relative, distance)).collect();
        let descending: Vec<i64> = (1 - reach..=reach).map(|distance| slot(relative, -distance)).collect();
        Ok(Self {
            reach,
            descending: Tensor::f_from_slice(&descending)?.f_to_device(device)?,
            ascending: Tensor::f_from_slice(&ascending)?.f_to_device(device)?,
            for_kernels: false,
        })
    }

    /// The same for tables that our own kernels read too, if `wanted`.
    pub(crate) fn for_kernels(self, wanted: bool) -> Self {
        Self { for_kernels: wanted, ..self }
    }
}

/// One layer's projections of the relative embeddings.
#[derive(Debug)]
pub(crate) struct PositionTables {
    content_to_position: Option<Table>,
    position_to_content: Option<Table>,
}

/// The projections in one direction.
#[derive(Debug)]
struct Table {
    /// `[heads, head_size, 2 * span]`, a column a slot.
    by_slot: Tensor,
    /// `[heads, head_size, 2 * reach]`, a column a diagonal.
    by_diagonal: Tensor,
    /// `[heads, 2 * reach, head_size]`, row `t` for distance `t - (reach - 1)`, where our own kernels are at work.
    by_distance: Option<Tensor>,
}

impl PositionTables {
    /// Tables from projections `[heads, head_size, 2 * span]`; those of the queries carry the score's scale already.
    pub(crate) fn new(keys: Option<Tensor>, queries: Option<Tensor>, diagonals: &Diagonals) -> Result<Self, TchError> {
        let table = |by_slot: Option<Tensor>, slots: &Tensor| -> Result<Option<Table>, TchError> {
            let Some(by_slot) = by_slot else { return Ok(None) };
            Table::new(by_slot, slots, diagonals).map(Some)
        };
        Ok(Self {
            content_to_position: table(keys, &diagonals.descending)?,
            position_to_content: table(queries, &diagonals.ascending)?,
        })
    }

    /// The tables with `keys` and `queries`, `[heads, head_size, 2 * span]` in fp32 on the processor, added; nothing where
    /// there is nothing to add.
    pub(crate) fn plus(
        &self,
        keys: Option<Tensor>,
        queries: Option<Tensor>,
        diagonals: &Diagonals,
    ) -> Result<Option<Self>, TchError> {
        let sum = |table: &Option<Table>, addition: Option<Tensor>| -> Result<Option<Tensor>, TchError> {
            let (Some(table), addition) = (table, addition) else { return Ok(None) };
            let Some(addition) = addition else { return Ok(Some(table.by_slot.shallow_clone())) };
            let exact = table.by_slot.f_to_kind(Kind::Float)?;
            let sum = exact.f_add(&addition.f_to_device(exact.device())?)?;
            sum.f_to_kind(table.by_slot.f_kind()?)?.f_contiguous().map(Some)
        };
        if keys.is_none() && queries.is_none() {
            return Ok(None);
        }
        let keys = sum(&self.content_to_position, keys)?;
        let queries = sum(&self.position_to_content, queries)?;
        Self::new(keys, queries, diagonals).map(Some)
    }

    /// Bytes of all tables.
    pub(crate) fn bytes(&self) -> usize {
        let tables = [&self.content_to_position, &self.position_to_content];
        let bytes = |table: &Table| {
            bytes_of(&table.by_slot) + bytes_of(&table.by_diagonal) + table.by_distance.as_ref().map_or(0, bytes_of)
        };
        tables.into_iter().flatten().map(bytes).sum()
    }

    /// Makes the tables serve other `diagonals`.
    pub(crate) fn extend(&mut self, diagonals: &Diagonals) -> Result<(), TchError> {
        let directions = [
            (&mut self.content_to_position, &diagonals.descending),
            (&mut self.position_to_content, &diagonals.ascending),
        ];
        for (table, slots) in directions {
            if let Some(table) = table {
                *table = Table::new(table.by_slot.shallow_clone(), slots, diagonals)?;
            }
        }
        Ok(())
    }

    /// Both tables with a row a distance, as our own kernels read them.
    pub(crate) fn by_distance(&self) -> (Option<&Tensor>, Option<&Tensor>) {
        fn rows(table: &Option<Table>) -> Option<&Tensor> {
            table.as_ref()?.by_distance.as_ref()
        }
        (rows(&self.content_to_position), rows(&self.position_to_content))
    }

    /// The position terms of the scores of a group, `[rows, heads, length, length]`.
    ///
    /// `queries` (scaled) and `keys` are head-major, `[heads, rows, length, head_size]`.
    pub(crate) fn scores(&self, queries: &Tensor, keys: &Tensor, group: Shape) -> Result<Option<Tensor>, TchError> {
        let queries = self.content_to_position.as_ref().map(|table| (table, queries));
        let keys = self.position_to_content.as_ref().map(|table| (table, keys));
        let Some((_, content)) = queries.or(keys) else { return Ok(None) };
        let Shape { rows, heads, length, .. } = group;
        if length <= WHOLE_LENGTH || content.device() != tch::Device::Cpu {
            let whole = Block { start: 0, size: length };
            let by_query = queries.map(|(table, queries)| table.skewed(queries, group, whole)).transpose()?;
            let by_key = keys.map(|(table, keys)| table.skewed(keys, group, whole)?.f_transpose(2, 3)).transpose()?;
            return match (by_query, by_key) {
                (Some(by_query), Some(by_key)) => by_query.f_add(&by_key).map(Some),
                // Attention reads a bias whose last dimension is dense.
                (None, Some(by_key)) => by_key.f_contiguous().map(Some),
                (by_query, None) => Ok(by_query),
            };
        }
        // Of a long row's diagonals a token meets half. A block of tokens meets few others, and its product stays in
        // the cache until it is read.
        let scores = Tensor::f_zeros([rows, heads, length, length], (content.f_kind()?, content.device()))?;
        for block in (0..length).step_by(BLOCK_TOKENS).map(|start| Block::at(start, length)) {
            if let Some((table, queries)) = queries {
                let terms = table.skewed(queries, group, block)?; // [rows, heads, block, length]
                scores.f_narrow(2, block.start, block.size)?.f_add_(&terms).map(drop)?;
            }
            if let Some((table, keys)) = keys {
                let terms = table.skewed(keys, group, block)?.f_transpose(2, 3)?; // [rows, heads, length, block]
                scores.f_narrow(3, block.start, block.size)?.f_add_(&terms).map(drop)?;
            }
        }
        Ok(Some(scores))
    }

    /// The position terms of the scores of every row's first token, `[rows, heads, 1, length]`.
    ///
    /// `queries` (scaled) are `[rows, heads, 1, head_size]`, `keys` `[rows, heads, length, head_size]`.
    pub(crate) fn first_scores(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        group: Shape,
    ) -> Result<Option<Tensor>, TchError> {
        let Shape { length, reach, .. } = group;
        let mut terms = None;
        if let Some(table) = &self.content_to_position {
            // Column reach-1+j holds distance -j.
            let diagonals = table.by_diagonal.f_narrow(2, reach - 1, length)?;
            let by_head = queries.f_squeeze_dim(2)?.f_permute([1, 0, 2])?; // [heads, rows, head_size]
            let product = by_head.f_bmm(&diagonals)?; // [heads, rows, length]
            terms = Some(product.f_permute([1, 0, 2])?);
        }
        if let Some(table) = &self.position_to_content {
            // Column reach-1-j holds distance -j.
            let diagonals = table.by_diagonal.f_narrow(2, reach - length, length)?.f_flip([2])?;
            let product = keys.f_mul(&diagonals.f_transpose(1, 2)?)?; // [rows, heads, length, head_size]
            let term = product.f_sum_dim_intlist([-1i64].as_slice(), false, None)?; // [rows, heads, length]
            terms = Some(match terms {
                Some(other) => term.f_add(&other)?,
                None => term,
            });
        }
        terms.map(|terms| terms.f_unsqueeze(2)).transpose()
    }
}

/// What a table needs to know of a group of rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rows: i64,
    pub(crate) heads: i64,
    pub(crate) length: i64,
    pub(crate) reach: i64,
}

/// Consecutive tokens of every row of a group.
#[derive(Debug, Clone, Copy)]
struct Block {
    start: i64,
    size: i64,
}

impl Block {
    fn at(start: i64, length: i64) -> Self {
        Self { start, size: (length - start).min(BLOCK_TOKENS as i64) }
    }
}

impl Table {
    /// Columns for `slots`, one of `diagonals`' orders.
    fn new(by_slot: Tensor, slots: &Tensor, diagonals: &Diagonals) -> Result<Self, TchError> {
        let by_diagonal = by_slot.f_index_select(2, slots)?;
        let by_distance = match diagonals.for_kernels {
            true => Some(by_slot.f_index_select(2, &diagonals.ascending)?.f_transpose(1, 2)?.f_contiguous()?),
            false => None,
        };
        Ok(Self { by_slot, by_diagonal, by_distance })
    }

    /// The product of a block's `content` with the diagonals it meets, seen so that `[.., token, other]` is the term of
    /// that pair of tokens: `[rows, heads, block, length]`.
    fn skewed(&self, content: &Tensor, group: Shape, block: Block) -> Result<Tensor, TchError> {
        let Shape { rows, heads, length, reach } = group;
        let Block { start, size } = block;
        let width = length + size; // one more than it meets
        let diagonals = self.by_diagonal.f_narrow(2, reach - start - size, width)?;
        let content = content.f_narrow(2, start, size)?.f_reshape([heads, rows * size, -1])?;
        let product = content.f_bmm(&diagonals)?; // [heads, rows * size, width]
        // Token start+i and other token j meet in column size-1-i+j: the next token's columns begin one earlier.
        product.f_as_strided([rows, heads, size, length], [size * width, rows * size * width, width - 1, 1], size - 1)
    }
}

#[cfg(test)]
mod tests;
