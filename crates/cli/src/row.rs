//! One line of input as the message it stands for. What a row means is for the server to judge; here it is only read.

use api::v1::Input;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::Failure;

/// The largest message a server accepts by default.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The fields of a classification row; others are ignored, and `null` is like not given.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(crate) struct TextRow {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    text_pair: Option<String>,
    #[serde(default)]
    choices: Option<Vec<String>>,
    #[serde(default)]
    tokens: Option<Vec<String>>,
}

impl From<TextRow> for Input {
    fn from(row: TextRow) -> Self {
        Self {
            text: row.text.unwrap_or_default(),
            text_pair: row.text_pair,
            choices: row.choices.unwrap_or_default(),
            tokens: row.tokens.unwrap_or_default(),
        }
    }
}

/// Reads one line as a row of the form `T`.
///
/// # Errors
/// The failure to report in the row's place.
pub(crate) fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, Failure> {
    if line.trim_ascii().is_empty() {
        return Err(Failure::invalid("the line is empty; a JSON object is needed"));
    }
    let text = std::str::from_utf8(line)
        .map_err(|error| Failure::invalid(&format!("the line is not UTF-8 from byte {} on", error.valid_up_to())))?;
    // A sequence would be taken for a struct by position.
    if !text.trim_start().starts_with('{') {
        return Err(Failure::invalid("the line is not a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| Failure::invalid(&format!("the line is not a JSON row: {error}")))
}

/// Refuses a message that would break the stream for every row behind it.
///
/// # Errors
/// The failure to report in the row's place.
pub(crate) fn check_size(encoded_bytes: usize) -> Result<(), Failure> {
    if encoded_bytes > MAX_MESSAGE_BYTES {
        let message = format!("the row has {encoded_bytes} bytes as a message, the limit is {MAX_MESSAGE_BYTES}");
        return Err(Failure::invalid(&message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(line: &str) -> Result<Input, Failure> {
        parse::<TextRow>(line.as_bytes()).map(Input::from)
    }

    #[test]
    fn fields_of_the_data_sets_are_read_and_others_ignored() {
        let row = input(r#" {"text": "a", "text_pair": "b", "label": 3, "idx": {"deep": [1]}} "#).unwrap();
        assert_eq!((row.text.as_str(), row.text_pair.as_deref()), ("a", Some("b")));
        let row = input(r#"{"tokens": ["a", "b"], "labels": [0, 1], "text": null}"#).unwrap();
        assert_eq!((row.text.as_str(), row.tokens.len()), ("", 2));
    }

    #[test]
    fn an_empty_second_text_is_not_the_same_as_none() {
        assert_eq!(input(r#"{"text": "a", "text_pair": ""}"#).unwrap().text_pair.as_deref(), Some(""));
        assert_eq!(input(r#"{"text": "a", "text_pair": null}"#).unwrap().text_pair, None);
        assert_eq!(input(r#"{"text": "a"}"#).unwrap().text_pair, None);
    }

    #[test]
    fn what_is_not_a_row_is_a_failure_and_says_why() {
        for (line, reason) in [
            ("", "empty"),
            ("   ", "empty"),
            ("null", "not a JSON object"),
            ("[\"a\"]", "not a JSON object"),
            ("{\"text\": 3}", "invalid type"),
            ("{\"text\": \"a\"", "EOF"),
            ("{\"text\": \"a\"} x", "trailing"),
            (r#"{"text": "\ud800"}"#, "hex escape"),
        ] {
            let failure = input(line).unwrap_err();
            assert_eq!(failure.code, "INVALID_ARGUMENT");
            assert!(failure.message.contains(reason), "{line}: {}", failure.message);
        }
        assert!(parse::<TextRow>(b"{\"text\": \"\xff\"}").unwrap_err().message.contains("UTF-8 from byte 10"));
    }
}
