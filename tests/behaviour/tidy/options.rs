//! The option file of `deploy/` says of every option of `serve` what its flag says: name, meaning, default.

use super::tree::Tree;
use super::{assert_complains, assert_kept};

const DECLARED: &str = "crates/server/src/config.rs";
const OPTION_FILE: &str = "deploy/headwater.env";

fn options_that_the_option_file_tells_otherwise(tree: &Tree) -> Vec<String> {
    let declared = tree.files.get(DECLARED).map_or("", String::as_str);
    let told = tree.files.get(OPTION_FILE).map_or("", String::as_str);
    let entries = entries(declared);
    let missing = entries.iter().filter(|entry| !told.contains(entry.as_str()));
    missing.map(|entry| format!("{OPTION_FILE} should hold, as {DECLARED} declares it:\n{entry}")).collect()
}

/// One entry for each field with an environment variable: its documentation as a comment, then the default.
fn entries(declared: &str) -> Vec<String> {
    let mut entries = Vec::new();
    let mut meaning = Vec::new();
    for line in declared.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            meaning.push(text);
        } else if let Some(name) = between(line, "env = \"", "\"") {
            entries.push(format!("# {}\n#{name}={}\n", meaning.join(" "), default(line)));
        } else {
            meaning.clear();
        }
    }
    entries
}

fn default(attribute: &str) -> String {
    if let Some(text) = between(attribute, "default_value = \"", "\"") {
        return text.to_owned();
    }
    let Some(number) = between(attribute, "default_value_t = ", ")]") else {
        return String::new();
    };
    let number = number.replace('_', "");
    let shifted = number.split_once(" << ").and_then(|(n, by)| Some(n.parse::<u64>().ok()? << by.parse::<u32>().ok()?));
    shifted.map_or(number, |value| value.to_string())
}

fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

#[test]
fn the_option_file_says_what_the_flags_say() {
    assert_kept(options_that_the_option_file_tells_otherwise);
    let field = "/// Bytes of one text\n#[arg(long, env = \"HEADWATER_MAX\", default_value_t = 64 << 10)]\nmax: usize,";
    let stale = "# Bytes of one text\n#HEADWATER_MAX=65000\n";
    let tree = [(DECLARED, field), (OPTION_FILE, stale)];
    assert_complains(options_that_the_option_file_tells_otherwise, &tree, "#HEADWATER_MAX=65536");
}
