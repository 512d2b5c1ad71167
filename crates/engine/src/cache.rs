//! What the encoder has made of rows before, up to a number of bytes; what was used longest ago goes first.
//!
//! A key is a row's ids, types and task embedding. The encoder needs no place in it: the engine that owns the cache has
//! exactly one, from start to end. Heads come after what is kept here, so a head may come, go or move and every entry
//! stays true.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::counters::Counters;
use crate::model::{Reads, RowOutput};
use crate::row_key::RowKey;

/// Bytes of an entry beside its key's content and its vectors: its places in both maps, and the counts of its `Arc`s.
const ENTRY_BYTES: usize = 320;

/// The cache. Its lock is held for a look-up or a change of the maps, never for a copy of vectors.
#[derive(Debug)]
pub(crate) struct Cache {
    state: Mutex<State>,
    /// 0 turns the cache off.
    max_bytes: usize,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<RowKey, Kept>,
    /// The keys by when they were last used.
    by_use: BTreeMap<u64, RowKey>,
    next_use: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    output: RowOutput,
    last_use: u64,
}

impl Cache {
    pub(crate) fn new(max_bytes: usize, counters: Arc<Counters>) -> Self {
        Self { state: Mutex::default(), max_bytes, counters }
    }

    /// The parts of a row's output that are known, of those that `reads` names. A hit is a row without a missing part.
    pub(crate) fn look_up(&self, key: &RowKey, reads: Reads) -> RowOutput {
        if self.max_bytes == 0 {
            return RowOutput::default();
        }
        let known = self.lock().find(key).unwrap_or_default().only(reads);
        let counter =
            if reads.without(&known).is_empty() { &self.counters.cache_hits } else { &self.counters.cache_misses };
        counter.add(1);
        known
    }

    /// Keeps what the encoder has made of a row. Parts that are known already stay as they are: a row's answer does not
    /// change while it is kept.
    pub(crate) fn keep(&self, key: &RowKey, output: &RowOutput) {
        if self.max_bytes == 0 {
            return;
        }
        let key = key.compact();
        let evicted = self.lock().keep(key, output, self.max_bytes);
        self.counters.cache_evictions.add(evicted.len() as u64);
    }

    /// Bytes of everything kept, keys included.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is kept of the row, which now counts as just used.
    fn find(&mut self, key: &RowKey) -> Option<RowOutput> {
        let kept = self.entries.get_mut(key)?;
        let key = self.by_use.remove(&kept.last_use)?;
        kept.last_use = self.next_use;
        self.by_use.insert(self.next_use, key);
        self.next_use += 1;
        Some(kept.output.clone())
    }

    /// Keeps `output` and returns what had to go, to be freed without the lock.
    fn keep(&mut self, key: RowKey, output: &RowOutput, max_bytes: usize) -> Vec<Kept> {
        let known = self.find(&key);
        let is_new = known.is_none();
        let before = known.unwrap_or_default();
        let mut merged = before.clone();
        merged.fill(output);
        let frame = key.bytes() + ENTRY_BYTES;
        if frame + merged.bytes() > max_bytes {
            return Vec::new();
        }
        self.bytes += merged.bytes() - before.bytes();
        if is_new {
            self.bytes += frame;
            self.by_use.insert(self.next_use, key.clone());
            self.entries.insert(key, Kept { output: merged, last_use: self.next_use });
            self.next_use += 1;
        } else if let Some(kept) = self.entries.get_mut(&key) {
            kept.output = merged;
        }
        let mut evicted = Vec::new();
        while self.bytes > max_bytes
            && let Some((_, oldest)) = self.by_use.pop_first()
            && let Some(kept) = self.entries.remove(&oldest)
        {
            self.bytes -= oldest.bytes() + ENTRY_BYTES + kept.output.bytes();
            evicted.push(kept);
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use super::*;
    use crate::model::Row;
    use crate::shares::Lane;
    use crate::tokens::Tokens;

    const POOLED: Reads = Reads { pooled: true, cls: false, tokens: false };
    const BOTH: Reads = Reads { pooled: true, cls: true, tokens: false };
    /// One row of one token with a pooled vector of four numbers.
    const ENTRY: usize = ENTRY_BYTES + 4 + 4 * 4;

    fn key(id: u32) -> RowKey {
        let tokens = Tokens { ids: vec![id], origins: vec![None; 1_000], ..Tokens::default() };
        let row = Row { tokens: Arc::new(tokens), task_embedding: None, adapter: None, reads: POOLED };
        RowKey::new(&row, Lane::default(), &BuildHasherDefault::<DefaultHasher>::default())
    }

    fn pooled(number: f32) -> RowOutput {
        RowOutput { pooled: Some([number; 4].into()), ..RowOutput::default() }
    }

    fn cache(max_bytes: usize) -> Cache {
        Cache::new(max_bytes, Arc::default())
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let cache = cache(2 * ENTRY);
        cache.keep(&key(1), &pooled(1.0));
        cache.keep(&key(2), &pooled(2.0));
        assert_eq!(cache.look_up(&key(1), POOLED), pooled(1.0));
        cache.keep(&key(3), &pooled(3.0));
        assert_eq!(cache.look_up(&key(2), POOLED), RowOutput::default());
        assert_eq!(cache.look_up(&key(1), POOLED), pooled(1.0));
        assert_eq!(cache.look_up(&key(3), POOLED), pooled(3.0));
        let counters = &cache.counters;
        assert_eq!(counters.cache_evictions.value(), 1);
        assert_eq!((counters.cache_hits.value(), counters.cache_misses.value()), (3, 1));
    }

    #[test]
    fn bytes_are_those_of_keys_and_vectors_and_never_over_the_limit() {
        let cache = cache(10 * ENTRY + 7);
        for id in 0..100 {
            cache.keep(&key(id), &pooled(0.0));
            assert!(cache.bytes() <= 10 * ENTRY);
        }
        assert_eq!(cache.bytes(), 10 * ENTRY);
        let state = cache.lock();
        assert_eq!((state.entries.len(), state.by_use.len()), (10, 10));
        assert!(state.entries.keys().all(|key| key.bytes() == 4), "origins are not kept");
    }

    #[test]
    fn an_entry_over_the_whole_limit_is_not_kept_and_drives_nothing_out() {
        let cache = cache(ENTRY);
        cache.keep(&key(1), &pooled(1.0));
        let large = RowOutput { tokens: Some([0.0; 100].into()), ..RowOutput::default() };
        cache.keep(&key(2), &large);
        cache.keep(&key(1), &large);
        assert_eq!(cache.look_up(&key(1), POOLED), pooled(1.0));
        assert_eq!(cache.bytes(), ENTRY);
    }

    #[test]
    fn parts_are_merged_and_the_first_of_each_stays() {
        let cache = cache(1 << 20);
        cache.keep(&key(1), &pooled(1.0));
        let known = cache.look_up(&key(1), BOTH);
        assert_eq!(known, pooled(1.0), "a part is missing, so this is a miss");
        assert_eq!(cache.counters.cache_misses.value(), 1);
        let later = RowOutput { cls: Some([5.0; 4].into()), ..pooled(2.0) };
        cache.keep(&key(1), &later);
        assert_eq!(cache.look_up(&key(1), BOTH), RowOutput { cls: Some([5.0; 4].into()), ..pooled(1.0) });
        assert_eq!(cache.look_up(&key(1), POOLED), pooled(1.0), "nobody gets what they do not read");
        assert_eq!(cache.bytes(), ENTRY + 16);
    }

    #[test]
    fn a_limit_of_zero_keeps_and_counts_nothing() {
        let cache = cache(0);
        cache.keep(&key(1), &pooled(1.0));
        assert_eq!(cache.look_up(&key(1), POOLED), RowOutput::default());
        assert_eq!((cache.bytes(), cache.counters.cache_misses.value()), (0, 0));
    }
}
