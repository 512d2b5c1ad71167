//! What adapters do in a pass: rows go down to a rank where their input is known, and products bring them up again.

use std::ops::Range;

use super::Pass;
use crate::adapter::{Addition, Additions, Site};
use crate::product::{Output, Product};
use crate::team::Member;
use crate::tile::{Rows, Single};
use crate::vector::Number;
use crate::weight::Weight;
use crate::weights::Mode;

impl<M: Mode> Pass<'_, M> {
    /// Whether an adapter of the batch changes that linear layer.
    pub(super) fn changes(&self, layer: usize, site: Site) -> bool {
        self.list(layer, site).iter().any(Option::is_some)
    }

    /// The additions at one site of one layer, by adapter of the batch.
    fn list(&self, layer: usize, site: Site) -> &[Option<&Addition>] {
        let first = (layer * Site::ALL.len() + site as usize) * self.adapters.len();
        self.additions.get(first..first + self.adapters.len()).unwrap_or_default()
    }

    /// What adapters add to the rows of a product, whose lower halves lie at `narrow`.
    pub(super) fn additions<'a>(
        &'a self,
        layer: usize,
        site: Site,
        of_row: &'a [u32],
        narrow: *const f32,
    ) -> Additions<'a> {
        if !self.changes(layer, site) {
            return Additions::NONE;
        }
        Additions { of_row, list: self.list(layer, site), narrow, stride: self.space.narrow_stride }
    }

    /// The same, where the lower halves lie at the site's own place.
    pub(super) fn additions_at<'a>(&'a self, layer: usize, site: Site, of_row: &'a [u32]) -> Additions<'a> {
        // SAFETY: the first row.
        self.additions(layer, site, of_row, unsafe { self.space.narrow_row(site, 0) })
    }

    /// Takes rows of those from `from` on, the inputs of one site's product, down to the ranks of their adapters.
    ///
    /// # Safety
    /// The rows exist to the end of their last registers, and nobody else writes these places of the site meanwhile.
    pub(super) unsafe fn descend<N: Number<M::Isa>>(
        &self,
        (layer, site): (usize, Site),
        of_row: &[u32],
        places: Range<usize>,
        (from, stride): (*const N, usize),
    ) {
        if of_row.is_empty() {
            return;
        }
        let mut first = places.start;
        for run in of_row[places].chunk_by(PartialEq::eq) {
            let adapter = (run[0] as usize).checked_sub(1);
            if let Some(addition) = adapter.and_then(|adapter| *self.list(layer, site).get(adapter)?) {
                // SAFETY: the caller's promise; the processor was checked when the weights were packed.
                unsafe {
                    let to = (self.space.narrow_row(site, first), self.space.narrow_stride);
                    addition.descend::<M::Isa, N>((from.add(first * stride), stride), to, run.len());
                }
            }
            first += run.len();
        }
    }

    /// Takes tokens' normalised states down for the projections of layer `layer`, if there is one.
    ///
    /// # Safety
    /// As [`Pass::descend`], for the tokens' states.
    pub(super) unsafe fn descend_inputs(&self, layer: usize, tokens: Range<usize>) {
        if layer == self.weights.layers.len() || self.adapters.is_empty() {
            return;
        }
        let states = (self.space.states.pointer().cast_const(), self.weights.width);
        for site in [Site::Query, Site::KeyValue] {
            // SAFETY: the caller's promise.
            unsafe { self.descend((layer, site), &self.plan.token_adapters, tokens.clone(), states) };
        }
    }

    /// Writes anew what comes of the poolers that rows bring along.
    pub(super) fn pool_adapted(&self, member: &Member<'_>, pooler: &Weight) {
        let (space, width) = (self.space, self.weights.width);
        let panels = pooler.panels();
        let own_pooler = |adapter: &u32| self.adapters.get((*adapter as usize).checked_sub(1)?)?.pooler.as_ref();
        let of_row = |(row, adapter): (usize, &u32)| Some((row, own_pooler(adapter)?));
        let own: Vec<(usize, &Weight)> = self.plan.row_adapters.iter().enumerate().filter_map(of_row).collect();
        if own.is_empty() {
            return;
        }
        member.share(own.len() * panels, |task| {
            let (row, weight) = own[task / panels];
            // SAFETY: a row for each row of the batch on both sides, and each panel of one is one task's alone.
            unsafe {
                let rows =
                    Rows { start: space.chosen.pointer().add(row * width).cast(), stride: width * size_of::<f32>() };
                let to = space.pooled.pointer().add(row * width);
                let activation = self.weights.geometry.pooler_activation;
                let output = Output::Stored { to, stride: width, activation };
                let additions = Additions::NONE;
                let scales = std::ptr::null();
                let product = Product { weight, rows, count: 1, scales, output, leap: self.team_size, additions };
                let _ = product.run::<Single<M::Isa>>(task % panels, &[]);
            }
        });
        member.wait();
    }
}
