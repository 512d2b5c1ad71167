//! Texts on the command line, or a file of rows in their place.

use std::path::PathBuf;

use api::v1::Input;
use clap::Args;

use crate::error::CliError;

/// Texts to ask about.
#[derive(Debug, Args)]
pub(crate) struct InputArguments {
    /// Texts; each is one input.
    #[arg(value_name = "TEXT")]
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
    /// Puts what was taken for something else before the texts.
    pub(crate) fn put_first(&mut self, text: Option<String>) {
        self.texts.splice(0..0, text);
    }

    pub(crate) fn has_texts(&self) -> bool {
        !self.texts.is_empty()
    }

    /// The inputs given on the command line, in order.
    ///
    /// # Errors
    /// [`CliError::Usage`] where there are none.
    pub(crate) fn inputs(&self) -> Result<Vec<Input>, CliError> {
        if self.texts.is_empty() {
            return Err(CliError::Usage("a text is needed, or --input".to_owned()));
        }
        let input = |text: &String| Input {
            text: text.clone(),
            text_pair: self.pair.clone(),
            choices: self.choices.clone(),
            tokens: Vec::new(),
        };
        Ok(self.texts.iter().map(input).collect())
    }
}
