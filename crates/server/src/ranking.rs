//! Search of tasks by words: which words of a query a task has, where, and what that is worth. Pure.
//!
//! A word found in a field is worth the field's weight, half of it where the word only begins a word there, times the
//! word's rarity, ln(1 + tasks searched / tasks that have it). A task's score is the sum.

use engine::{Head, TaskName};

/// The longest query, in bytes.
pub(crate) const MAX_QUERY_BYTES: usize = 512;
/// The most different words of a query.
pub(crate) const MAX_QUERY_WORDS: usize = 16;
/// Labels of one task that are read.
const LABELS_READ: usize = 1_000;
/// A shorter word is found as a whole word alone.
const SHORTEST_BEGINNING: usize = 3;

/// Where a word may be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Name,
    Tag,
    Label,
    Dataset,
    Kind,
    Description,
}

/// The words that are looked for, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    words: Vec<String>,
}

/// One word found in one field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reason {
    pub(crate) word: String,
    pub(crate) field: Field,
    pub(crate) points: f64,
}

/// A task that has at least one of the words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Match {
    /// Its position among the tasks searched.
    pub(crate) task: usize,
    pub(crate) score: f64,
    /// By word, then by field.
    pub(crate) reasons: Vec<Reason>,
}

/// How well each word is found in each field of a task: 0, 0.5 or 1.
type Hits = Vec<[f64; Field::ALL.len()]>;

impl Field {
    const ALL: [Self; 6] = [Self::Name, Self::Tag, Self::Label, Self::Dataset, Self::Kind, Self::Description];

    fn weight(self) -> f64 {
        match self {
            Self::Name => 8.0,
            Self::Tag => 6.0,
            Self::Label | Self::Dataset => 4.0,
            Self::Kind => 3.0,
            Self::Description => 2.0,
        }
    }

    fn visit(self, name: &TaskName, head: &Head, mut visit: impl FnMut(&str)) {
        let about = &head.parts().about;
        match self {
            Self::Name => visit(name.as_str()),
            Self::Tag => about.tags.iter().for_each(|tag| visit(tag)),
            Self::Label => head.parts().labels.iter().take(LABELS_READ).for_each(|label| visit(label)),
            Self::Dataset => visit(&about.dataset),
            Self::Kind => visit(head.kind().as_str()),
            Self::Description => visit(&about.description),
        }
    }
}

impl Query {
    /// The words of `text`; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(format!("{} bytes, the limit is {MAX_QUERY_BYTES}", text.len()));
        }
        let mut known: Vec<String> = Vec::new();
        for word in words(text) {
            if !known.contains(&word) {
                known.push(word);
            }
        }
        match known.len() {
            0 => Err("at least one word is needed".to_owned()),
            n_words if n_words > MAX_QUERY_WORDS => {
                Err(format!("{n_words} different words, the limit is {MAX_QUERY_WORDS}"))
            }
            _ => Ok(Self { words: known }),
        }
    }
}

/// The tasks that have a word of `query`, best first; equal scores in the order of `tasks`.
pub(crate) fn rank<'a>(query: &Query, tasks: impl Iterator<Item = (&'a TaskName, &'a Head)>) -> Vec<Match> {
    let found: Vec<Hits> = tasks.map(|(name, head)| hits(query, name, head)).collect();
    let rarity = |word: usize| {
        let having = found.iter().filter(|hits| hits[word].iter().any(|hit| *hit > 0.0)).count();
        (1.0 + found.len() as f64 / having.max(1) as f64).ln()
    };
    let rarities: Vec<f64> = (0..query.words.len()).map(rarity).collect();
    let of_task = |(task, hits): (usize, &Hits)| {
        let mut reasons = Vec::new();
        for ((word, fields), rarity) in query.words.iter().zip(hits).zip(&rarities) {
            for (field, hit) in Field::ALL.into_iter().zip(fields).filter(|(_, hit)| **hit > 0.0) {
                reasons.push(Reason { word: word.clone(), field, points: field.weight() * hit * rarity });
            }
        }
        let score = reasons.iter().map(|reason| reason.points).sum();
        (!reasons.is_empty()).then_some(Match { task, score, reasons })
    };
    let mut matches: Vec<Match> = found.iter().enumerate().filter_map(of_task).collect();
    matches.sort_by(|left, right| right.score.total_cmp(&left.score));
    matches
}

fn hits(query: &Query, name: &TaskName, head: &Head) -> Hits {
    let mut hits = vec![[0.0; Field::ALL.len()]; query.words.len()];
    for (column, field) in Field::ALL.into_iter().enumerate() {
        field.visit(name, head, |text| {
            for word in words(text) {
                for (hit, wanted) in hits.iter_mut().zip(&query.words) {
                    let found = if word == *wanted {
                        1.0
                    } else if wanted.chars().count() >= SHORTEST_BEGINNING && word.starts_with(wanted.as_str()) {
                        0.5
                    } else {
                        0.0
                    };
                    hit[column] = f64::max(hit[column], found);
                }
            }
        });
    }
    hits
}

/// The words of a text: runs of letters and digits in lower case, without the `s` of a plural.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(|word| {
        let mut word = word.to_lowercase();
        if word.chars().count() > SHORTEST_BEGINNING && word.ends_with('s') && !word.ends_with("ss") {
            word.pop();
        }
        word
    })
}

#[cfg(test)]
mod tests {
    use engine::{About, HeadKind, HeadParts};

    use super::*;

    fn task(name: &str, labels: &[&str], description: &str, tags: &[&str]) -> (TaskName, Head) {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let parts = HeadParts {
            labels: owned(labels),
            weight: vec![0.5; labels.len()].into(),
            bias: vec![0.0; labels.len()].into(),
            about: About { description: description.to_owned(), tags: owned(tags), ..About::default() },
            ..HeadParts::default()
        };
        (name.parse().unwrap(), Head::new(HeadKind::Classification, 1, parts).unwrap())
    }

    fn tasks() -> Vec<(TaskName, Head)> {
        vec![
            task("films/mood", &["positive", "negative"], "What a viewer thinks of a film.", &["sentiment"]),
            task("news/desk", &["sport", "money"], "Which desk gets this news item?", &["topic", "news"]),
            task("tweet/emotion", &["joy", "anger"], "What a tweet feels; no film at all.", &["tweets"]),
        ]
    }

    fn found(query: &str) -> Vec<(usize, f64)> {
        let tasks = tasks();
        let matches = rank(&Query::parse(query).unwrap(), tasks.iter().map(|(name, head)| (name, head)));
        matches.iter().map(|found| (found.task, (found.score * 1e6).round() / 1e6)).collect()
    }

    fn rounded(number: f64) -> f64 {
        (number * 1e6).round() / 1e6
    }

    #[test]
    fn a_word_in_the_name_is_worth_more_than_one_in_the_description() {
        // Two of three tasks have it: in the name and the description, and in the description alone.
        let rarity = (1.0_f64 + 3.0 / 2.0).ln();
        assert_eq!(found("Film"), [(0, rounded(10.0 * rarity)), (2, rounded(2.0 * rarity))]);
    }

    #[test]
    fn a_rare_word_counts_more_and_a_beginning_counts_half() {
        assert_eq!(found("emot"), [(2, rounded(0.5 * 8.0 * 4.0_f64.ln()))]);
        assert_eq!(found("emotions"), [(2, rounded(8.0 * 4.0_f64.ln()))]);
        let all = (1.0_f64 + 1.0).ln();
        // Every task is a classification.
        assert_eq!(found("classification"), [0, 1, 2].map(|task| (task, rounded(3.0 * all))));
        assert!(found("em").is_empty(), "a short word is no beginning");
    }

    #[test]
    fn reasons_name_the_words_and_where_they_were_found() {
        let tasks = tasks();
        let query = Query::parse("news sport unheard").unwrap();
        let matches = rank(&query, tasks.iter().map(|(name, head)| (name, head)));
        let reasons: Vec<_> = matches[0].reasons.iter().map(|reason| (reason.word.as_str(), reason.field)).collect();
        assert_eq!(
            reasons,
            [("new", Field::Name), ("new", Field::Tag), ("new", Field::Description), ("sport", Field::Label)]
        );
        let sum: f64 = matches[0].reasons.iter().map(|reason| reason.points).sum();
        assert_eq!((matches.len(), matches[0].score), (1, sum));
    }

    #[test]
    fn a_query_without_words_or_with_too_many_is_refused() {
        assert!(Query::parse(" -- ").unwrap_err().contains("at least one word"));
        let many: Vec<String> = (0..17).map(|number| format!("w{number}")).collect();
        assert!(Query::parse(&many.join(" ")).unwrap_err().contains("the limit is 16"));
        assert!(Query::parse(&"w0 ".repeat(100)).is_ok(), "equal words count once");
        assert!(Query::parse(&"x".repeat(513)).unwrap_err().contains("the limit is 512"));
    }
}
