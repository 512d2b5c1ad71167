//! Labels of words to entities, as seqeval reads them: leniently (its default) and by the letter of IOB2 (its strict mode).

use std::ops::Range;

/// What stands before the dash of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Begin,
    Inside,
    End,
    Single,
    Outside,
}

/// A label taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    prefix: Prefix,
    /// Place of its entity type among all types; `None` outside.
    kind: Option<usize>,
}

/// An entity: its type and its words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Entity {
    pub(crate) kind: usize,
    pub(crate) words: Range<usize>,
}

/// The labels of a head, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Scheme {
    /// Entity types in order of name.
    pub(crate) kinds: Vec<String>,
    /// One a label.
    tags: Vec<Tag>,
    /// Whether every label is `O`, `B-` or `I-`, so that the letter of IOB2 means something.
    pub(crate) is_iob2: bool,
}

impl Tag {
    pub(crate) const OUTSIDE: Self = Self { prefix: Prefix::Outside, kind: None };
}

impl Scheme {
    pub(crate) fn of_labels(labels: &[String]) -> Self {
        let parts: Vec<_> = labels.iter().map(|label| take_apart(label)).collect();
        let mut kinds: Vec<String> = parts.iter().filter_map(|(_, kind)| kind.map(str::to_owned)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let place = |kind: &str| kinds.binary_search_by(|known| known.as_str().cmp(kind)).ok();
        let tags = parts.iter().map(|(prefix, kind)| Tag { prefix: *prefix, kind: kind.and_then(place) }).collect();
        let iob2 = |label: &String| label == "O" || label.starts_with("B-") || label.starts_with("I-");
        Self { is_iob2: labels.iter().all(iob2), kinds, tags }
    }

    pub(crate) fn tag(&self, label: usize) -> Tag {
        self.tags.get(label).copied().unwrap_or(Tag::OUTSIDE)
    }
}

/// Prefix and entity type of a label. One that has no prefix is a type by itself, and neighbours of it are one entity.
fn take_apart(label: &str) -> (Prefix, Option<&str>) {
    if label == "O" {
        return (Prefix::Outside, None);
    }
    let (before, kind) = match label.split_once('-') {
        Some((before, kind)) => (before, kind),
        None => (label, ""),
    };
    let prefix = match before {
        "B" => Prefix::Begin,
        "I" => Prefix::Inside,
        "E" => Prefix::End,
        "S" => Prefix::Single,
        _ => return (Prefix::Inside, Some(label)),
    };
    (prefix, Some(if kind.is_empty() { "_" } else { kind }))
}

/// Entities as seqeval's default mode finds them: one may begin with an inside label, and ends where the type changes.
pub(crate) fn lenient(tags: &[Tag]) -> Vec<Entity> {
    let mut entities = Vec::new();
    let mut begin = 0;
    let mut before = Tag::OUTSIDE;
    for (word, tag) in tags.iter().copied().chain([Tag::OUTSIDE]).enumerate() {
        if let Some(kind) = before.kind.filter(|_| ends(before, tag)) {
            entities.push(Entity { kind, words: begin..word });
        }
        if begins(before, tag) {
            begin = word;
        }
        before = tag;
    }
    entities
}

/// Entities by the letter of IOB2: each begins with `B-` and goes on with `I-` of the same type.
pub(crate) fn strict(tags: &[Tag]) -> Vec<Entity> {
    let mut entities: Vec<Entity> = Vec::new();
    for (word, tag) in tags.iter().enumerate() {
        match (tag.prefix, tag.kind, entities.last_mut()) {
            (Prefix::Begin, Some(kind), _) => entities.push(Entity { kind, words: word..word + 1 }),
            (Prefix::Inside, Some(kind), Some(last)) if last.words.end == word && last.kind == kind => {
                last.words.end += 1;
            }
            (Prefix::Begin | Prefix::Inside | Prefix::End | Prefix::Single | Prefix::Outside, _, _) => {}
        }
    }
    entities
}

fn ends(before: Tag, tag: Tag) -> bool {
    let follows_none = matches!(tag.prefix, Prefix::Begin | Prefix::Single | Prefix::Outside);
    match before.prefix {
        Prefix::Outside => false,
        Prefix::End | Prefix::Single => true,
        Prefix::Begin | Prefix::Inside => follows_none || before.kind != tag.kind,
    }
}

fn begins(before: Tag, tag: Tag) -> bool {
    match tag.prefix {
        Prefix::Outside => false,
        Prefix::Begin | Prefix::Single => true,
        Prefix::Inside | Prefix::End => {
            matches!(before.prefix, Prefix::End | Prefix::Single | Prefix::Outside) || before.kind != tag.kind
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(labels: &[&str], of: fn(&[Tag]) -> Vec<Entity>) -> Vec<(String, Range<usize>)> {
        let own: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let scheme = Scheme::of_labels(&own);
        let tags: Vec<Tag> = (0..labels.len()).map(|label| scheme.tag(label)).collect();
        of(&tags).into_iter().map(|entity| (scheme.kinds[entity.kind].clone(), entity.words)).collect()
    }

    #[test]
    fn an_entity_that_begins_inside_counts_in_the_lenient_reading_alone() {
        let labels = ["O", "I-PER", "I-PER", "B-LOC", "I-PER"];
        assert_eq!(
            found(&labels, lenient),
            [("PER".to_owned(), 1..3), ("LOC".to_owned(), 3..4), ("PER".to_owned(), 4..5)]
        );
        assert_eq!(found(&labels, strict), [("LOC".to_owned(), 3..4)]);
    }

    #[test]
    fn types_may_hold_dashes_and_labels_may_lack_a_prefix() {
        assert_eq!(found(&["B-creative-work", "I-creative-work"], lenient), [("creative-work".to_owned(), 0..2)]);
        assert_eq!(found(&["NOUN", "NOUN", "ORG"], lenient), [("NOUN".to_owned(), 0..2), ("ORG".to_owned(), 2..3)]);
        assert_eq!(found(&["B", "I"], lenient), [("_".to_owned(), 0..2)]);
    }

    #[test]
    fn an_inside_label_after_a_gap_does_not_go_on() {
        assert_eq!(found(&["B-PER", "O", "I-PER"], strict), [("PER".to_owned(), 0..1)]);
        assert_eq!(found(&["B-PER", "E-PER", "I-PER"], lenient), [("PER".to_owned(), 0..2), ("PER".to_owned(), 2..3)]);
    }
}
