//! Token sequences, and what a tokenizer owes the engine.

use std::ops::Range;
use std::sync::Arc;

use crate::truncation::Fit;

/// One side of an input, as the caller gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text<'a> {
    /// Running text.
    Raw(&'a str),
    /// Text already split into words; pieces know the word they belong to.
    Words(&'a [String]),
}

/// What the tokenizer is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizeRequest<'a> {
    /// The text, or the premise of a pair.
    pub text: Text<'a>,
    /// The second text of a pair, or the hypothesis.
    pub pair: Option<Text<'a>>,
    /// The longest sequence wanted, special tokens included. Longer input is cut on ids, longest side
    /// first, from its right end.
    pub max_tokens: usize,
}

/// Where a token came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// 0 for the text, 1 for the pair.
    pub side: u8,
    /// The word on that side: its index in [`Text::Words`], or the pre-tokenizer's word in raw text.
    pub word: u32,
    /// Start in UTF-8 bytes of that side; inside the word for [`Text::Words`].
    pub start: u32,
    /// End in UTF-8 bytes, exclusive.
    pub end: u32,
}

/// One sequence ready for the encoder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Vocabulary ids, special tokens included.
    pub ids: Vec<u32>,
    /// Token type of each id.
    pub type_ids: Vec<u32>,
    /// Where each token came from; `None` for special tokens.
    pub origins: Vec<Option<Origin>>,
    /// How much was cut away, if anything.
    pub cut: Option<Cut>,
}

/// What truncation removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Tokens the whole input would have had, special tokens included.
    pub tokens_before: usize,
    /// Byte of the text from which nothing was read; for [`Text::Words`], the word.
    pub text_kept: Option<usize>,
    /// The same for the pair.
    pub pair_kept: Option<usize>,
}

/// One row of a sequence that may be longer than a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The row.
    pub tokens: Arc<Tokens>,
    /// Which tokens of the side that is read in windows it holds, special tokens not counted; of a sequence that fits,
    /// or is cut, those of the text.
    pub range: Range<usize>,
}

impl Tokens {
    /// Number of tokens, special tokens included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no token at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Turns text into ids. Shared by several threads; holds no per-call state.
///
/// Ids equal those of the checkpoint's own fast tokenizer with truncation `longest_first` on the right.
/// The tokenizer suite in the repository's tests proves an implementation.
pub trait Tokenizer: Send + Sync {
    /// Tokenizes one input as `fit` says: to one row, or to several windows in order. What is cut of a row is the same
    /// for all of them, and nothing of the side that the windows go over.
    ///
    /// # Errors
    /// [`TokenizeError`] where the text cannot be tokenized or nothing but special tokens would fit.
    fn fit(&self, request: TokenizeRequest<'_>, fit: Fit) -> Result<Vec<Window>, TokenizeError>;

    /// Tokenizes one input to one row, cut longest side first where it is too long.
    ///
    /// # Errors
    /// As [`Tokenizer::fit`].
    fn tokenize(&self, request: TokenizeRequest<'_>) -> Result<Tokens, TokenizeError> {
        let row = self.fit(request, Fit::default())?.into_iter().next();
        Ok(row.map(|row| Arc::unwrap_or_clone(row.tokens)).unwrap_or_default())
    }

    /// The vocabulary's piece for `id`.
    fn piece(&self, id: u32) -> Option<String>;

    /// Tokens a whole sequence may have at the encoder's limit, special tokens included.
    fn max_tokens(&self) -> usize;
}

/// Why a text has no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizeError {
    /// The tokenizer itself refused.
    #[error("the tokenizer refused the text: {0}")]
    Refused(String),
    /// The limit leaves no room for text beside the special tokens.
    #[error("a limit of {max_tokens} tokens leaves no room beside {special} special tokens")]
    NoRoom {
        /// The limit asked for.
        max_tokens: usize,
        /// Special tokens of the sequence.
        special: usize,
    },
    /// The pair may not be cut, and leaves the text no room.
    #[error("a second text of {pair} tokens leaves the first none, the limit is {limit}")]
    PairTooLong {
        /// Tokens of the pair.
        pair: usize,
        /// Tokens that it may have.
        limit: usize,
    },
}
