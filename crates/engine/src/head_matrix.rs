//! The weights of all live heads as one matrix, so that many heads read one vector in a single pass over memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, PoisonError};

use crate::error::EngineError;
use crate::head::Head;
use crate::live::LiveTable;
use crate::model::{RowOutput, Scores};
use crate::scoring::{dot, finite, score};
use crate::sync::Mutex;

/// The heads that read the pooled vector, as they were at one generation of the live table. Never changes.
#[derive(Debug, Default)]
pub(crate) struct HeadMatrix {
    generation: u64,
    hidden: usize,
    /// Row-major `[rows, hidden]`; heads of equal weights share their rows.
    weights: Vec<f32>,
    /// One a row of a head: heads of equal weights may differ in it.
    biases: Vec<f32>,
    /// By the address of a head, which `heads` keeps from being used again.
    places: HashMap<usize, Place>,
    heads: Vec<Arc<Head>>,
}

/// Where the numbers of one head lie.
#[derive(Debug, Clone, Copy)]
struct Place {
    row: usize,
    bias: usize,
    outputs: usize,
}

impl HeadMatrix {
    /// The matrix of `heads`. Those of another width than the first are left out, and token heads too: they read every
    /// token, so their products are a matrix of their own.
    fn new(generation: u64, heads: Vec<Arc<Head>>) -> Self {
        let mut heads = heads;
        heads.retain(|head| !head.kind().reads_tokens());
        let hidden = heads.first().map_or(0, |head| head.hidden());
        heads.retain(|head| head.hidden() == hidden);
        let mut matrix = Self { generation, hidden, ..Self::default() };
        let hashing = RandomState::new();
        // First rows of the weights so far, by a hash of their content.
        let mut known: HashMap<u64, Vec<(usize, Arc<Head>)>> = HashMap::new();
        for head in heads {
            let weight = &head.parts().weight;
            let same_hash = known.entry(hash(&hashing, weight)).or_default();
            let equal = same_hash.iter().find(|(_, other)| have_equal_bits(weight, &other.parts().weight));
            let row = match equal {
                Some((row, _)) => *row,
                None => {
                    let row = matrix.weights.len() / hidden;
                    matrix.weights.extend_from_slice(weight);
                    same_hash.push((row, Arc::clone(&head)));
                    row
                }
            };
            let place = Place { row, bias: matrix.biases.len(), outputs: head.outputs() };
            matrix.biases.extend_from_slice(&head.parts().bias);
            matrix.places.insert(address(&head), place);
            matrix.heads.push(head);
        }
        matrix
    }

    /// What [`score`] gives for each of `heads`, bit for bit, in order. Heads in the matrix are read as they lie there,
    /// and equal weights once; others are scored alone.
    pub(crate) fn score_all(&self, heads: &[&Arc<Head>], output: &RowOutput) -> Vec<Result<Scores, EngineError>> {
        let pooled = output.pooled.as_deref().filter(|pooled| pooled.len() == self.hidden);
        let placed = |head: &Arc<Head>| pooled.and_then(|pooled| Some((self.place_of(head)?, pooled)));
        let mut results: Vec<_> = heads.iter().map(|_| Err(EngineError::NotFinite)).collect();
        let mut in_order = Vec::with_capacity(heads.len());
        for (index, (head, result)) in heads.iter().zip(&mut results).enumerate() {
            match placed(head) {
                Some((place, pooled)) => in_order.push((place, index, pooled)),
                None => *result = score(head, output),
            }
        }
        in_order.sort_unstable_by_key(|(place, index, _)| (place.row, *index));
        let mut products = Vec::new();
        let mut products_of = None;
        for (place, index, pooled) in in_order {
            if products_of != Some((place.row, place.outputs)) {
                let rows = &self.weights[place.row * self.hidden..][..place.outputs * self.hidden];
                products.clear();
                products.extend(rows.chunks_exact(self.hidden).map(|row| dot(row, pooled)));
                products_of = Some((place.row, place.outputs));
            }
            let biases = &self.biases[place.bias..][..place.outputs];
            let logits = products.iter().zip(biases).map(|(product, bias)| product + bias).collect();
            results[index] = finite(Scores { positions: 1, logits });
        }
        results
    }

    /// Whether the head is read as it lies here.
    #[cfg(test)]
    #[cfg(feature = "models")]
    pub(crate) fn holds(&self, head: &Arc<Head>) -> bool {
        self.place_of(head).is_some()
    }

    fn place_of(&self, head: &Arc<Head>) -> Option<Place> {
        self.places.get(&address(head)).copied()
    }
}

/// The matrix of what is live now: made when it is asked for after a change, and whole, so that rows of heads that are
/// gone go with them.
#[derive(Debug, Default)]
pub(crate) struct CurrentMatrix(Mutex<Arc<HeadMatrix>>);

impl CurrentMatrix {
    /// The matrix of `live`, which may take a while: for a thread that nobody waits at.
    pub(crate) fn of(&self, live: &LiveTable) -> Arc<HeadMatrix> {
        // Nothing is changed under the lock before it is whole.
        let mut matrix = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the heads: a change in between makes the next caller build again.
        let generation = live.generation();
        if matrix.generation != generation {
            *matrix = Arc::new(HeadMatrix::new(generation, live.heads()));
        }
        Arc::clone(&matrix)
    }
}

fn address(head: &Arc<Head>) -> usize {
    Arc::as_ptr(head) as usize
}

fn hash(hashing: &RandomState, numbers: &[f32]) -> u64 {
    let mut hasher = hashing.build_hasher();
    numbers.len().hash(&mut hasher);
    numbers.iter().for_each(|number| hasher.write_u32(number.to_bits()));
    hasher.finish()
}

fn have_equal_bits(one: &Arc<[f32]>, other: &Arc<[f32]>) -> bool {
    Arc::ptr_eq(one, other)
        || (one.len() == other.len() && one.iter().zip(&**other).all(|(one, other)| one.to_bits() == other.to_bits()))
}

#[cfg(test)]
#[cfg(not(feature = "models"))]
mod tests;
