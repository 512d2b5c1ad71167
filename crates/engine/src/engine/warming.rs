//! Many heads on one text, before anybody sees them.

use std::collections::HashMap;
use std::sync::Arc;

use super::Engine;
use super::path::read;
use super::trial::TEXT;
use crate::ask::{Mode, Priority, Reading};
use crate::error::EngineError;
use crate::head::Head;
use crate::model::{Reads, Row, RowOutput};
use crate::row_key::RowKey;
use crate::rows::{self, Sequence};
use crate::scoring::score;
use crate::shares::Lane;
use crate::tokens::{Text, Tokenizer, Tokens};

/// So many rows are computed for all heads together, a second's work for a slow encoder.
const MOST_ROWS: usize = 64;

/// What heads read of one text: rows, and for each head its place among them.
struct Shared {
    rows: Vec<Row>,
    row_of: Vec<usize>,
}

impl Engine {
    /// Whether each of `heads` can be served here, in their order: it is as wide as the encoder, and gives finite logits
    /// for a text that all share. That text is a row for each task embedding and adapter; where these would be more than 64
    /// rows, one for each adapter alone, and then nothing is said of what the embeddings do to the encoder.
    pub async fn warm_up(&self, heads: &[Arc<Head>]) -> Vec<Result<(), EngineError>> {
        let tokens = match self.warm_up_tokens().await {
            Ok(tokens) => tokens,
            Err(error) => return heads.iter().map(|_| Err(error.clone())).collect(),
        };
        let fit: Vec<_> = heads.iter().map(|head| self.fit_for(head).map(drop)).collect();
        let fitting: Vec<_> = heads.iter().zip(&fit).filter(|(_, fit)| fit.is_ok()).map(|(head, _)| head).collect();
        let exact = self.shared_rows(&fitting, &tokens, Mode::Exact);
        let Shared { rows, row_of } =
            if exact.rows.len() <= MOST_ROWS { exact } else { self.shared_rows(&fitting, &tokens, Mode::Shared) };
        let outputs = self.outputs(rows).await;
        let mut warmed = fitting.into_iter().zip(row_of).map(|(head, row)| match outputs.get(row) {
            Some(Ok(output)) => score(head, output).map(drop),
            Some(Err(error)) => Err(error.clone()),
            None => Err(EngineError::Internal("a head has no row".to_owned())),
        });
        fit.into_iter().map(|fit| fit.and_then(|()| warmed.next().unwrap_or(Ok(())))).collect()
    }

    async fn warm_up_tokens(&self) -> Result<Arc<Tokens>, EngineError> {
        self.check_up()?;
        let reading = Reading::default();
        let read_it = move |tokenizer: &dyn Tokenizer, limit| {
            read(tokenizer, &Sequence { text: Text::Raw(TEXT), pair: None }, limit, reading)
        };
        self.tokenize_off_thread(reading, read_it).await
    }

    fn shared_rows(&self, heads: &[&Arc<Head>], tokens: &Arc<Tokens>, mode: Mode) -> Shared {
        let mut shared = Shared { rows: Vec::new(), row_of: Vec::with_capacity(heads.len()) };
        let mut places: HashMap<RowKey, usize> = HashMap::new();
        for head in heads {
            let parts = head.parts();
            let own = (mode, rows::mode(None, head)) == (Mode::Exact, Mode::Exact);
            let row = Row {
                tokens: Arc::clone(tokens),
                task_embedding: parts.task_embedding.clone().filter(|_| own),
                adapter: parts.adapter.clone(),
                reads: Reads::of_head(head),
            };
            let place = *places.entry(RowKey::new(&row, Lane::default(), &self.hashing)).or_insert(shared.rows.len());
            match shared.rows.get_mut(place) {
                Some(known) => known.reads = known.reads.union(row.reads),
                None => shared.rows.push(row),
            }
            shared.row_of.push(place);
        }
        shared
    }

    /// What the encoder makes of each row. As a trial's, they are nobody's and take no permit; and as nobody waits for
    /// them, how long they take tells nothing of callers.
    async fn outputs(&self, rows: Vec<Row>) -> Vec<Result<RowOutput, EngineError>> {
        let count = rows.len();
        match self.submit(rows, Reading { priority: Priority::Background, ..Reading::default() }) {
            Ok((pending, _)) => {
                let mut outputs = Vec::with_capacity(count);
                for row in pending {
                    outputs.push(row.done().await.map(|done| done.output));
                }
                outputs
            }
            Err(error) => vec![Err(error); count],
        }
    }
}
