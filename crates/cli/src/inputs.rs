//! Texts on the command line, or a file of rows in their place.

use std::path::PathBuf;

use api::v1::Input;
use clap::Args;

/// Texts to ask about.
#[derive(Debug, Args)]
pub(crate) struct InputArguments {
    /// Texts; each is one input.
    #[arg(value_name = "TEXT", required_unless_present = "input")]
    texts: Vec<String>,
    /// Second text of a pair, for every text.
    #[arg(long, value_name = "TEXT")]
    pair: Option<String>,
    /// A choice of a multiple choice; give one for each choice.
    #[arg(long = "choice", value_name = "TEXT")]
    choices: Vec<String>,
    /// Read inputs from this file instead, `-` for standard input: JSON lines with the fields text, text_pair, choices
    /// and tokens. Writes one line for each, in order.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["texts", "pair", "choices"])]
    pub(crate) input: Option<PathBuf>,
}

impl InputArguments {
    /// The inputs given on the command line, in order.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        let input = |text: &String| Input {
            text: text.clone(),
            text_pair: self.pair.clone(),
            choices: self.choices.clone(),
            tokens: Vec::new(),
        };
        self.texts.iter().map(input).collect()
    }
}
