//! The memory of a forward pass: kept from batch to batch, grown to the largest.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::adapter::{SITES, Site};
use crate::attention::Scratch;
use crate::buffer::Buffer;
use crate::product::{Finish, RowScale, row_blocks};
use crate::tile::Rows;
use crate::weights::{Mode, Weights};

/// Rows between two linear layers: numbers, and bytes with their scales where the mode multiplies bytes.
#[derive(Debug)]
pub(crate) struct Lines<M: Mode> {
    pub(crate) numbers: Buffer<M::Number>,
    bytes: Buffer<u8>,
    pub(crate) scales: Buffer<RowScale>,
    pub(crate) stride: usize,
}

/// Products whose row blocks are counted, in each layer.
pub(crate) const COUNTED: usize = 3;

/// All rows have a stride of whole panels.
#[derive(Debug)]
pub(crate) struct Workspace<M: Mode> {
    /// Sums of the embedding tables where they are narrower than the encoder, `[tokens, embedding]`.
    pub(crate) narrow: Buffer<f32>,
    /// The input of a layer and its output, `[tokens, width]`.
    pub(crate) states: Buffer<f32>,
    /// Between the two residuals, `[tokens, width]`.
    pub(crate) middle: Buffer<f32>,
    /// States of the tokens wanted in the end, `[wanted, width]`.
    pub(crate) chosen: Buffer<f32>,
    /// The states as linear layers read them.
    pub(crate) input: Lines<M>,
    /// The chosen ones.
    pub(crate) chosen_input: Lines<M>,
    pub(crate) queries: Buffer<M::Number>,
    pub(crate) keys_values: Buffer<M::Number>,
    /// What attention leaves.
    pub(crate) mixed: Lines<M>,
    /// Inside the feed-forward pair, `[tokens, inner]`.
    pub(crate) inner: Lines<M>,
    pub(crate) pooled: Buffer<f32>,
    /// What adapters' lower halves make of the rows of each site's product, `[tokens, narrow_stride]`.
    narrow_of: [Buffer<f32>; SITES],
    /// Of the chosen rows' queries.
    chosen_narrow: Buffer<f32>,
    /// 0 where no row of the batch carries an adapter.
    pub(crate) narrow_stride: usize,
    /// One a member of the team.
    pub(crate) scratch: Vec<Scratch<M::Number>>,
    /// Finished tasks of each row block of each counted product.
    done: Vec<AtomicUsize>,
    blocks: usize,
}

impl<M: Mode> Lines<M> {
    fn new(stride: usize) -> Self {
        Self { numbers: Buffer::zeroed(0), bytes: Buffer::zeroed(0), scales: Buffer::zeroed(0), stride }
    }

    fn reserve(&mut self, rows: usize) {
        self.numbers.reserve(rows * self.stride);
        if M::BYTES {
            self.bytes.reserve(rows * self.stride);
            self.scales.reserve(rows);
        }
    }

    /// The rows as linear layers read them.
    pub(crate) fn rows(&self) -> Rows {
        if M::BYTES {
            return Rows { start: self.bytes.pointer(), stride: self.stride };
        }
        Rows { start: self.numbers.pointer().cast(), stride: self.stride * size_of::<M::Number>() }
    }

    /// Makes row `row` readable for linear layers, from its `width` numbers.
    ///
    /// # Safety
    /// The row exists, nobody else uses it meanwhile, and the processor has the instructions.
    pub(crate) unsafe fn settle(&self, row: usize, width: usize) {
        if M::BYTES {
            // SAFETY: the caller's promise; both buffers hold `stride` numbers a row.
            unsafe {
                let from = self.numbers.pointer().add(row * self.stride);
                let scale = M::Linear::settle(from, width, self.bytes.pointer().add(row * self.stride));
                *self.scales.pointer().add(row) = scale;
            }
        }
    }

    /// Makes row `row` readable for linear layers, from fp32 numbers that stand for its own.
    ///
    /// # Safety
    /// As [`Lines::settle`], and `from` holds `width` numbers to the end of a register.
    pub(crate) unsafe fn settle_from(&self, row: usize, width: usize, from: *const f32) {
        if M::BYTES {
            // SAFETY: the caller's promise.
            unsafe {
                let scale = M::Linear::settle(from, width, self.bytes.pointer().add(row * self.stride));
                *self.scales.pointer().add(row) = scale;
            }
        }
    }

    /// Copies row `row` of `from`, which has the same stride, to row `to`.
    ///
    /// # Safety
    /// Both rows exist and nobody writes them meanwhile.
    pub(crate) unsafe fn copy_row(&self, to: usize, from: &Self, row: usize) {
        let stride = self.stride;
        // SAFETY: the caller's promise; the buffers are different ones.
        unsafe {
            if M::BYTES {
                let bytes = from.bytes.pointer().add(row * stride);
                bytes.copy_to_nonoverlapping(self.bytes.pointer().add(to * stride), stride);
                *self.scales.pointer().add(to) = *from.scales.pointer().add(row);
            } else {
                let numbers = from.numbers.pointer().add(row * stride);
                numbers.copy_to_nonoverlapping(self.numbers.pointer().add(to * stride), stride);
            }
        }
    }
}

impl<M: Mode> Workspace<M> {
    pub(crate) fn new(weights: &Weights<M>, members: usize) -> Self {
        Self {
            narrow: Buffer::zeroed(0),
            states: Buffer::zeroed(0),
            middle: Buffer::zeroed(0),
            chosen: Buffer::zeroed(0),
            input: Lines::new(weights.width),
            chosen_input: Lines::new(weights.width),
            queries: Buffer::zeroed(0),
            keys_values: Buffer::zeroed(0),
            mixed: Lines::new(weights.width),
            inner: Lines::new(weights.inner),
            pooled: Buffer::zeroed(0),
            narrow_of: std::array::from_fn(|_| Buffer::zeroed(0)),
            chosen_narrow: Buffer::zeroed(0),
            narrow_stride: 0,
            scratch: (0..members).map(|_| Scratch::new()).collect(),
            done: Vec::new(),
            blocks: 0,
        }
    }

    /// Makes room for a batch of `tokens` in all, `wanted` in the end, `rows` rows and none over `longest`.
    pub(crate) fn reserve(&mut self, weights: &Weights<M>, size: BatchSize) {
        let BatchSize { tokens, wanted, rows, longest, narrow_stride } = size;
        let (width, geometry) = (weights.width, &weights.geometry);
        if weights.embeddings.projection.is_some() {
            self.narrow.reserve(tokens * geometry.embedding);
        }
        self.states.reserve(tokens * width);
        self.middle.reserve(tokens * width);
        self.chosen.reserve(wanted.max(rows) * width);
        self.input.reserve(tokens);
        self.chosen_input.reserve(wanted);
        self.queries.reserve(tokens * width);
        self.keys_values.reserve(tokens * 2 * width);
        self.mixed.reserve(tokens);
        self.inner.reserve(tokens);
        self.pooled.reserve(rows * width);
        self.narrow_stride = narrow_stride;
        self.narrow_of.iter_mut().for_each(|narrow| narrow.reserve(tokens * narrow_stride));
        self.chosen_narrow.reserve(wanted * narrow_stride);
        for scratch in &mut self.scratch {
            scratch.reserve(longest, geometry.hidden / geometry.heads, geometry.slots);
        }
        self.blocks = row_blocks(tokens);
        let counters = weights.layers.len() * COUNTED * self.blocks;
        if self.done.len() < counters {
            self.done.resize_with(counters, AtomicUsize::default);
        }
        for done in &self.done {
            done.store(0, Ordering::Relaxed);
        }
    }

    /// What the lower halves made of row `row` of the product at `site`.
    ///
    /// # Safety
    /// The batch has such a row.
    pub(crate) unsafe fn narrow_row(&self, site: Site, row: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.narrow_of[site as usize].pointer().add(row * self.narrow_stride) }
    }

    /// The same of a chosen row's queries.
    ///
    /// # Safety
    /// As [`Workspace::narrow_row`].
    pub(crate) unsafe fn chosen_narrow_row(&self, place: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.chosen_narrow.pointer().add(place * self.narrow_stride) }
    }

    /// The counters of one product of one layer.
    pub(crate) fn done(&self, layer: usize, product: usize) -> &[AtomicUsize] {
        &self.done[(layer * COUNTED + product) * self.blocks..][..self.blocks]
    }
}

/// What a batch needs room for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchSize {
    pub(crate) tokens: usize,
    pub(crate) wanted: usize,
    pub(crate) rows: usize,
    pub(crate) longest: usize,
    /// Room for one row's way down to the highest rank; 0 where no row carries an adapter.
    pub(crate) narrow_stride: usize,
}
