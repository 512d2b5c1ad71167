//! Whether two versions differ on the same rows by more than chance.

/// McNemar's exact test: the two-sided probability of a split at least so uneven, of the rows that only one version
/// answered right, if each of them could as well have been the other's.
#[must_use]
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    let n = only_first + only_second;
    let fewer = only_first.min(only_second);
    // ln C(n, fewer) − n ln 2, from the inside out.
    let log_choose: f64 = (1..=fewer).map(|step| ((n - fewer + step) as f64 / step as f64).ln()).sum();
    let mut term = (log_choose - n as f64 * std::f64::consts::LN_2).exp();
    let mut tail = term;
    for k in (1..=fewer).rev() {
        term *= k as f64 / (n - k + 1) as f64;
        tail += term;
    }
    (2.0 * tail).min(1.0)
}

/// The two-sided probability of no difference, from differences over resamples (Davison and Hinkley 1997, with the
/// sample itself as one of them, so that it is never 0). `None` without differences.
#[must_use]
pub fn two_sided_p(differences: &[f64]) -> Option<f64> {
    let at_most = |wanted: fn(&f64) -> bool| 1 + differences.iter().filter(|difference| wanted(difference)).count();
    let fewer = at_most(|difference| *difference <= 0.0).min(at_most(|difference| *difference >= 0.0));
    (!differences.is_empty()).then(|| (2.0 * fewer as f64 / (differences.len() + 1) as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_versions_do_not_differ() {
        assert_eq!(mcnemar_exact(0, 0), 1.0);
        assert_eq!(mcnemar_exact(9, 9), 1.0);
        assert_eq!(two_sided_p(&[0.0; 99]), Some(1.0));
        assert_eq!(two_sided_p(&[]), None);
    }

    #[test]
    fn differences_all_on_one_side_are_as_unlikely_as_their_number_can_say() {
        assert_eq!(two_sided_p(&[0.5; 99]), Some(0.02));
        assert_eq!(mcnemar_exact(10, 0), 2.0 / 1024.0);
    }

    #[test]
    fn thousands_of_rows_neither_overflow_nor_vanish() {
        let p = mcnemar_exact(50_000, 50_400);
        assert!((0.15..0.25).contains(&p), "{p}");
        assert!(mcnemar_exact(0, 5_000) >= 0.0);
    }
}
