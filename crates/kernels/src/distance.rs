//! Which row of the relative embeddings a distance between tokens uses, made ready for sixteen tokens at a time.
//!
//! The row number never falls with the distance and rises by at most one from a distance to the next. So the terms of
//! sixteen neighbouring tokens lie within sixteen neighbouring columns: one load, and a shuffle where some share one.

use crate::isa::LANES;

/// Distances known beyond the longest row: registers and groups of tokens reach over its end.
const MARGIN: i64 = 48;

/// The slots of all distances between tokens of rows up to `reach` tokens.
#[derive(Debug)]
pub(crate) struct Distances {
    pub(crate) reach: usize,
    /// Rows of the relative embeddings.
    pub(crate) slots: usize,
    first: i64,
    slot: Vec<u32>,
    rising: Vec<Lanes>,
    falling: Vec<Lanes>,
}

/// Where sixteen terms lie, from the first one's column on.
#[derive(Debug, Clone, Copy)]
struct Lanes {
    columns: [u8; LANES],
    /// Each term has the next column: no shuffle is needed.
    straight: bool,
}

/// What a kernel needs to fetch sixteen terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetch {
    /// Column of the first term.
    pub(crate) column: usize,
    /// Where to find each lane from there on; null where each is the next.
    pub(crate) lanes: *const u8,
}

impl Distances {
    /// The slots that `slot` gives, if they rise by at most one from each distance to the next.
    pub(crate) fn reaching(reach: usize, slots: usize, slot: impl Fn(i64) -> usize) -> Option<Self> {
        let last = i64::try_from(reach).ok()? + MARGIN;
        let slot_of: Vec<u32> =
            (-last..=last).map(|distance| u32::try_from(slot(distance)).ok()).collect::<Option<_>>()?;
        let rises = |pair: &[u32]| pair[1] == pair[0] || pair[1] == pair[0] + 1;
        if !slot_of.windows(2).all(rises) || slot_of.iter().any(|slot| *slot as usize >= slots) {
            return None;
        }
        let lanes = |at: usize, step: i64| {
            let columns = std::array::from_fn(|lane| {
                let there = (at as i64 + step * lane as i64).clamp(0, slot_of.len() as i64 - 1) as usize;
                slot_of[at].abs_diff(slot_of[there]) as u8
            });
            Lanes { columns, straight: columns.iter().enumerate().all(|(lane, column)| lane == usize::from(*column)) }
        };
        let rising = (0..slot_of.len()).map(|at| lanes(at, 1)).collect();
        let falling = (0..slot_of.len()).map(|at| lanes(at, -1)).collect();
        Some(Self { reach, slots, first: -last, slot: slot_of, rising, falling })
    }

    /// Column of `distance` in tables in the order of the slots.
    #[inline(always)]
    pub(crate) fn rising(&self, distance: i64) -> usize {
        self.slot[(distance - self.first) as usize] as usize
    }

    /// Column of `distance` in tables in reverse order.
    #[inline(always)]
    pub(crate) fn falling(&self, distance: i64) -> usize {
        self.slots - 1 - self.rising(distance)
    }

    /// Sixteen distances from `distance` upwards.
    #[inline(always)]
    pub(crate) fn fetch_rising(&self, distance: i64) -> Fetch {
        let lanes = &self.rising[(distance - self.first) as usize];
        Fetch { column: self.rising(distance), lanes: lanes.pointer() }
    }

    /// Sixteen distances from `distance` downwards.
    #[inline(always)]
    pub(crate) fn fetch_falling(&self, distance: i64) -> Fetch {
        let lanes = &self.falling[(distance - self.first) as usize];
        Fetch { column: self.falling(distance), lanes: lanes.pointer() }
    }
}

impl Lanes {
    #[inline(always)]
    fn pointer(&self) -> *const u8 {
        if self.straight { std::ptr::null() } else { self.columns.as_ptr() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain distances up to 3, then two to a slot.
    fn slot(distance: i64) -> usize {
        let size = if distance.abs() <= 3 { distance.abs() } else { 3 + (distance.abs() - 2) / 2 };
        (64 + size * distance.signum()) as usize
    }

    #[test]
    fn sixteen_terms_are_found_from_the_first_ones_column() {
        let distances = Distances::reaching(32, 128, slot).unwrap();
        for distance in -32..=32 {
            let up = distances.fetch_rising(distance);
            let down = distances.fetch_falling(distance);
            for lane in 0..LANES as i64 {
                let found = |fetch: Fetch| {
                    // SAFETY: the pointer is null or points at sixteen columns of `distances`.
                    let columns = unsafe { fetch.lanes.cast::<[u8; LANES]>().as_ref() };
                    fetch.column + columns.map_or(lane as usize, |columns| usize::from(columns[lane as usize]))
                };
                assert_eq!(found(up), slot(distance + lane));
                assert_eq!(found(down), 127 - slot(distance - lane));
            }
        }
        assert!(distances.fetch_rising(-20).lanes.is_null() || !distances.fetch_rising(20).lanes.is_null());
    }

    #[test]
    fn slots_that_leap_or_fall_are_refused() {
        assert!(Distances::reaching(8, 512, |distance| (256 + 2 * distance) as usize).is_none());
        assert!(Distances::reaching(8, 512, |distance| (256 - distance) as usize).is_none());
        assert!(Distances::reaching(8, 20, |distance| (256 + distance) as usize).is_none());
    }
}
