//! Every limit of the engine. There is no default: the binary chooses.

/// Bounds on what one ask may hold and on what may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Inputs of one ask.
    pub max_inputs: usize,
    /// Tasks that are asked about one input.
    pub max_tasks: usize,
    /// UTF-8 bytes of one text, choice, or list of words.
    pub max_text_bytes: usize,
    /// Choices of one input.
    pub max_choices: usize,
    /// Candidate labels of one zero-shot input.
    pub max_candidate_labels: usize,
    /// Rows admitted and not yet answered.
    pub max_in_flight_rows: usize,
    /// Bytes of text admitted and not yet answered.
    pub max_in_flight_bytes: usize,
    /// Tokens of one batch; a longer row runs alone.
    pub batch_tokens: usize,
    /// Rows of one batch.
    pub batch_rows: usize,
    /// Bytes of encoder outputs kept for rows that come again, their keys included; 0 keeps none.
    pub cache_bytes: usize,
    /// Thousandths of the time that background rows may take which callers would notice.
    pub background_permille: u32,
    /// Texts tokenized at the same time.
    pub tokenizer_threads: usize,
}
