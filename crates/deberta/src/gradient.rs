//! The derivative of a loss by a task embedding, through layers that stay as they are.

use std::sync::Arc;

use engine::{Lesson, ModelError, Upstream};
use tch::{Kind, TchError};

use crate::adapters::BatchAdapters;
use crate::batch::{HostBatch, Surroundings};
use crate::error::backend_error;
use crate::tensors::{Tensors, on_host};

impl Tensors {
    /// The derivative by the lesson's embedding, `[embedding]`, which every row carries in place of its own. `upstream` is shown the
    /// rows' pooled vectors and gives the loss's derivative by each.
    ///
    /// Needs weights that were placed to be differentiable. Gradients flow through them and never into them.
    pub(crate) fn embedding_gradient(
        &mut self,
        lesson: Lesson<'_>,
        upstream: &mut Upstream<'_>,
    ) -> Result<Vec<f32>, ModelError> {
        self.pulled_back(lesson, upstream).map_err(|error| backend_error(&error))
    }

    fn pulled_back(&mut self, lesson: Lesson<'_>, upstream: &mut Upstream<'_>) -> Result<Vec<f32>, TchError> {
        let Lesson { rows, embedding, .. } = lesson;
        let lengths: Vec<usize> = rows.iter().map(|row| row.tokens.len()).collect();
        let packing = self.encoder.pack(&lengths, &BatchAdapters::of(rows), false);
        let reach = self.encoder.reach(packing.longest)?;
        let placement = self.embeddings.placement();
        let leaf = placement.copy_of(embedding)?.f_set_requires_grad(true)?;
        let surroundings = Surroundings { placement, reach, adapters: Vec::new(), fused: None };
        let mut batch = HostBatch::new(rows, &packing, self.embeddings.inputs()).place(&packing, surroundings)?;
        batch.share(&leaf)?;
        let hidden = self.encoder.forward(&self.embeddings.forward(&batch)?, &batch.layout, false)?;
        let pooled = self.pool(&hidden.first.f_to_kind(Kind::Float)?)?; // [packed rows, hidden]
        let width = pooled.size().last().copied().map_or(0, crate::tensors::unsigned);
        let numbers = on_host(&pooled.f_detach()?)?;
        let mut vectors: Vec<Arc<[f32]>> = vec![Arc::from([]); rows.len()];
        for (place, row) in packing.order.iter().enumerate() {
            vectors[*row] = Arc::from(&numbers[place * width..(place + 1) * width]);
        }
        let derivatives = upstream(&vectors);
        let mut packed = vec![0f32; numbers.len()];
        for (place, row) in packing.order.iter().enumerate() {
            let own = derivatives.get(*row).filter(|own| own.len() == width);
            let own = own.ok_or_else(|| TchError::Shape("a row has no derivative of its width".to_owned()))?;
            packed[place * width..(place + 1) * width].copy_from_slice(own);
        }
        let packed = placement.copy_of(&packed)?.f_view_as(&pooled)?;
        // The derivative of this sum by the pooled vectors is what `upstream` gave.
        let pulled = pooled.f_mul(&packed)?.f_sum(Kind::Float)?;
        pulled.f_backward()?;
        on_host(&leaf.f_grad()?)
    }
}
