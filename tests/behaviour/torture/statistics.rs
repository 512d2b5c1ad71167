//! Whether two lots of latencies differ, and whether latencies grow with something.

use judging::{NumberSheet, Sheet};
use tests::Random;

/// The probability that two samples of one distribution lie as far apart as these, by the two-sample test of Kolmogorov
/// and Smirnov in its asymptotic form (Stephens 1970): for hundreds of numbers and more.
pub(crate) fn same_distribution(one: &[u64], other: &[u64]) -> f64 {
    let (mut one, mut other) = (one.to_vec(), other.to_vec());
    one.sort_unstable();
    other.sort_unstable();
    let below = |sorted: &[u64], value: u64| sorted.partition_point(|number| *number <= value) as f64;
    let (n_one, n_other) = (one.len() as f64, other.len() as f64);
    let apart = |value: &u64| (below(&one, *value) / n_one - below(&other, *value) / n_other).abs();
    let farthest = one.iter().chain(&other).map(apart).fold(0.0, f64::max);
    let effective = (n_one * n_other / (n_one + n_other)).sqrt();
    let lambda = (effective + 0.12 + 0.11 / effective) * farthest;
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * (f64::from(k) * lambda).powi(2)).exp()
    };
    // The sum does not converge near 0, where it is 1.
    if lambda < 0.2 { 1.0 } else { (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0) }
}

/// Below that probability, two lots of latencies are of two distributions.
pub(crate) const LEAST_PROBABILITY: f64 = 0.01;

/// Two lots of latencies, so many of each, taken in an order that is drawn.
pub(crate) async fn two_lots(
    calls: usize,
    random: &mut Random,
    mut timed: impl AsyncFnMut(usize, &mut Random) -> u64,
) -> [Vec<u64>; 2] {
    let mut lots = [Vec::new(), Vec::new()];
    while lots.iter().any(|lot| lot.len() < calls) {
        let which = random.below(2);
        if lots[which].len() < calls {
            let took = timed(which, random).await;
            lots[which].push(took);
        }
    }
    lots
}

/// How a latency goes with what it may depend on: Spearman's correlation, of ranks, because one that is a thousand times
/// as long as the others, as a busy machine has them, would hide what there is.
pub(crate) fn rank_correlation(pairs: &[(u64, u64)]) -> f64 {
    let rows: Vec<_> = pairs.iter().map(|(what, latency)| (*what as f64, *latency as f64)).collect();
    let sheet = NumberSheet::new(&rows);
    let mut figures = sheet.names().iter().zip(sheet.plain());
    let spearman = figures.find_map(|(figure, value)| value.filter(|_| figure.name == "spearman"));
    spearman.expect("neither side is constant")
}

/// Of so many rounds the first that holds, with what it found; or the last. A machine with other work may spoil a round
/// by chance. A real difference fails every one: each is an independent sample, and at a threshold that one round in a
/// hundred misses by chance three do so once in a million.
pub(crate) async fn one_round_holds(mut round: impl AsyncFnMut() -> (bool, String)) -> (bool, String) {
    const ROUNDS: usize = 3;
    let mut last = (false, String::new());
    for number in 1..=ROUNDS {
        let (holds, seen) = round().await;
        last = (holds, format!("{seen} in round {number}"));
        if holds {
            break;
        }
    }
    last
}

/// Latencies as a server has them: hardly any below a floor, and a long tail.
fn latencies(random: &mut Random, slower: u64) -> Vec<u64> {
    let mut one = || 100_000 + slower + (random.below(1_000) * random.below(1_000) / 10) as u64;
    (0..10_000).map(|_| one()).collect()
}

#[test]
fn samples_of_one_distribution_are_found_the_same_and_others_are_not() {
    let mut random = Random::new(7);
    let mut same: Vec<f64> =
        (0..100).map(|_| same_distribution(&latencies(&mut random, 0), &latencies(&mut random, 0))).collect();
    same.sort_by(f64::total_cmp);
    assert!(same[5] > 0.01 && (0.3..0.7).contains(&same[50]), "probabilities spread over 0 to 1: {same:?}");
    for _ in 0..20 {
        let probability = same_distribution(&latencies(&mut random, 0), &latencies(&mut random, 5_000));
        assert!(probability < 1e-4, "{probability}");
    }
}

#[test]
fn what_grows_a_little_with_something_is_found_to() {
    let mut random = Random::new(8);
    for (slower, least, most) in [(0, 0.0, 0.05), (200, 0.05, 1.0)] {
        let latencies = latencies(&mut random, 0);
        let mut pair = |latency: u64| {
            let x = random.below(32) as u64;
            // One in a hundred meets another process.
            let pause = if random.below(100) == 0 { 50_000_000 } else { 0 };
            (x, latency + slower * x + pause)
        };
        let pairs: Vec<_> = latencies.into_iter().map(&mut pair).collect();
        let found = rank_correlation(&pairs).abs();
        assert!((least..most).contains(&found), "{slower}: {found}");
    }
}
