//! Labelled rows off the wire and through the encoder, a few at a time, to vectors.

use std::collections::VecDeque;
use std::sync::Arc;

use api::v1;
use api::v1::fit_head_request::Part;
use engine::{EngineError, Head, Tokens, Vectors};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tonic::{Status, Streaming};

use crate::fit::embedding;
use crate::fit::events::Teller;
use crate::fit::examples::Collected;
use crate::fit::label_book::LabelBook;
use crate::fit::labelled_rows::{self, BadRow, Labelled, RowsDigest};
use crate::fit::lessons::Lesson;
use crate::fit::plan::Plan;
use crate::serving::Serving;
use crate::{from_proto, status};

/// Rows of one fit on their way through the encoder; the engine holds them to fewer where they are many vectors each.
const ROWS_AT_ONCE: usize = 64;

/// What a fit is given.
pub(crate) struct Intake<'a> {
    serving: &'a Serving,
    plan: &'a Plan,
    reader: Arc<Head>,
    pub(crate) labels: LabelBook,
    pub(crate) collected: Collected,
    /// The same rows as token sequences, where an embedding is to be learned.
    pub(crate) read: embedding::Read,
    pub(crate) digest: RowsDigest,
    pub(crate) skipped: u64,
    /// Rows that the encoder could not read to their end.
    pub(crate) cut: u64,
}

/// A row that has been through the encoder.
struct Read {
    labelled: Labelled,
    row: v1::LabelledRow,
    vectors: Result<Vectors, EngineError>,
    /// Empty where no embedding is to be learned.
    sequences: Vec<Arc<Tokens>>,
}

impl<'a> Intake<'a> {
    /// Nothing yet. `reader` says how inputs are read.
    pub(crate) fn new(serving: &'a Serving, plan: &'a Plan, reader: Arc<Head>) -> Self {
        let collected = Collected::new(reader.hidden(), serving.fit_memory_bytes());
        let labels = LabelBook::new(plan.labels.clone());
        let read = embedding::Read::default();
        Self { serving, plan, reader, labels, collected, read, digest: RowsDigest::default(), skipped: 0, cut: 0 }
    }

    /// Takes in all rows until the caller has sent the last.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for messages that are no rows, for a bad row where such are not skipped, and where the rows need
    /// more memory than a fit may have; and whatever ends the engine's work.
    pub(crate) async fn receive(
        &mut self,
        messages: &mut Streaming<v1::FitHeadRequest>,
        teller: &mut Teller,
    ) -> Result<(), Status> {
        let (mut received, mut done) = (0, 0);
        let mut waiting = VecDeque::new();
        let mut reading = FuturesOrdered::new();
        let mut is_open = true;
        teller.progress(v1::Stage::Receiving, 0, 0);
        loop {
            while reading.len() < ROWS_AT_ONCE
                && let Some(row) = waiting.pop_front()
            {
                received += 1;
                match labelled_rows::parse(v1::LabelledRow::clone(&row), received, self.plan.kind, &mut self.labels) {
                    Ok(labelled) => {
                        reading.push_back(read(self.serving, self.plan, Arc::clone(&self.reader), labelled, row))
                    }
                    Err(bad) => self.refuse(bad, teller).await?,
                }
            }
            if !is_open && reading.is_empty() {
                return Ok(());
            }
            tokio::select! {
                message = messages.message(), if is_open && waiting.is_empty() => {
                    match message.map_err(status::correct_transport)? {
                        Some(message) => waiting.extend(self.rows(message)?),
                        None => is_open = false,
                    }
                }
                Some(read) = reading.next(), if !reading.is_empty() => {
                    self.take(read, teller).await?;
                    done += 1;
                    let total = if is_open { 0 } else { done + reading.len() + waiting.len() };
                    teller.progress(v1::Stage::Encoding, done, total);
                }
            }
        }
    }

    fn rows(&self, message: v1::FitHeadRequest) -> Result<Vec<v1::LabelledRow>, Status> {
        let rows = match message.part {
            Some(Part::Rows(rows)) => rows.rows,
            Some(Part::Plan(_)) => return Err(status::invalid_field("plan", "a second plan")),
            None => return Err(status::invalid_field("part", "neither plan nor rows")),
        };
        let limit = self.serving.engine().limits().max_inputs;
        if rows.len() > limit {
            let error = EngineError::OverLimit { what: "rows".to_owned(), limit, actual: rows.len() };
            return Err(status::of_engine(error));
        }
        Ok(rows)
    }

    async fn take(&mut self, read: Read, teller: &Teller) -> Result<(), Status> {
        let Read { labelled: Labelled { answer, is_validation, line, .. }, row, vectors, sequences } = read;
        let vectors = match vectors.map_err(from_proto::with_single_input) {
            Ok(vectors) => vectors,
            Err(EngineError::InvalidField { field, reason }) => {
                return self.refuse(BadRow { line, field, reason }, teller).await;
            }
            Err(EngineError::OverLimit { what, limit, actual }) => {
                let (field, unit) = match what.rsplit_once(" in ") {
                    Some((field, unit)) => (field.to_owned(), format!(" {unit}")),
                    None => (what, String::new()),
                };
                let reason = format!("{actual}{unit}, the limit is {limit}");
                return self.refuse(BadRow { line, field, reason }, teller).await;
            }
            Err(EngineError::NotFinite) => {
                let reason = "the encoder gives no finite vector for it".to_owned();
                return self.refuse(BadRow { line, field: "input".to_owned(), reason }, teller).await;
            }
            Err(error) => return Err(status::of_engine(error)),
        };
        self.digest.add(&row);
        self.cut += u64::from(vectors.cut);
        if self.plan.task_embedding {
            let tokens: usize = sequences.iter().map(|tokens| tokens.len()).sum();
            self.collected.beside += tokens * 2 * size_of::<u32>();
            let side = if is_validation { &mut self.read.validation } else { &mut self.read.train };
            side.push(Lesson { sequences, answer: answer.clone() });
        }
        let sizes = (self.labels.outputs(), self.plan.settings.folds);
        self.collected.take((answer, is_validation), &vectors.rows, sizes).map_err(status::of_engine)
    }

    async fn refuse(&mut self, bad: BadRow, teller: &Teller) -> Result<(), Status> {
        if !self.plan.skips_bad_rows {
            return Err(status::bad_row(bad.line, &bad.field, &bad.reason));
        }
        self.skipped += 1;
        teller.bad_row(bad).await;
        Ok(())
    }
}

async fn read(serving: &Serving, plan: &Plan, reader: Arc<Head>, labelled: Labelled, row: v1::LabelledRow) -> Read {
    let (engine, reading) = (serving.engine(), plan.reading());
    let mut vectors = engine.features(&reader, labelled.input.clone(), reading).await;
    let mut sequences = Vec::new();
    if plan.task_embedding && vectors.is_ok() {
        match engine.sequences(&reader, labelled.input.clone(), reading).await {
            Ok(read) => sequences = read,
            Err(error) => vectors = Err(error),
        }
    }
    Read { labelled, row, vectors, sequences }
}
