//! Sides, cuts, limits and what a file leaves unsaid. The pieces themselves are held to the reference elsewhere.

use engine::{Strategy, Tokenizer as _};
use serde_json::{Value, json};
use tokenizers::{Token, TruncationParams, TruncationStrategy, truncate_encodings};

use super::*;

/// A folder with a word-level tokenizer, changed by `change`.
fn folder(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true})
    };
    let mut file = json!({
        "version": "1.0",
        "truncation": {"direction": "Left", "max_length": 3, "strategy": "OnlyFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [added(1, "[CLS]"), added(2, "[SEP]")],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "[UNK]",
            "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "ä": 3, "b": 4, "c": 5, "dd": 6}},
    });
    change(&mut file);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
    folder
}

fn tokenize(text: Text<'_>, pair: Option<Text<'_>>, max_tokens: usize) -> Result<Tokens, TokenizeError> {
    let tokenizer = FastTokenizer::open(folder(|_| ()).path(), None).unwrap();
    tokenizer.tokenize(TokenizeRequest { text, pair, max_tokens })
}

fn origin(side: u8, word: u32, start: u32, end: u32) -> Option<Origin> {
    Some(Origin { side, word, start, end })
}

#[test]
fn special_tokens_are_added_where_the_file_says_nothing() {
    let tokens = tokenize(Text::Raw("ä b"), Some(Text::Raw("dd")), 512).unwrap();
    assert_eq!(tokens.ids, [1, 3, 4, 2, 6, 2]);
    assert_eq!(tokens.type_ids, [0, 0, 0, 0, 1, 1]);
    let expected = [None, origin(0, 0, 0, 2), origin(0, 1, 3, 4), None, origin(1, 0, 0, 2), None];
    assert_eq!(tokens.origins, expected);
    assert_eq!(tokens.cut, None);
}

#[test]
fn token_types_are_those_that_the_tokenizers_class_hands_to_the_model() {
    let types = |settings: &str| {
        let folder = folder(|_| ());
        std::fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
        let tokenizer = FastTokenizer::open(folder.path(), None).unwrap();
        let request = TokenizeRequest { text: Text::Raw("b"), pair: Some(Text::Raw("c")), max_tokens: 512 };
        tokenizer.tokenize(request).unwrap().type_ids
    };
    assert_eq!(types(r#"{"tokenizer_class": "DebertaV2Tokenizer"}"#), [0, 0, 0, 1, 1]);
    assert_eq!(types(r#"{"tokenizer_class": "TokenizersBackend"}"#), [0; 5]);
    let named = r#"{"tokenizer_class": "TokenizersBackend", "model_input_names": ["input_ids", "token_type_ids"]}"#;
    assert_eq!(types(named), [0, 0, 0, 1, 1]);
    assert_eq!(types(r#"{"model_input_names": ["input_ids"]}"#), [0; 5]);
}

#[test]
fn padding_and_truncation_of_the_file_are_not_used() {
    assert_eq!(tokenize(Text::Raw("b b b b b b"), None, 512).unwrap().len(), 8);
}

#[test]
fn the_longest_side_is_cut_and_said_to_be() {
    let tokens = tokenize(Text::Raw("ä b c b c"), Some(Text::Raw("dd")), 7).unwrap();
    assert_eq!(tokens.ids, [1, 3, 4, 5, 2, 6, 2]);
    assert_eq!(tokens.cut, Some(Cut { tokens_before: 9, text_kept: Some(6), pair_kept: None }));
    let tokens = tokenize(Text::Raw("b c b c"), Some(Text::Raw("dd c b b")), 7).unwrap();
    assert_eq!(tokens.cut, Some(Cut { tokens_before: 11, text_kept: Some(3), pair_kept: Some(4) }));
    let tokens = tokenize(Text::Raw("b c b c"), None, 4).unwrap();
    assert_eq!((tokens.len(), tokens.cut), (4, Some(Cut { tokens_before: 6, text_kept: Some(3), pair_kept: None })));
}

#[test]
fn words_keep_their_index_and_offsets_start_in_the_word() {
    let words = ["ä".to_owned(), "b dd".to_owned(), "c".to_owned()];
    let tokens = tokenize(Text::Words(&words), None, 5).unwrap();
    assert_eq!(tokens.ids, [1, 3, 4, 6, 2]);
    assert_eq!(tokens.origins[1..4], [origin(0, 0, 0, 2), origin(0, 1, 0, 1), origin(0, 1, 2, 4)]);
    assert_eq!(tokens.cut, Some(Cut { tokens_before: 6, text_kept: Some(2), pair_kept: None }));
}

#[test]
fn a_literal_special_token_is_matched_and_still_has_an_origin() {
    let tokens = tokenize(Text::Raw("b [SEP] c"), None, 512).unwrap();
    assert_eq!(tokens.ids, [1, 4, 2, 5, 2]);
    assert_eq!((tokens.origins[2], tokens.origins[4]), (origin(0, 1, 2, 7), None));
}

#[test]
fn a_limit_without_room_for_text_is_refused() {
    let refused = tokenize(Text::Raw("b"), Some(Text::Raw("c")), 3);
    assert_eq!(refused, Err(TokenizeError::NoRoom { max_tokens: 3, special: 3 }));
    assert_eq!(tokenize(Text::Raw(""), None, 3).unwrap().ids, [1, 2]);
}

#[test]
fn the_files_say_how_long_a_sequence_may_be() {
    let folder = folder(|_| ());
    let longest = |wanted| FastTokenizer::open(folder.path(), wanted).unwrap().max_tokens();
    assert_eq!((longest(None), longest(Some(9_000))), (512, 9_000));
    let config = |biased: bool| {
        let config = json!({"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "max_position_embeddings": 100, "position_biased_input": biased});
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    };
    config(false);
    assert_eq!((longest(None), longest(Some(9_000))), (100, 9_000));
    let said = |length: &str| {
        let text = format!("{{\"model_max_length\": {length}}}");
        std::fs::write(folder.path().join("tokenizer_config.json"), text).unwrap();
    };
    said("1000000000000000019884624838656");
    assert_eq!(longest(None), 100);
    said("200");
    assert_eq!(longest(None), 200);
    config(true);
    assert_eq!((longest(None), longest(Some(9_000)), longest(Some(7))), (100, 100, 7));
}

#[test]
fn a_file_that_cannot_serve_is_refused_with_a_reason() {
    let reason = |folder: &tempfile::TempDir| match FastTokenizer::open(folder.path(), None) {
        Err(LoadError::Tokenizer { reason }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    };
    assert!(reason(&tempfile::tempdir().unwrap()).contains("save_pretrained"));
    let nameless = folder(|file| {
        file["added_tokens"] = json!([]);
        file["model"]["vocab"] = json!({"[UNK]": 0});
    });
    assert!(reason(&nameless).contains("no [CLS]"));
    reason(&folder(|file| file["model"] = json!(7)));
}

fn side(tokens: usize) -> Encoding {
    Encoding::from_tokens(vec![Token::new(0, "a".to_owned(), (0, 1)); tokens], 0)
}

/// What the library keeps of both sides, with the windows that overlap by `stride` tokens; `None` where it refuses.
fn truncated(
    sides: (usize, Option<usize>),
    room: usize,
    strategy: TruncationStrategy,
    stride: usize,
) -> Option<(Encoding, Option<Encoding>)> {
    let params = TruncationParams { max_length: room, strategy, stride, direction: TruncationDirection::Right };
    truncate_encodings(side(sides.0), sides.1.map(side), &params).ok()
}

#[test]
fn what_is_kept_of_every_small_case_equals_the_librarys_own_rule() {
    let strategies = [
        (Strategy::LongestFirst, TruncationStrategy::LongestFirst),
        (Strategy::OnlyFirst, TruncationStrategy::OnlyFirst),
    ];
    for room in 1..12 {
        for text in 0..16 {
            for pair in (0..16).map(Some).chain([None]) {
                for (ours, theirs) in strategies {
                    let theirs = truncated((text, pair), room, theirs, 0).map(|(first, second)| Kept {
                        text: first.len(),
                        pair: second.map_or(0, |second| second.len()),
                    });
                    assert_eq!(Kept::of(text, pair, room, ours), theirs, "{text} {pair:?} in {room}, {ours:?}");
                }
            }
        }
    }
}

#[test]
fn windows_lie_where_the_librarys_stride_lays_them() {
    for room in 1..20 {
        for tokens in 1..70 {
            let (mut first, _) = truncated((tokens, None), room, TruncationStrategy::OnlyFirst, overlap(room)).unwrap();
            let others = first.take_overflowing();
            let theirs: Vec<usize> = [first].iter().chain(&others).map(Encoding::len).collect();
            let ours: Vec<usize> = windows(tokens, room).iter().map(Range::len).collect();
            assert_eq!(ours, theirs, "{tokens} in {room}");
            let found: Vec<_> = in_windows(side(tokens), room).iter().map(|(window, _)| window.len()).collect();
            assert_eq!(found, theirs, "{tokens} in {room}");
        }
    }
}

fn fit(text: &str, pair: Option<&str>, max_tokens: usize, fit: Fit) -> Result<Vec<Window>, TokenizeError> {
    let tokenizer = FastTokenizer::open(folder(|_| ()).path(), None).unwrap();
    tokenizer.fit(TokenizeRequest { text: Text::Raw(text), pair: pair.map(Text::Raw), max_tokens }, fit)
}

#[test]
fn windows_keep_the_offsets_of_the_whole_text_and_cut_nothing() {
    let in_windows = Fit { in_windows: true, ..Fit::default() };
    let windows = fit("ä b c dd b c ä", None, 6, in_windows).unwrap();
    let ids: Vec<_> = windows.iter().map(|window| window.tokens.ids.as_slice()).collect();
    assert_eq!(ids, [&[1, 3, 4, 5, 6, 2][..], &[1, 6, 4, 5, 3, 2]]);
    assert_eq!((windows[0].range.clone(), windows[1].range.clone()), (0..4, 3..7));
    assert_eq!(windows[1].tokens.origins[1], origin(0, 3, 7, 9));
    assert!(windows.iter().all(|window| window.tokens.cut.is_none()));
}

#[test]
fn windows_over_one_side_stand_beside_the_whole_other() {
    let in_windows = Fit { in_windows: true, ..Fit::default() };
    let ids = |windows: Vec<Window>| windows.iter().map(|window| window.tokens.ids.clone()).collect::<Vec<_>>();
    assert_eq!(
        ids(fit("b", Some("c c c c dd"), 8, in_windows).unwrap()),
        [[1, 4, 2, 5, 5, 5, 5, 2].to_vec(), [1, 4, 2, 5, 6, 2].to_vec()]
    );
    assert_eq!(
        ids(fit("c c c c dd", Some("b"), 8, in_windows).unwrap()),
        [[1, 5, 5, 5, 5, 2, 4, 2].to_vec(), [1, 5, 6, 2, 4, 2].to_vec()]
    );
    let both = fit("c c c c c", Some("b b b b dd dd"), 7, in_windows).unwrap();
    assert_eq!(
        ids(both.clone()),
        [[1, 5, 5, 2, 4, 4, 2].to_vec(), [1, 5, 5, 2, 4, 4, 2].to_vec(), [1, 5, 5, 2, 6, 6, 2].to_vec()]
    );
    let cut = Some(Cut { tokens_before: 14, text_kept: Some(3), pair_kept: None });
    assert!(both.iter().all(|window| window.tokens.cut == cut), "{both:?}");
}

#[test]
fn a_pair_that_may_not_be_cut_stays_whole_or_is_refused() {
    let only_first = Fit { strategy: Strategy::OnlyFirst, in_windows: false };
    let row = fit("ä b", Some("c c c c"), 8, only_first).unwrap().remove(0).tokens;
    assert_eq!(row.ids, [1, 3, 2, 5, 5, 5, 5, 2]);
    assert_eq!(row.cut, Some(Cut { tokens_before: 9, text_kept: Some(2), pair_kept: None }));
    let refused = fit("ä b", Some("c c c c c"), 8, only_first);
    assert_eq!(refused, Err(TokenizeError::PairTooLong { pair: 5, limit: 4 }));
}
