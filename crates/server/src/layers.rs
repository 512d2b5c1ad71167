//! The options of `serve` from four layers: a flag beats the environment, that the configuration file, that a default.
//!
//! clap knows the first, the second and the last; what the file says takes a default's place before clap reads anew. So
//! a value is parsed and refused alike, wherever it stands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command};
use server::{ConfigOption, Source};

use crate::config::{LIVE, Serve};

/// The subcommand that a configuration file is for.
const SERVE: &str = "serve";
/// Options that make no sense in a file.
const NOT_IN_A_FILE: [&str; 2] = ["config", "check"];

/// Why the options cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayerError {
    /// The command line or the environment is at fault, or help was asked for: clap has the words.
    #[error("{0}")]
    Usage(clap::Error),
    /// The file is not there, or no TOML.
    #[error("the configuration file cannot be read: {0}")]
    File(String),
    /// A key that is no option.
    #[error("the configuration file: `{0}` is no option")]
    UnknownKey(String),
    /// A value that the option does not take.
    #[error("the configuration file: {0}")]
    Value(String),
}

/// What was said, layer over layer.
pub(crate) struct Layers {
    pub(crate) matches: ArgMatches,
    file: BTreeMap<String, String>,
}

impl Layers {
    /// Reads `words` with the environment, and the configuration file where one of the two names it.
    pub(crate) fn read(command: &Command, words: &[OsString]) -> Result<Self, LayerError> {
        let matches = command.clone().try_get_matches_from(words).map_err(LayerError::Usage)?;
        let path = matches.subcommand_matches(SERVE).and_then(|serve| serve.get_one::<std::path::PathBuf>("config"));
        let Some(path) = path else { return Ok(Self { matches, file: BTreeMap::new() }) };
        let file = parse_file(path)?;
        let said = file.clone();
        let command = command.clone().mut_subcommand(SERVE, |serve| {
            said.into_iter().fold(serve, |serve, (key, value)| {
                serve.mut_arg(key, |option| option.default_value(value).required(false))
            })
        });
        // Flags and environment were good before the file came in, so what is wrong now is the file's.
        let matches = command.try_get_matches_from(words).map_err(|error| LayerError::Value(reason(&error)))?;
        Ok(Self { matches, file })
    }

    /// Every option of `serve` with its value and where that comes from, in the order of the help.
    pub(crate) fn options(&self) -> Vec<ConfigOption> {
        let Some(matches) = self.matches.subcommand_matches(SERVE) else { return Vec::new() };
        let known = option_names().into_iter().filter(|name| name != "check");
        let option = |name: String| {
            let value = matches.get_raw(&name).and_then(|mut values| values.next());
            let source = match matches.value_source(&name) {
                Some(ValueSource::CommandLine) => Source::Flag,
                Some(ValueSource::EnvVariable) => Source::Environment,
                _ if self.file.contains_key(&name) => Source::File,
                _ => Source::Default,
            };
            let live = LIVE.contains(&name.as_str());
            ConfigOption { value: value.map(|value| value.to_string_lossy().into_owned()), source, live, name }
        };
        known.map(option).collect()
    }
}

/// The names of the options of `serve`, as a file spells them.
fn option_names() -> Vec<String> {
    let serve = Serve::augment_args(Command::new(SERVE));
    serve.get_arguments().map(|argument| argument.get_id().to_string()).collect()
}

fn parse_file(path: &Path) -> Result<BTreeMap<String, String>, LayerError> {
    let text = std::fs::read_to_string(path).map_err(|error| LayerError::File(error.to_string()))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| LayerError::File(error.to_string()))?;
    let known = option_names();
    let entry = |(key, value): (String, toml::Value)| {
        if !known.contains(&key) || NOT_IN_A_FILE.contains(&key.as_str()) {
            return Err(LayerError::UnknownKey(key));
        }
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(yes) => yes.to_string(),
            toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
                return Err(LayerError::Value(format!("`{key}` is one text, number or truth value")));
            }
        };
        Ok((key, value))
    };
    table.into_iter().map(entry).collect()
}

/// The first line of what clap has to say, without its own heading.
fn reason(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The options as a configuration file that says the same, each line with where its value comes from.
pub(crate) fn describe(options: &[ConfigOption]) -> String {
    let line = |option: &ConfigOption| {
        let source = match option.source {
            Source::Default => "default",
            Source::File => "file",
            Source::Environment => "environment",
            Source::Flag => "flag",
        };
        let (mark, source) = match &option.value {
            None => ("#", "not set"),
            Some(_) if NOT_IN_A_FILE.contains(&option.name.as_str()) => ("#", source),
            Some(_) => ("", source),
        };
        let entry = format!("{mark}{} = {}", option.name, option.value.as_deref().map(literal).unwrap_or_default());
        format!("{entry:<44} # {source}\n")
    };
    options.iter().map(line).collect()
}

/// A value as TOML has it.
fn literal(value: &str) -> String {
    if value.parse::<i64>().is_ok() || value.parse::<bool>().is_ok() {
        return value.to_owned();
    }
    toml::Value::String(value.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Vec<ConfigOption>, LayerError> {
        let command = Command::new("server").subcommand(Serve::augment_args(Command::new(SERVE)));
        let words: Vec<OsString> = ["server", SERVE].iter().chain(words).map(OsString::from).collect();
        Layers::read(&command, &words).map(|layers| layers.options())
    }

    fn read_file(text: &str, words: &[&str]) -> Result<Vec<ConfigOption>, LayerError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(&[&["--config", file.path().to_str().unwrap()], words].concat())
    }

    fn value(options: &[ConfigOption], name: &str) -> (Option<String>, Source) {
        let option = options.iter().find(|option| option.name == name).unwrap();
        (option.value.clone(), option.source)
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_a_default() {
        let file = "data = \"from-file\"\nmax_inputs = 7\nmax_choices = 8\nno_reflection = true\n";
        let options = read_file(file, &["--max-inputs", "9"]).unwrap();
        assert_eq!(value(&options, "data"), (Some("from-file".into()), Source::File));
        assert_eq!(value(&options, "max_inputs"), (Some("9".into()), Source::Flag));
        assert_eq!(value(&options, "max_choices"), (Some("8".into()), Source::File));
        assert_eq!(value(&options, "no_reflection"), (Some("true".into()), Source::File));
        assert_eq!(value(&options, "max_tasks"), (Some("1000".into()), Source::Default));
        assert_eq!(value(&options, "bundle"), (None, Source::Default));
    }

    #[test]
    fn what_a_file_gets_wrong_is_named() {
        let refusals = [
            ("max_input = 7", "`max_input` is no option"),
            ("config = \"other\"", "`config` is no option"),
            ("max_inputs = \"many\"", "invalid value 'many' for '--max-inputs <N>'"),
            ("max_inputs = [1, 2]", "`max_inputs` is one text"),
            ("max_inputs 7", "cannot be read"),
        ];
        for (text, expected) in refusals {
            let error = read_file(text, &["--data", "d"]).expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let absent = read(&["--data", "d", "--config", "/nowhere.toml"]).expect_err("no such file").to_string();
        assert!(absent.contains("No such file"), "{absent}");
    }

    #[test]
    fn what_is_described_is_a_file_that_says_the_same() {
        let file = "data = \"with \\\"quotes\\\"\"\nmax_inputs = 7\nno_reflection = true\n";
        let options = read_file(file, &["--dtype", "bf16"]).unwrap();
        let again = read_file(&describe(&options), &[]).unwrap();
        let values = |options: &[ConfigOption]| {
            let values = options.iter().filter(|option| option.name != "config");
            values.map(|option| (option.name.clone(), option.value.clone())).collect::<Vec<_>>()
        };
        assert_eq!(values(&options), values(&again));
    }

    #[test]
    fn what_changes_live_is_an_option() {
        let known = option_names();
        assert!(LIVE.iter().all(|name| known.iter().any(|known| known == name)));
    }
}
