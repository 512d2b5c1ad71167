//! Text to ids with the checkpoint's own `tokenizer.json`: sides encoded apart, cut on ids, then joined by the file's
//! post-processor.
//!
//! Cutting is done here and not by the library, so that its cost stays linear and what was cut is known exactly.

mod limits;
mod settings;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use engine::{Cut, Fit, Kept, Origin, Side, Text, TokenizeError, TokenizeRequest, Tokens, Window, overlap, windows};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{
    Encoding, InputSequence, ModelWrapper, PostProcessor, PostProcessorWrapper, Tokenizer, TokenizerImpl,
};

use crate::error::LoadError;
use limits::longest_sequence;
use settings::Settings;

/// Words remembered with their pieces. A request's text is soon forgotten, and the cache is shared by all threads.
const CACHED_WORDS: usize = 2_000;

/// A fast tokenizer, shared by any number of threads.
pub struct FastTokenizer {
    /// Without post-processor, truncation or padding.
    bare: Tokenizer,
    /// Adds the special tokens and the token types.
    processor: PostProcessorWrapper,
    has_token_types: bool,
    max_tokens: usize,
}

impl FastTokenizer {
    /// Opens `tokenizer.json` in `encoder_dir`.
    ///
    /// A sequence may have `max_tokens` tokens, or where that is not said as many as `tokenizer_config.json` or
    /// `config.json` say; never more than the encoder has absolute positions, where it has any.
    ///
    /// # Errors
    /// [`LoadError::Tokenizer`] where the file is absent or damaged, or names no special tokens.
    pub fn open(encoder_dir: &Path, max_tokens: Option<usize>) -> Result<Self, LoadError> {
        let refused = |reason: String| LoadError::Tokenizer { reason };
        let path = encoder_dir.join("tokenizer.json");
        if !path.exists() {
            let made_with = "`AutoTokenizer.from_pretrained(folder).save_pretrained(folder)` of transformers makes it";
            return Err(refused(format!("it is not in {}; {made_with}", encoder_dir.display())));
        }
        let mut bare = Tokenizer::from_file(&path).map_err(|error| refused(error.to_string()))?;
        let processor = match bare.get_post_processor() {
            Some(processor) => processor.clone(),
            None => cls_and_sep(&bare).map_err(refused)?,
        };
        bare.with_post_processor(None::<PostProcessorWrapper>);
        bare.with_padding(None);
        bare.with_truncation(None).map_err(|error| refused(error.to_string()))?;
        let mut model: ModelWrapper = bare.get_model().clone();
        model.resize_cache(CACHED_WORDS);
        bare.with_model(model);
        let settings = Settings::open(encoder_dir)?;
        let max_tokens = longest_sequence(encoder_dir, &settings, max_tokens)?;
        Ok(Self { bare, processor, has_token_types: settings.has_token_types(), max_tokens })
    }

    /// One side without special tokens. Offsets are bytes, inside the word for words.
    fn encode(&self, text: Text<'_>) -> Result<Encoding, TokenizeError> {
        let input = match text {
            Text::Raw(text) => InputSequence::from(text),
            Text::Words(words) => InputSequence::from(words.iter().map(String::as_str).collect::<Vec<_>>()),
        };
        self.bare.encode(input, false).map_err(|error| TokenizeError::Refused(error.to_string()))
    }

    fn with_special_tokens(
        &self,
        text: Encoding,
        pair: Option<Encoding>,
        cut: Option<Cut>,
    ) -> Result<Tokens, TokenizeError> {
        let whole = self.processor.process(text, pair, true);
        let whole = whole.map_err(|error| TokenizeError::Refused(error.to_string()))?;
        let type_ids = if self.has_token_types { whole.get_type_ids().to_vec() } else { vec![0; whole.len()] };
        Ok(Tokens { ids: whole.get_ids().to_vec(), type_ids, origins: origins(&whole), cut })
    }
}

impl engine::Tokenizer for FastTokenizer {
    fn fit(&self, request: TokenizeRequest<'_>, fit: Fit) -> Result<Vec<Window>, TokenizeError> {
        let special = self.processor.added_tokens(request.pair.is_some());
        let max_tokens = request.max_tokens.min(self.max_tokens);
        if max_tokens <= special {
            return Err(TokenizeError::NoRoom { max_tokens, special });
        }
        let room = max_tokens - special;
        let mut text = self.encode(request.text)?;
        let mut pair = request.pair.map(|pair| self.encode(pair)).transpose()?;
        let (text_tokens, pair_tokens) = (text.len(), pair.as_ref().map(Encoding::len));
        let kept = Kept::of(text_tokens, pair_tokens, room, fit.strategy)
            .ok_or_else(|| TokenizeError::PairTooLong { pair: pair_tokens.unwrap_or(0), limit: room - 1 })?;
        let windowed = kept.windowed(text_tokens, pair_tokens).filter(|_| fit.in_windows);
        let mut text_kept = None;
        if windowed != Some(Side::Text) {
            text_kept = cut_to(&mut text, request.text, kept.text);
        }
        let mut pair_kept = None;
        if let (Some(pair), Some(given), true) = (&mut pair, request.pair, windowed != Some(Side::Pair)) {
            pair_kept = cut_to(pair, given, kept.pair);
        }
        let tokens_before = text_tokens + pair_tokens.unwrap_or(0) + special;
        let was_cut = text_kept.is_some() || pair_kept.is_some();
        let cut = was_cut.then_some(Cut { tokens_before, text_kept, pair_kept });
        let row = |text: Encoding, pair: Option<Encoding>, range: Range<usize>| {
            Ok(Window { tokens: Arc::new(self.with_special_tokens(text, pair, cut)?), range })
        };
        match (windowed, pair) {
            (None, pair) => Ok(vec![row(text, pair, 0..kept.text)?]),
            (Some(Side::Pair), Some(pair)) => {
                let windows = in_windows(pair, kept.pair).into_iter();
                windows.map(|(window, range)| row(text.clone(), Some(window), range)).collect()
            }
            (Some(Side::Text | Side::Pair), pair) => {
                let windows = in_windows(text, kept.text).into_iter();
                windows.map(|(window, range)| row(window, pair.clone(), range)).collect()
            }
        }
    }

    fn piece(&self, id: u32) -> Option<String> {
        self.bare.id_to_token(id)
    }

    fn max_tokens(&self) -> usize {
        self.max_tokens
    }
}

impl fmt::Debug for FastTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastTokenizer").field("max_tokens", &self.max_tokens).finish_non_exhaustive()
    }
}

/// Cuts one side to its first `kept` tokens; says from which byte or word on nothing is read, if anything was cut.
fn cut_to(side: &mut Encoding, given: Text<'_>, kept: usize) -> Option<usize> {
    if kept >= side.len() {
        return None;
    }
    let last = kept.checked_sub(1);
    let unread_from = match given {
        Text::Raw(_) => last.and_then(|last| side.get_offsets().get(last)).map_or(0, |(_, end)| *end),
        Text::Words(_) => last.and_then(|last| *side.get_word_ids().get(last)?).map_or(0, |word| word as usize + 1),
    };
    side.truncate(kept, 0, TruncationDirection::Right);
    side.take_overflowing();
    Some(unread_from)
}

/// The windows of `room` tokens over one side, and where each lies.
fn in_windows(mut side: Encoding, room: usize) -> Vec<(Encoding, Range<usize>)> {
    let ranges = windows(side.len(), room);
    side.truncate(room, overlap(room), TruncationDirection::Right);
    let others = side.take_overflowing();
    [side].into_iter().chain(others).zip(ranges).collect()
}

fn origins(whole: &Encoding) -> Vec<Option<Origin>> {
    let mut origins = Vec::with_capacity(whole.len());
    for ((side, (start, end)), word) in
        whole.get_sequence_ids().into_iter().zip(whole.get_offsets()).zip(whole.get_word_ids())
    {
        origins.push(side.map(|side| Origin {
            side: u8::from(side > 0),
            word: word.unwrap_or(0),
            start: byte(*start),
            end: byte(*end),
        }));
    }
    origins
}

/// Texts are bounded far below 4 GiB.
fn byte(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// What the tokenizer's class adds where the file does not say: `[CLS] text [SEP] pair [SEP]`.
fn cls_and_sep<M, N, P, Q, D>(tokenizer: &TokenizerImpl<M, N, P, Q, D>) -> Result<PostProcessorWrapper, String>
where
    M: tokenizers::Model,
    N: tokenizers::Normalizer,
    P: tokenizers::PreTokenizer,
    Q: PostProcessor,
    D: tokenizers::Decoder,
{
    let special = ["[CLS]", "[SEP]"].map(|token| {
        let id = tokenizer.token_to_id(token);
        id.map(|id| (token.to_owned(), id)).ok_or_else(|| format!("it has no post-processor and no {token}"))
    });
    let special: Vec<(String, u32)> = special.into_iter().collect::<Result<_, _>>()?;
    let template = TemplateProcessing::builder()
        .try_single("[CLS]:0 $A:0 [SEP]:0")?
        .try_pair("[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")?
        .special_tokens(special)
        .build()
        .map_err(|error| error.to_string())?;
    Ok(PostProcessorWrapper::Template(template))
}

#[cfg(test)]
mod tests;
