//! Which rows answer which tasks: what several tasks read alike is one row.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::adapter::Adapter;
use crate::ask::{Input, Mode};
use crate::error::EngineError;
use crate::head::HeadKind;
use crate::live::ServedHead;
use crate::model::Reads;
use crate::rows::{self, Sequence};

/// Which rows answer which tasks.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) parts: Vec<Result<Part, EngineError>>,
    pub(super) rows: Vec<PlannedRow>,
    /// For each list of sequences that some head reads, one such head, and the fields that it reads.
    pub(super) readers: Vec<(Arc<Input>, Arc<ServedHead>)>,
}

/// A task that the input suits.
pub(super) struct Part {
    pub(super) served: Arc<ServedHead>,
    pub(super) mode: Mode,
    pub(super) input: Arc<Input>,
    /// Places in the plan's rows, in the order in which the head reads them.
    pub(super) rows: Vec<usize>,
}

/// A row, by where its tokens will be: the sequence at `place` of those that `reader` reads.
pub(super) struct PlannedRow {
    pub(super) reader: usize,
    pub(super) place: usize,
    pub(super) task_embedding: Option<Arc<[f32]>>,
    pub(super) adapter: Option<Arc<Adapter>>,
    pub(super) reads: Reads,
}

/// Checks the input for each head and gathers the distinct rows. Rows are told apart by the addresses of their task
/// embedding and their adapter; those whose embeddings are equal at two addresses become one in the queue. An adapter is
/// part of what a head reads, so its rows carry it in shared mode too.
pub(super) fn plan(input: &Input, found: &[Result<Arc<ServedHead>, EngineError>], mode: Option<Mode>) -> Plan {
    let inputs: BTreeMap<HeadKind, Arc<Input>> =
        HeadKind::ALL.into_iter().map(|kind| (kind, Arc::new(rows::read_by(input, kind)))).collect();
    let mut plan = Plan::default();
    let mut distinct: Vec<Vec<Sequence<'_>>> = Vec::new();
    let mut places: HashMap<(usize, usize, [usize; 2]), usize> = HashMap::new();
    for found in found {
        let served = match found {
            Ok(served) => served,
            Err(error) => {
                plan.parts.push(Err(error.clone()));
                continue;
            }
        };
        let Some(input) = inputs.get(&served.head.kind()) else { continue };
        if let Err(error) = rows::check_one(input, &served.head) {
            plan.parts.push(Err(error));
            continue;
        }
        let sequences = rows::sequences(input, &served.head);
        let n_sequences = sequences.len();
        let reader = distinct.iter().position(|known| *known == sequences).unwrap_or(distinct.len());
        if reader == distinct.len() {
            distinct.push(sequences);
            plan.readers.push((Arc::clone(input), Arc::clone(served)));
        }
        let mode = rows::mode(mode, &served.head);
        let task_embedding = match mode {
            Mode::Exact => served.head.parts().task_embedding.clone(),
            Mode::Shared => None,
        };
        let adapter = served.head.parts().adapter.clone();
        let address = [
            task_embedding.as_ref().map_or(0, |numbers| numbers.as_ptr().addr()),
            adapter.as_ref().map_or(0, |adapter| Arc::as_ptr(adapter).addr()),
        ];
        let reads = Reads::of_head(&served.head);
        let rows = (0..n_sequences).map(|place| {
            let row = *places.entry((reader, place, address)).or_insert(plan.rows.len());
            match plan.rows.get_mut(row) {
                Some(known) => known.reads = known.reads.union(reads),
                None => plan.rows.push(PlannedRow {
                    reader,
                    place,
                    task_embedding: task_embedding.clone(),
                    adapter: adapter.clone(),
                    reads,
                }),
            }
            row
        });
        let rows = rows.collect();
        plan.parts.push(Ok(Part { served: Arc::clone(served), mode, input: Arc::clone(input), rows }));
    }
    plan
}
