//! A forward pass as one region of a team.

mod adapted;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use crate::adapter::{Adapter, Addition, Additions, Site, narrow_stride};
use crate::attention::{BLOCK_QUERIES, Head};
use crate::clock::{Clock, Profile, Stage};
use crate::distance::Distances;
use crate::embedding::row;
use crate::plan::{InputRow, Plan, QueryBlock};
use crate::product::{Output, Product};
use crate::rows::Norm;
use crate::team::{Member, Team};
use crate::tile::{Rows, Single};
use crate::vector::Activation;
use crate::weight::Weight;
use crate::weights::{Layer, Mode, Weights};
use crate::workspace::{BatchSize, Lines, Workspace};

/// Rows of a task that does the same to each.
const INPUT_TOKENS: usize = 16;

/// Steps of a region that do not belong to a layer.
const OUTER_STEPS: usize = 7;
/// Steps of a layer.
const LAYER_STEPS: usize = 9;

/// Steps that a forward pass through `layers` takes at most.
pub(crate) fn steps(layers: usize) -> usize {
    OUTER_STEPS + layers * LAYER_STEPS
}

/// One batch on its way.
pub(crate) struct Pass<'a, M: Mode> {
    pub(crate) weights: &'a Weights<M>,
    pub(crate) distances: Option<&'a Distances>,
    pub(crate) rows: &'a [InputRow<'a>],
    pub(crate) plan: &'a Plan,
    pub(crate) space: &'a Workspace<M>,
    pub(crate) pooled: bool,
    pub(crate) profile: &'a Mutex<Profile>,
    pub(crate) team_size: usize,
    /// Those that rows carry, in the order of the plan.
    adapters: Vec<&'a Adapter>,
    /// By layer, site and adapter.
    additions: Vec<Option<&'a Addition>>,
}

/// What a pass runs on.
pub(crate) struct Machine<'a, M: Mode> {
    pub(crate) team: &'a mut Team,
    pub(crate) space: &'a mut Workspace<M>,
    pub(crate) profile: &'a Mutex<Profile>,
}

/// Which tokens a layer is asked for, and where their inputs lie.
struct Asked<'a, M: Mode> {
    count: usize,
    blocks: &'a [QueryBlock],
    states: *const f32,
    input: &'a Lines<M>,
    /// The adapter of each row.
    adapters: &'a [u32],
    /// What adapters' lower halves made of the input of the queries.
    narrow: *const f32,
}

/// Lays out `rows` and runs them; the states of the wanted tokens are then in `space.states`, `[wanted, width]`, and the
/// pooled vectors, if `pooled`, in `space.pooled`.
pub(crate) fn run<M: Mode>(
    weights: &Weights<M>,
    distances: Option<&Distances>,
    rows: &[InputRow<'_>],
    pooled: bool,
    Machine { team, space, profile }: Machine<'_, M>,
) -> Plan {
    let plan = Plan::new(rows, BLOCK_QUERIES);
    let (tokens, wanted) = (plan.tokens, plan.wanted.len());
    let adapters: Vec<&Adapter> = plan.adapter_rows.iter().filter_map(|row| rows[*row].adapter).collect();
    let narrow_stride = adapters.iter().map(|adapter| narrow_stride(adapter.rank())).max().unwrap_or(0);
    space.reserve(weights, BatchSize { tokens, wanted, rows: rows.len(), longest: plan.longest, narrow_stride });
    let of_site = |layer, site| adapters.iter().map(move |adapter| adapter.addition(layer, site));
    let of_layer = |layer| Site::ALL.into_iter().flat_map(move |site| of_site(layer, site));
    let additions = (0..weights.layers.len()).flat_map(of_layer).collect();
    let team_size = team.members();
    let pass = Pass { weights, distances, rows, plan: &plan, space, pooled, profile, team_size, adapters, additions };
    team.run(&|member| pass.run(member));
    plan
}

impl<M: Mode> Pass<'_, M> {
    fn run(&self, member: &Member<'_>) {
        let clock = &mut Clock::new((member.index == 0).then_some(self.profile));
        self.input(member);
        clock.end(Stage::Input);
        let every = Asked {
            count: self.plan.tokens,
            blocks: &self.plan.every,
            states: self.space.states.pointer(),
            input: &self.space.input,
            adapters: &self.plan.token_adapters,
            // SAFETY: the first row.
            narrow: unsafe { self.space.narrow_row(Site::Query, 0) },
        };
        let last = self.weights.layers.len() - 1;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            if index < last || self.plan.wanted.len() == self.plan.tokens {
                self.layer((member, clock), (index, layer), &every);
            } else {
                self.choose(member);
                let chosen = Asked {
                    count: self.plan.wanted.len(),
                    blocks: &self.plan.last,
                    states: self.space.chosen.pointer(),
                    input: &self.space.chosen_input,
                    adapters: &self.plan.wanted_adapters,
                    // SAFETY: the first row.
                    narrow: unsafe { self.space.chosen_narrow_row(0) },
                };
                self.layer((member, clock), (index, layer), &chosen);
            }
        }
        if let Some(pooler) = self.weights.pooler.as_ref().filter(|_| self.pooled) {
            self.pool(member, pooler);
            clock.end(Stage::Pooler);
        }
    }

    /// Tables, projection and normalisation of every token.
    fn input(&self, member: &Member<'_>) {
        let Weights { geometry, width, embeddings, .. } = self.weights;
        let (tokens, space) = (self.plan.tokens, self.space);
        let parts = tokens.div_ceil(INPUT_TOKENS);
        let of_part = |part: usize| part * INPUT_TOKENS..tokens.min((part + 1) * INPUT_TOKENS);
        if let Some(projection) = &embeddings.projection {
            let stride = geometry.embedding;
            member.share(parts, |part| {
                for token in of_part(part) {
                    // SAFETY: a row for each token, and each token is one task's alone.
                    unsafe {
                        embeddings.sum(self.rows, self.plan.places[token], row(&space.narrow, token, stride), stride)
                    };
                }
            });
            member.wait();
            let rows = Rows { start: space.narrow.pointer().cast(), stride: stride * size_of::<f32>() };
            let output =
                Output::Stored { to: space.states.pointer(), stride: *width, activation: Activation::Identity };
            self.exact(member, projection, (rows, tokens), output);
        }
        member.share(parts, |part| {
            for token in of_part(part) {
                // SAFETY: as above.
                unsafe {
                    if embeddings.projection.is_none() {
                        let to = row(&space.states, token, *width);
                        embeddings.sum(self.rows, self.plan.places[token], to, geometry.hidden);
                    }
                    self.normalise(&embeddings.norm, space.states.pointer(), &space.input, token);
                }
            }
            // SAFETY: as above.
            unsafe { self.descend_inputs(0, of_part(part)) };
        });
        member.wait();
    }

    /// Copies the states of the wanted tokens, for the last layer.
    fn choose(&self, member: &Member<'_>) {
        let (space, width) = (self.space, self.weights.width);
        member.share(self.plan.wanted.len(), |place| {
            let token = self.plan.wanted[place];
            // SAFETY: a row for each token and each place, and each place is one task's alone.
            unsafe {
                let states = row(&space.states, token, width);
                states.copy_to_nonoverlapping(row(&space.chosen, place, width), width);
                space.chosen_input.copy_row(place, &space.input, token);
                let narrow = space.narrow_row(Site::Query, token);
                narrow.copy_to_nonoverlapping(space.chosen_narrow_row(place), space.narrow_stride);
            }
        });
        member.wait();
    }

    fn layer(
        &self,
        (member, clock): (&Member<'_>, &mut Clock<'_>),
        (index, layer): (usize, &Layer),
        asked: &Asked<'_, M>,
    ) {
        let mut end = |stage| {
            member.wait();
            clock.end(stage);
        };
        let (space, width) = (self.space, self.weights.width);
        let hidden = self.weights.geometry.hidden;
        let stored = |to: *mut M::Number, stride: usize, activation| Output::Stored { to, stride, activation };
        let queries = self.product(
            &layer.query,
            asked.input,
            (asked.count, stored(space.queries.pointer(), width, Activation::Identity)),
            self.additions(index, Site::Query, asked.adapters, asked.narrow),
        );
        let keys_values = self.product(
            &layer.key_value,
            &space.input,
            (self.plan.tokens, stored(space.keys_values.pointer(), 2 * width, Activation::Identity)),
            self.additions_at(index, Site::KeyValue, &self.plan.token_adapters),
        );
        let first = queries.tasks();
        // SAFETY: every buffer has a row for each token or place, of the stride given; a task writes what no other does.
        member.share(first + keys_values.tasks(), |task| unsafe {
            match task.checked_sub(first) {
                None => queries.run::<M::Linear>(task, &[]),
                Some(task) => keys_values.run::<M::Linear>(task, &[]),
            };
        });
        end(Stage::Projections);
        self.attend(member, (index, layer), asked);
        end(Stage::Attention);
        if M::BYTES {
            // SAFETY: a row for each place, one task's alone.
            member.share(asked.count, |place| unsafe { space.mixed.settle(place, hidden) });
            end(Stage::Attention);
        }
        if self.changes(index, Site::AttentionOutput) {
            // SAFETY: as above.
            member.share(asked.count.div_ceil(INPUT_TOKENS), |part| unsafe {
                let places = part * INPUT_TOKENS..asked.count.min((part + 1) * INPUT_TOKENS);
                let mixed = (space.mixed.numbers.pointer().cast_const(), width);
                self.descend((index, Site::AttentionOutput), asked.adapters, places, mixed);
            });
            end(Stage::Attention);
        }
        let middle = space.middle.pointer();
        let output = Output::Added { residual: asked.states, to: middle, stride: width };
        let additions = self.additions_at(index, Site::AttentionOutput, asked.adapters);
        let attended = self.product(&layer.attention_output, &space.mixed, (asked.count, output), additions);
        self.share(member, &attended, space.done(index, 0), |places| {
            // SAFETY: the rows' block is finished, and this member alone was told so.
            unsafe {
                places.clone().for_each(|place| self.normalise(&layer.attention_norm, middle, &space.input, place));
                let rows = (middle.cast_const(), width);
                self.descend((index, Site::Intermediate), asked.adapters, places, rows);
            }
        });
        end(Stage::AttentionOutput);
        let activation = self.weights.geometry.activation;
        let inner = stored(space.inner.numbers.pointer(), self.weights.inner, activation);
        let additions = self.additions_at(index, Site::Intermediate, asked.adapters);
        let widened = self.product(&layer.intermediate, &space.input, (asked.count, inner), additions);
        self.share(member, &widened, space.done(index, 1), |places| {
            // SAFETY: as above.
            unsafe {
                places.clone().for_each(|place| space.inner.settle(place, layer.intermediate.outputs));
                let rows = (space.inner.numbers.pointer().cast_const(), self.weights.inner);
                self.descend((index, Site::Output), asked.adapters, places, rows);
            }
        });
        end(Stage::Intermediate);
        let states = space.states.pointer();
        let output = Output::Added { residual: middle, to: states, stride: width };
        let additions = self.additions_at(index, Site::Output, asked.adapters);
        let narrowed = self.product(&layer.output, &space.inner, (asked.count, output), additions);
        self.share(member, &narrowed, space.done(index, 2), |places| {
            // SAFETY: as above.
            unsafe {
                places.clone().for_each(|place| self.normalise(&layer.output_norm, states, &space.input, place));
                self.descend_inputs(index + 1, places);
            }
        });
        end(Stage::Output);
    }

    fn attend(&self, member: &Member<'_>, (index, layer): (usize, &Layer), asked: &Asked<'_, M>) {
        let (space, width) = (self.space, self.weights.width);
        let (heads, hidden) = (self.weights.geometry.heads, self.weights.geometry.hidden);
        let size = hidden / heads;
        member.share(asked.blocks.len() * heads, |task| {
            let (block, head) = (&asked.blocks[task / heads], task % heads);
            let adapter = (block.adapter as usize).checked_sub(1).and_then(|place| self.adapters.get(place));
            let own = adapter.and_then(|adapter| adapter.layers.get(index)?.positions.as_ref());
            let positions = own.unwrap_or(&layer.positions);
            // SAFETY: the rows exist and the head's columns lie within them; each block and head is one task's alone,
            // and so is each member's scratch.
            unsafe {
                let keys = row(&space.keys_values, block.first_token, 2 * width).add(head * size);
                let head = Head {
                    queries: row(&space.queries, block.place, width).add(head * size),
                    query_stride: width,
                    first_query: block.position,
                    n_queries: block.count,
                    keys,
                    values: keys.add(width),
                    key_stride: 2 * width,
                    length: block.length,
                    size,
                    to: row(&space.mixed.numbers, block.place, width).add(head * size),
                    to_stride: width,
                    positions: self.distances.map(|distances| (&positions[head], distances)),
                };
                head.attend::<M::Isa>(&space.scratch[member.index]);
            }
        });
    }

    /// The pooler upon every row's first state.
    fn pool(&self, member: &Member<'_>, pooler: &Weight) {
        let (space, width, plan) = (self.space, self.weights.width, self.plan);
        member.share(plan.first_wanted.len(), |index| {
            // SAFETY: the last layer has read what it chose; a row for each row of the batch, one task's alone.
            unsafe {
                let from = row(&space.states, plan.first_wanted[index], width);
                from.copy_to_nonoverlapping(row(&space.chosen, index, width), width);
            }
        });
        member.wait();
        let rows = Rows { start: space.chosen.pointer().cast(), stride: width * size_of::<f32>() };
        let activation = self.weights.geometry.pooler_activation;
        let output = Output::Stored { to: space.pooled.pointer(), stride: width, activation };
        self.exact(member, pooler, (rows, plan.first_wanted.len()), output);
        self.pool_adapted(member, pooler);
    }

    /// A linear layer in fp32 whatever the mode, over rows and into an output that both have `count` rows.
    fn exact(&self, member: &Member<'_>, weight: &Weight, (rows, count): (Rows, usize), output: Output<f32>) {
        let (scales, additions) = (std::ptr::null(), Additions::NONE);
        let product = Product { weight, rows, count, scales, output, leap: self.team_size, additions };
        member.share(product.tasks(), |task| {
            // SAFETY: the callers give buffers with a row for each of `count`, which nobody else uses in this step.
            let _ = unsafe { product.run::<Single<M::Isa>>(task, &[]) };
        });
        member.wait();
    }

    fn product<'a>(
        &self,
        weight: &'a Weight,
        lines: &Lines<M>,
        (count, output): (usize, Output<M::Number>),
        additions: Additions<'a>,
    ) -> Product<'a, M::Number> {
        let (rows, scales) = (lines.rows(), lines.scales.pointer());
        Product { weight, rows, count, scales, output, leap: self.team_size, additions }
    }

    /// Shares out `product` and calls `settle` for the rows of a block as soon as the block is finished.
    fn share(
        &self,
        member: &Member<'_>,
        product: &Product<'_, M::Number>,
        done: &[AtomicUsize],
        settle: impl Fn(Range<usize>),
    ) {
        member.share(product.tasks(), |task| {
            // SAFETY: as in `layer`.
            let finished = unsafe { product.run::<M::Linear>(task, done) };
            finished.into_iter().for_each(&settle);
        });
    }

    /// Normalises a row in place and makes it readable for linear layers.
    ///
    /// # Safety
    /// The row exists in both, and nobody else uses it meanwhile.
    unsafe fn normalise(&self, norm: &Norm, states: *mut f32, lines: &Lines<M>, place: usize) {
        let (width, hidden) = (self.weights.width, self.weights.geometry.hidden);
        // SAFETY: the caller's promise.
        unsafe {
            let state = states.add(place * width);
            norm.row::<M::Isa, M::Number>(state, state, row(&lines.numbers, place, width));
            lines.settle_from(place, hidden, state);
        }
    }
}
