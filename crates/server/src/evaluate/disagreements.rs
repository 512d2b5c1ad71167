//! Rows on which two versions differ, as people read them.

use std::cmp::Reverse;

use engine::{Head, HeadKind};
use judging::Deciding;

use super::answers::{Answer, deciding_of};
use super::asking::AskedRow;
use super::rows::Truth;

/// A row on which two versions differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Disagreement {
    pub(super) line: u64,
    pub(super) expected: String,
    pub(super) first: String,
    pub(super) second: String,
}

/// What a version says in the end.
#[derive(Debug, Clone, PartialEq)]
enum Decision {
    One(usize),
    Many(Vec<usize>),
    /// `None` for a word that was not read.
    Words(Vec<Option<usize>>),
    Number(f32),
}

/// At most `most` rows on which the two differ, in the caller's order, numbers by how far they lie apart; and how many
/// there are in all.
pub(super) fn disagreements(rows: &[AskedRow], first: &Head, second: &Head, most: usize) -> (Vec<Disagreement>, usize) {
    let (deciding, of_second) = (deciding_of(first), deciding_of(second));
    let decide = |row: &AskedRow| {
        let one = decision(first.kind(), &deciding, &row.first);
        let other = decision(second.kind(), &of_second, row.second.as_ref()?);
        (one != other).then_some((one, other))
    };
    let mut differing: Vec<_> =
        rows.iter().filter_map(|row| decide(row).map(|(one, other)| (row, one, other))).collect();
    if first.kind() == HeadKind::Regression {
        // Distances of finite numbers, as bits, are in the order of the numbers.
        differing.sort_by_key(|(_, one, other)| Reverse(distance(one, other).to_bits()));
    }
    let total = differing.len();
    let listed = differing.into_iter().take(most).map(|(row, one, other)| {
        let places = match (&one, &other) {
            (Decision::Words(one), Decision::Words(other)) => places_apart(one, other),
            (Decision::One(_) | Decision::Many(_) | Decision::Words(_) | Decision::Number(_), _) => Vec::new(),
        };
        Disagreement {
            line: row.line,
            expected: text(first, &of_truth(&row.truth), &places),
            first: text(first, &one, &places),
            second: text(second, &other, &places),
        }
    });
    (listed.collect(), total)
}

fn decision(kind: HeadKind, deciding: &Deciding, answer: &Answer) -> Decision {
    match answer {
        Answer::Logits(logits) if kind == HeadKind::MultiLabel => Decision::Many(deciding.decide(logits)),
        Answer::Logits(logits) => Decision::One(judging::best(logits)),
        Answer::Words(words) => Decision::Words(words.iter().map(|word| word.as_deref().map(judging::best)).collect()),
        Answer::Number(number) => Decision::Number(*number),
    }
}

fn of_truth(truth: &Truth) -> Decision {
    match truth {
        Truth::One(place) => Decision::One(*place),
        Truth::Many(places) => Decision::Many(places.clone()),
        Truth::Words(places) => Decision::Words(places.iter().copied().map(Some).collect()),
        Truth::Number(number) => Decision::Number(*number as f32),
    }
}

fn distance(one: &Decision, other: &Decision) -> f32 {
    match (one, other) {
        (Decision::Number(one), Decision::Number(other)) => (one - other).abs(),
        (Decision::One(_) | Decision::Many(_) | Decision::Words(_) | Decision::Number(_), _) => 0.0,
    }
}

fn places_apart(one: &[Option<usize>], other: &[Option<usize>]) -> Vec<usize> {
    let pairs = one.iter().zip(other).enumerate();
    pairs.filter(|(_, (one, other))| one != other).map(|(place, _)| place).collect()
}

/// Labels by name, choices by position, of words those at `places`, counted from 0.
fn text(head: &Head, decision: &Decision, places: &[usize]) -> String {
    match decision {
        Decision::One(choice) if head.parts().labels.is_empty() => format!("choice {choice}"),
        Decision::One(label) => head.label(*label).to_owned(),
        Decision::Many(labels) if labels.is_empty() => "(none)".to_owned(),
        Decision::Many(labels) => labels.iter().map(|label| head.label(*label)).collect::<Vec<_>>().join(", "),
        Decision::Words(words) => {
            let word = |place: &usize| {
                let label = words.get(*place).copied().flatten();
                format!("word {place} {}", label.map_or("(not read)", |label| head.label(label)))
            };
            places.iter().map(word).collect::<Vec<_>>().join(", ")
        }
        Decision::Number(number) => number.to_string(),
    }
}
