//! Which rows are held out in which fold: every class in every fold, as far as its rows go.

use std::collections::BTreeMap;

use crate::chance::Chance;
use crate::examples::{Answers, Examples};

/// For each fold the units to learn from and the units held out, each in ascending order. There are as many folds as
/// asked for, or as many as units where those are fewer.
pub(crate) fn folds(examples: &Examples, folds: usize, seed: u64) -> Vec<(Vec<usize>, Vec<usize>)> {
    let units = examples.len();
    let folds = folds.min(units);
    let mut fold_of = vec![0; units];
    for (place, unit) in in_dealing_order(examples, seed).into_iter().enumerate() {
        fold_of[unit] = place % folds.max(1);
    }
    (0..folds).map(|fold| (0..units).partition(|unit| fold_of[*unit] != fold)).collect()
}

/// All units, shuffled, those of one class together: dealt out in turn, every fold gets its share of each.
fn in_dealing_order(examples: &Examples, seed: u64) -> Vec<usize> {
    let mut chance = Chance::new(seed);
    let mut units: Vec<usize> = (0..examples.len()).collect();
    chance.shuffle(&mut units);
    let Answers::Classes(classes) = examples.answers() else { return units };
    let mut by_class: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for unit in units {
        by_class.entry(classes[unit]).or_default().push(unit);
    }
    by_class.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(of: Vec<u32>) -> Examples {
        Examples::new(1, 3, vec![0.0; of.len()], Answers::Classes(of)).unwrap()
    }

    #[test]
    fn every_unit_is_held_out_once_and_every_class_in_every_fold() {
        let examples = classes((0..40).map(|unit| u32::from(unit % 4 == 0)).collect());
        let dealt = folds(&examples, 5, 1);
        let mut held: Vec<usize> = dealt.iter().flat_map(|(_, held)| held.clone()).collect();
        held.sort_unstable();
        assert_eq!(held, (0..40).collect::<Vec<_>>());
        for (learnt, held) in &dealt {
            assert_eq!((learnt.len(), held.len()), (32, 8));
            assert_eq!(held.iter().filter(|unit| **unit % 4 == 0).count(), 2);
            assert!(held.iter().all(|unit| !learnt.contains(unit)));
        }
    }

    #[test]
    fn folds_follow_from_the_seed() {
        let examples = classes(vec![0; 20]);
        assert_eq!(folds(&examples, 4, 7), folds(&examples, 4, 7));
        assert_ne!(folds(&examples, 4, 7), folds(&examples, 4, 8));
    }

    #[test]
    fn there_are_no_more_folds_than_units() {
        assert_eq!(folds(&classes(vec![0, 1, 2]), 5, 0).len(), 3);
    }
}
