//! Ids, words, byte offsets and truncation equal those of the Python fast tokenizer.

mod lines;

use std::fs;

use engine::{Text, TokenizeRequest, Tokenizer, Tokens};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::fixtures;
use lines::Table;

const DIGEST_BYTES: usize = 4;
/// No line and no pair reaches it.
const UNCUT: usize = 100_000;

/// Id, type id, side (-1 for special tokens), word, first byte, last byte.
type Entry = [i32; 6];

/// A line of `written-out.json`.
#[derive(Debug, Deserialize)]
struct WrittenOut {
    text: String,
    tokens: Vec<Entry>,
}

fn table() -> Table {
    fixtures::read_json(&fixtures::path("tokenizer/lines.json"))
}

fn entries(tokens: &Tokens) -> Vec<Entry> {
    let entry = |((id, type_id), origin): ((&u32, &u32), &Option<engine::Origin>)| {
        let [side, word, start, end] = origin.map_or([-1, 0, 0, 0], |origin| {
            [i32::from(origin.side), origin.word as i32, origin.start as i32, origin.end as i32]
        });
        [*id as i32, *type_id as i32, side, word, start, end]
    };
    tokens.ids.iter().zip(&tokens.type_ids).zip(&tokens.origins).map(entry).collect()
}

fn tokenize(tokenizer: &dyn Tokenizer, text: Text<'_>, pair: Option<Text<'_>>, max_tokens: usize) -> Tokens {
    tokenizer.tokenize(TokenizeRequest { text, pair, max_tokens }).expect("every line has tokens")
}

/// Compares the digest of what `found` gives for each number with the file's.
fn hold(folder: &str, file: &str, count: u64, found: impl Fn(u64) -> Vec<Entry>) {
    let golden = fs::read(fixtures::path("tokenizer").join(folder).join(file)).expect("a fixture");
    assert_eq!(golden.len(), count as usize * DIGEST_BYTES, "{folder}/{file}");
    let differs = |number: &u64| {
        let entries = found(*number);
        let bytes: Vec<u8> = entries.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let at = *number as usize * DIGEST_BYTES;
        Sha256::digest(bytes)[..DIGEST_BYTES] != golden[at..at + DIGEST_BYTES]
    };
    let different: Vec<u64> = (0..count).filter(differs).collect();
    if let Some(first) = different.first() {
        let tokens = found(*first);
        panic!("{folder}/{file}: {} of {count} differ, the first is number {first}: {tokens:?}", different.len());
    }
}

fn holds_to_the_reference(folder: &str) {
    let table = table();
    let tokenizer = crate::open_tokenizer(&fixtures::path("tokenizer").join(folder), Some(UNCUT));
    let written: Vec<WrittenOut> =
        fixtures::read_json(&fixtures::path("tokenizer").join(folder).join("written-out.json"));
    for (number, golden) in (0..).zip(&written) {
        assert_eq!(table.line(number), golden.text, "line {number}: both sides make the same lines");
        let found = entries(&tokenize(&tokenizer, Text::Raw(&golden.text), None, UNCUT));
        assert_eq!(found, golden.tokens, "{folder}, line {number}: {:?}", golden.text);
    }
    hold(folder, "lines.digests", table.count, |number| {
        entries(&tokenize(&tokenizer, Text::Raw(&table.line(number)), None, UNCUT))
    });
    hold(folder, "words.digests", table.word_lists, |number| {
        entries(&tokenize(&tokenizer, Text::Words(&table.words(number)), None, UNCUT))
    });
    hold(folder, "pairs.digests", table.pairs, |number| {
        let [text, other] = table.pair(number);
        let limit = table.limits[number as usize % table.limits.len()];
        entries(&tokenize(&tokenizer, Text::Raw(&text), Some(Text::Raw(&other)), limit))
    });
}

#[test]
fn the_published_unigram_pipeline_equals_the_reference() {
    holds_to_the_reference("unigram-published");
}

#[test]
fn the_current_unigram_pipeline_equals_the_reference() {
    holds_to_the_reference("unigram-current");
}

#[test]
fn the_wordpiece_pipeline_equals_the_reference() {
    holds_to_the_reference("wordpiece");
}
