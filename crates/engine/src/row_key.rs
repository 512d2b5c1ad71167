//! What makes two rows one row for the encoder: equal ids, equal token types, equal task embeddings, the same adapter, of
//! one tenant.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

use crate::adapter::Adapter;
use crate::model::Row;
use crate::shares::Lane;
use crate::tokens::Tokens;

/// So many numbers of a task embedding go into the hash: enough to tell tasks apart. The comparison reads them all.
const HASHED_NUMBERS: usize = 8;

/// The content of a row under a hash of it. The encoder is not part of it: an engine has exactly one, so the engine
/// that holds the key is the encoder.
#[derive(Debug, Clone)]
pub(crate) struct RowKey {
    hash: u64,
    tokens: Arc<Tokens>,
    task_embedding: Option<Arc<[f32]>>,
    /// Told apart by its place in memory, which is not given to another while a key points there. The key does not keep
    /// the numbers: a head that is gone takes its adapter with it.
    adapter: Option<Weak<Adapter>>,
    /// For whom it is computed. How soon an answer comes must not tell a tenant what another has asked.
    lane: Lane,
}

impl RowKey {
    /// The key of a tenant's `row`. Keys that are compared must come from one `hashing`: it is random, so that no caller
    /// can send texts whose keys collide.
    pub(crate) fn new(row: &Row, lane: Lane, hashing: &impl BuildHasher) -> Self {
        let mut hasher = hashing.build_hasher();
        row.tokens.ids.hash(&mut hasher);
        row.tokens.type_ids.hash(&mut hasher);
        lane.hash(&mut hasher);
        if let Some(numbers) = &row.task_embedding {
            numbers.iter().take(HASHED_NUMBERS).for_each(|number| hasher.write_u32(number.to_bits()));
        }
        if let Some(adapter) = &row.adapter {
            hasher.write_usize(Arc::as_ptr(adapter).addr());
        }
        Self {
            hash: hasher.finish(),
            tokens: Arc::clone(&row.tokens),
            task_embedding: row.task_embedding.clone(),
            adapter: row.adapter.as_ref().map(Arc::downgrade),
            lane,
        }
    }

    /// Whose row it is.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// The same key without what a row needs beside its content: where its tokens came from.
    pub(crate) fn compact(&self) -> Self {
        let Tokens { ids, type_ids, origins: _, cut: _ } = self.tokens.as_ref();
        let tokens = Tokens { ids: ids.clone(), type_ids: type_ids.clone(), ..Tokens::default() };
        Self { tokens: Arc::new(tokens), ..self.clone() }
    }

    /// Bytes of a compact key's content. A task embedding counts in full, although rows of a task share it.
    pub(crate) fn bytes(&self) -> usize {
        let numbers = self.task_embedding.as_ref().map_or(0, |numbers| numbers.len());
        size_of::<u32>() * (self.tokens.ids.len() + self.tokens.type_ids.len() + numbers)
    }
}

impl PartialEq for RowKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && self.lane == other.lane
            && self.tokens.ids == other.tokens.ids
            && self.tokens.type_ids == other.tokens.type_ids
            && match (&self.task_embedding, &other.task_embedding) {
                (None, None) => true,
                (Some(one), Some(other)) => Arc::ptr_eq(one, other) || have_equal_bits(one, other),
                (Some(_), None) | (None, Some(_)) => false,
            }
            && match (&self.adapter, &other.adapter) {
                (None, None) => true,
                (Some(one), Some(other)) => Weak::ptr_eq(one, other),
                (Some(_), None) | (None, Some(_)) => false,
            }
    }
}

impl Eq for RowKey {}

impl Hash for RowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Bits, because equal numbers such as 0 and -0 may make different rows.
fn have_equal_bits(one: &[f32], other: &[f32]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.to_bits() == other.to_bits())
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, RandomState};

    use super::*;
    use crate::adapter::{LowRank, Site};
    use crate::model::Reads;
    use crate::shares::Shares;

    fn row(ids: &[u32], type_ids: &[u32], task_embedding: Option<&[f32]>) -> Row {
        let tokens = Tokens { ids: ids.to_vec(), type_ids: type_ids.to_vec(), ..Tokens::default() };
        let task_embedding = task_embedding.map(Arc::from);
        Row { tokens: Arc::new(tokens), task_embedding, adapter: None, reads: Reads::default() }
    }

    #[test]
    fn an_adapter_is_told_by_its_place_and_not_kept_alive() {
        let adapter = || {
            let part = LowRank::new(1, vec![0.5; 4].into(), vec![0.5; 4].into());
            Arc::new(Adapter::new(4, [((0, Site::Query), part)].into(), None).unwrap())
        };
        let hashing = RandomState::new();
        let with = |adapter: &Arc<Adapter>| Row { adapter: Some(Arc::clone(adapter)), ..row(&[1, 2], &[0, 0], None) };
        let (one, other) = (adapter(), adapter());
        let key = RowKey::new(&with(&one), Lane::default(), &hashing);
        assert_eq!(key, RowKey::new(&with(&one), Lane::default(), &hashing));
        assert_ne!(key, RowKey::new(&with(&other), Lane::default(), &hashing));
        assert_ne!(key, RowKey::new(&row(&[1, 2], &[0, 0], None), Lane::default(), &hashing));
        let gone = Arc::downgrade(&one);
        drop(one);
        assert!(gone.upgrade().is_none(), "the key holds no numbers");
        assert_ne!(key, RowKey::new(&with(&other), Lane::default(), &hashing));
    }

    /// Gives every content the same hash.
    #[derive(Default)]
    struct Colliding;

    impl Hasher for Colliding {
        fn finish(&self) -> u64 {
            0
        }

        fn write(&mut self, _: &[u8]) {}
    }

    #[test]
    fn equal_contents_are_one_key_whatever_they_lie_in() {
        let hashing = RandomState::new();
        let rows = [row(&[1, 2], &[0, 0], Some(&[0.5; 9])), row(&[1, 2], &[0, 0], Some(&[0.5; 9]))];
        let [one, other] = rows.each_ref().map(|row| RowKey::new(row, Lane::default(), &hashing));
        assert_eq!(one, other);
        assert_eq!(one.compact(), other);
        assert_eq!(one.bytes(), 4 * (2 + 2 + 9));
    }

    #[test]
    fn every_part_of_the_content_tells_rows_apart_even_under_one_hash() {
        let hashing = BuildHasherDefault::<Colliding>::default();
        let late = [0., 0., 0., 0., 0., 0., 0., 0., 1.];
        let rows = [
            row(&[1, 2], &[0, 0], None),
            row(&[1, 3], &[0, 0], None),
            row(&[1, 2], &[0, 1], None),
            row(&[1, 2], &[0, 0], Some(&[0.0; 9])),
            row(&[1, 2], &[0, 0], Some(&[-0.0; 9])),
            row(&[1, 2], &[0, 0], Some(&late)),
        ];
        let mut keys = rows.each_ref().map(|row| RowKey::new(row, Lane::default(), &hashing)).to_vec();
        let other_tenant = Shares::default().lane(&"acme".parse().unwrap());
        keys.push(RowKey::new(&rows[0], other_tenant, &hashing));
        for (at, one) in keys.iter().enumerate() {
            for (place, other) in keys.iter().enumerate() {
                assert_eq!(one == other, at == place, "rows {at} and {place}");
            }
        }
    }
}
