//! Puts what comes in any order back into the order in which it was asked for.

use std::collections::VecDeque;

/// Places in order, each filled once. The front leaves when it is filled, so nothing overtakes.
#[derive(Debug)]
pub(crate) struct Window<T> {
    first: u64,
    places: VecDeque<Option<T>>,
}

impl<T> Window<T> {
    pub(crate) fn new() -> Self {
        Self { first: 0, places: VecDeque::new() }
    }

    /// Makes the next place and returns its number, counted from 0.
    pub(crate) fn open(&mut self) -> u64 {
        self.places.push_back(None);
        self.first + self.places.len() as u64 - 1
    }

    /// Fills `place`; false where it is not open, or filled already.
    pub(crate) fn fill(&mut self, place: u64, item: T) -> bool {
        let index = place.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.places.get_mut(index)) {
            Some(empty @ None) => {
                *empty = Some(item);
                true
            }
            _ => false,
        }
    }

    /// Takes the front where it is filled.
    pub(crate) fn take_ready(&mut self) -> Option<T> {
        self.places.front()?.as_ref()?;
        self.first += 1;
        self.places.pop_front().flatten()
    }

    /// Places opened and not yet taken.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_their_questions() {
        let mut window = Window::new();
        let places: Vec<u64> = (0..3).map(|_| window.open()).collect();
        assert!(window.fill(places[2], 'c'));
        assert!(window.fill(places[1], 'b'));
        assert_eq!(window.take_ready(), None);
        assert!(window.fill(places[0], 'a'));
        let ready: Vec<char> = std::iter::from_fn(|| window.take_ready()).collect();
        assert_eq!(ready, ['a', 'b', 'c']);
        assert!(window.is_empty());
        assert_eq!(window.open(), 3);
    }

    #[test]
    fn a_place_is_filled_once_and_only_while_it_is_open() {
        let mut window = Window::new();
        let place = window.open();
        assert!(!window.fill(place + 1, 'x'));
        assert!(window.fill(place, 'a'));
        assert!(!window.fill(place, 'b'));
        assert_eq!(window.take_ready(), Some('a'));
        assert!(!window.fill(place, 'c'));
    }
}
