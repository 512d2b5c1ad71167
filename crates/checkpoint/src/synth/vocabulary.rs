//! A working Unigram tokenizer of a given size, its pieces made from syllables.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::chance::Chance;

/// Stands for a blank at the beginning of a word, as in SentencePiece.
const BLANK: char = '\u{2581}';
const SPECIAL: [&str; 4] = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"];
const MASK: &str = "[MASK]";
const ONSETS: [&str; 20] =
    ["b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "ch", "th"];
const VOWELS: [&str; 10] = ["a", "e", "i", "o", "u", "ai", "ea", "ou", "y", "io"];
const CODAS: [&str; 8] = ["", "n", "r", "s", "t", "l", "ng", "ck"];

/// `tokenizer.json` with ids 0 to `size - 1`. Every printable ASCII character is a piece, so that Latin text has
/// few unknown ones.
pub(super) fn tokenizer(size: usize, seed: u64) -> Value {
    let mut chance = Chance::new(seed, "vocabulary");
    let mut pieces: Vec<(String, f64)> = SPECIAL.iter().map(|piece| ((*piece).to_owned(), 0.0)).collect();
    let mut seen: HashSet<String> = HashSet::new();
    let wanted = size.saturating_sub(SPECIAL.len() + 1);
    let blank = BLANK.to_string();
    let single = (' '..='~').filter(|c| *c != ' ').map(|c| c.to_string());
    for piece in std::iter::once(blank).chain(single).take(wanted) {
        seen.insert(piece.clone());
        pieces.push((piece, -12.0));
    }
    while seen.len() < wanted {
        let mut piece = String::new();
        if chance.below(2) == 0 {
            piece.push(BLANK);
        }
        for _ in 0..=chance.below(3) {
            for part in [one_of(&ONSETS, &mut chance), one_of(&VOWELS, &mut chance), one_of(&CODAS, &mut chance)] {
                piece.push_str(part);
            }
        }
        if seen.insert(piece.clone()) {
            let score = -6.0 - chance.below(6_000) as f64 / 1_000.0;
            pieces.push((piece, score));
        }
    }
    pieces.push((MASK.to_owned(), 0.0));
    let added: Vec<Value> = SPECIAL.iter().chain([&MASK]).map(|content| added_token(content, &pieces)).collect();
    let metaspace = json!({
        "type": "Metaspace", "replacement": BLANK.to_string(), "prepend_scheme": "always", "split": true,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": metaspace,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": template(&["[CLS]", "A", "[SEP]"]),
            "pair": template(&["[CLS]", "A", "[SEP]", "B", "[SEP]"]),
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]},
            },
        },
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": pieces, "byte_fallback": false},
    })
}

fn one_of(parts: &[&'static str], chance: &mut Chance) -> &'static str {
    parts.get(chance.below(parts.len())).copied().unwrap_or_default()
}

fn added_token(content: &str, pieces: &[(String, f64)]) -> Value {
    let id = pieces.iter().position(|(piece, _)| piece == content);
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

/// Text types: the second text and what follows it are of type 1.
fn template(parts: &[&str]) -> Vec<Value> {
    let mut kind = 0;
    let mut items = Vec::new();
    for part in parts {
        if *part == "B" {
            kind = 1;
        }
        items.push(if part.starts_with('[') {
            json!({"SpecialToken": {"id": part, "type_id": kind}})
        } else {
            json!({"Sequence": {"id": part, "type_id": kind}})
        });
    }
    items
}
