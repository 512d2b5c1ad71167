//! The licence that a model card names: `license:` in the block of settings at the beginning of `README.md`.

use crate::error::CheckpointError;
use crate::folder::SourceFolder;

const FILE: &str = "README.md";
/// A longer card is not looked at.
const MAX_CARD_BYTES: u64 = 1 << 20;
/// A longer licence is no identifier.
const MAX_LICENCE_BYTES: usize = 64;
const FENCE: &str = "---";

/// The licence named by the card in `folder`; `None` where there is no card or it names none.
///
/// # Errors
/// If the card is there but no regular file of a reasonable size.
pub(crate) fn licence(folder: &SourceFolder) -> Result<Option<String>, CheckpointError> {
    let card = folder.bytes(FILE, MAX_CARD_BYTES)?.unwrap_or_default();
    Ok(named_in(&String::from_utf8_lossy(&card)))
}

fn named_in(card: &str) -> Option<String> {
    let settings = card.strip_prefix(FENCE)?.lines().skip(1).take_while(|line| line.trim_end() != FENCE);
    let named = settings.filter_map(|line| line.strip_prefix("license:")).next()?;
    let licence = named.trim().trim_matches(['"', '\'']);
    let is_identifier = licence.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
    (is_identifier && (1..=MAX_LICENCE_BYTES).contains(&licence.len())).then(|| licence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_stands_in_the_settings_of_a_card() {
        assert_eq!(named_in("---\nlanguage: en\nlicense: mit\n---\n# Model\n").as_deref(), Some("mit"));
        assert_eq!(named_in("---\r\nlicense: \"apache-2.0\"\r\n---\r\n").as_deref(), Some("apache-2.0"));
    }

    #[test]
    fn anything_else_is_no_licence() {
        let long = format!("---\nlicense: {}\n---\n", "a".repeat(100));
        for card in ["", "license: mit\n", "---\n---\nlicense: mit\n", "---\nlicense:\n- mit\n---\n", long.as_str()] {
            assert_eq!(named_in(card), None, "{card:?}");
        }
    }
}
