//! Which adapters a batch's rows carry, and what a model has made ready of the adapters it met.

use std::sync::{Arc, Weak};

use engine::{Adapter, Row};

/// Bytes of adapters that a model keeps ready; those used longest ago are made ready anew when they come again.
const MOST_READY_BYTES: usize = 512 << 20;

/// The adapters of a batch, each once.
#[derive(Debug, Default)]
pub(crate) struct BatchAdapters {
    /// In the order in which rows first name them.
    pub(crate) distinct: Vec<Arc<Adapter>>,
    /// Of each row, its place among them.
    pub(crate) of_row: Vec<Option<usize>>,
}

impl BatchAdapters {
    pub(crate) fn of(rows: &[Row]) -> Self {
        let mut batch = Self::default();
        for row in rows {
            let place = row.adapter.as_ref().map(|adapter| {
                let known = batch.distinct.iter().position(|known| Arc::ptr_eq(known, adapter));
                known.unwrap_or_else(|| {
                    batch.distinct.push(Arc::clone(adapter));
                    batch.distinct.len() - 1
                })
            });
            batch.of_row.push(place);
        }
        batch
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.distinct.is_empty()
    }
}

/// Adapters as a model computes with them, the latest used last. An adapter that nobody else holds any more goes at the
/// next look.
#[derive(Debug)]
pub(crate) struct ReadyAdapters<T> {
    entries: Vec<Entry<T>>,
    most_bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    adapter: Weak<Adapter>,
    ready: Arc<T>,
    bytes: usize,
}

impl<T> Default for ReadyAdapters<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), most_bytes: MOST_READY_BYTES }
    }
}

impl<T> ReadyAdapters<T> {
    /// What `prepare` has made of `adapter`, with its bytes, now or at an earlier time.
    pub(crate) fn get<E>(
        &mut self,
        adapter: &Arc<Adapter>,
        prepare: impl FnOnce() -> Result<(T, usize), E>,
    ) -> Result<Arc<T>, E> {
        self.entries.retain(|entry| entry.adapter.strong_count() > 0);
        let entry = match self.entries.iter().position(|entry| entry.adapter.as_ptr() == Arc::as_ptr(adapter)) {
            Some(place) => self.entries.remove(place),
            None => {
                let (ready, bytes) = prepare()?;
                Entry { adapter: Arc::downgrade(adapter), ready: Arc::new(ready), bytes }
            }
        };
        let ready = Arc::clone(&entry.ready);
        self.entries.push(entry);
        let mut bytes: usize = self.entries.iter().map(|entry| entry.bytes).sum();
        while bytes > self.most_bytes && self.entries.len() > 1 {
            bytes -= self.entries.remove(0).bytes;
        }
        Ok(ready)
    }

    /// Forgets everything, because what it was made from has changed.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use engine::{LowRank, Site};

    use super::*;

    fn adapter() -> Arc<Adapter> {
        let part = LowRank::new(1, vec![0.5; 2].into(), vec![0.5; 2].into());
        Arc::new(Adapter::new(2, [((0, Site::Query), part)].into(), None).unwrap())
    }

    /// How often each adapter had to be made ready.
    fn prepared(ready: &mut ReadyAdapters<usize>, adapters: &[&Arc<Adapter>]) -> usize {
        let mut count = 0;
        for adapter in adapters {
            let prepare = || {
                count += 1;
                Ok::<_, Infallible>((count, 40))
            };
            ready.get(adapter, prepare).unwrap();
        }
        count
    }

    #[test]
    fn an_adapter_is_made_ready_once_while_there_is_room_and_the_latest_stay() {
        let mut ready = ReadyAdapters { most_bytes: 100, ..ReadyAdapters::default() };
        let [a, b, c] = [adapter(), adapter(), adapter()];
        assert_eq!(prepared(&mut ready, &[&a, &b, &a, &b, &a]), 2);
        assert_eq!(prepared(&mut ready, &[&c, &a]), 1, "b was used longest ago");
        assert_eq!(prepared(&mut ready, &[&b]), 1);
        ready.clear();
        assert_eq!(prepared(&mut ready, &[&b]), 1);
    }

    #[test]
    fn what_belongs_to_a_head_that_is_gone_goes_too() {
        let mut ready = ReadyAdapters::default();
        let (gone, stays) = (adapter(), adapter());
        prepared(&mut ready, &[&gone, &stays]);
        drop(gone);
        prepared(&mut ready, &[&stays]);
        assert_eq!(ready.entries.len(), 1);
    }

    #[test]
    fn a_batch_names_each_adapter_once() {
        let [a, b] = [adapter(), adapter()];
        let row = |adapter: Option<&Arc<Adapter>>| Row {
            tokens: Arc::default(),
            task_embedding: None,
            adapter: adapter.cloned(),
            reads: engine::Reads::default(),
        };
        let batch = BatchAdapters::of(&[row(Some(&b)), row(None), row(Some(&a)), row(Some(&b))]);
        assert_eq!(batch.of_row, [Some(0), None, Some(1), Some(0)]);
        assert!(Arc::ptr_eq(&batch.distinct[1], &a) && !batch.is_empty());
        assert!(BatchAdapters::of(&[row(None)]).is_empty());
    }
}
