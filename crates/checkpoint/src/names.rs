//! Task names: as published where that is a valid name, otherwise made valid, and never silently.

use engine::{MAX_TASK_NAME_BYTES, NameError, TaskName};

use crate::error::CheckpointError;

/// Stands for every character that a name may not hold.
const REPLACEMENT: char = '-';

/// The task called `listed`, and whether its name had to be changed: blanks and other printable characters become
/// dashes, and a part that does not begin with a letter or a digit loses its beginning.
///
/// # Errors
/// If it is empty or too long, holds control characters, or has a part that is empty or `..`.
pub(crate) fn task_name(listed: &str) -> Result<(TaskName, bool), CheckpointError> {
    let bad =
        |source| CheckpointError::BadTaskName { name: listed.chars().take(MAX_TASK_NAME_BYTES).collect(), source };
    let source = match listed.parse() {
        Ok(name) => return Ok((name, false)),
        Err(source) => source,
    };
    if source != NameError::Malformed || listed.chars().any(char::is_control) || listed.contains('\\') {
        return Err(bad(source));
    }
    let parts: Vec<String> = listed.split('/').map(made_valid).collect();
    parts.join("/").parse().map(|name| (name, true)).map_err(bad)
}

/// A name for a task that has none, from the name of a folder or repository.
pub(crate) fn from_source(source: &str) -> Option<TaskName> {
    let last = source.rsplit('/').next().unwrap_or_default();
    let lower: String = made_valid(&last.to_lowercase()).chars().take(MAX_TASK_NAME_BYTES).collect();
    lower.parse().ok()
}

fn made_valid(part: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._+&-".contains(c);
    // A part of dots alone is a way out of the folder, not a name to mend.
    if part.chars().all(|c| c == '.') {
        return part.to_owned();
    }
    let mapped: String = part.chars().map(|c| if allowed(c) { c } else { REPLACEMENT }).collect();
    mapped.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).trim_end_matches(REPLACEMENT).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_names_stay_and_odd_ones_are_mended() {
        let named =
            |listed: &str| task_name(listed).map(|(name, changed)| (name.as_str().to_owned(), changed)).unwrap();
        assert_eq!(
            named("lexical_relation_classification/K&H+N"),
            ("lexical_relation_classification/K&H+N".into(), false)
        );
        assert_eq!(named("ag news (v2)"), ("ag-news--v2".into(), true));
        assert_eq!(named("a/_b"), ("a/b".into(), true));
    }

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for listed in ["", "..", "../../etc/passwd", "a/../b", "/etc/passwd", "a//b", "a\0b", "a\nb", "..\\a", "."] {
            assert!(task_name(listed).is_err(), "{listed:?}");
        }
    }
}
