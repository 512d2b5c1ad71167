//! A head with its encoder as a model of the `transformers` package, over the wire: a header, then the files piece by piece.

use std::path::Path;
use std::sync::Arc;

use api::v1;
use api::v1::export_head_response::Part;
use engine::{Engine, Head, Input, Reading, Selector, TaskKey};
use registry::{Digest, Installed, RegistryError, TransformersExport, encoder_digest};
use tokio::sync::mpsc;
use tonic::Status;

use crate::caller::Caller;
use crate::changes::Writer;
use crate::heads::stored;
use crate::places::{LongWork, Place};
use crate::serving::Serving;
use crate::status;

/// Messages that wait for a slow reader; the sender waits with them.
const MAX_WAITING: usize = 4;
/// Texts of several scripts: each must begin with one token that stands nowhere else in it.
const PROBES: [&str; 3] = ["A spring fills the stream.", "水 ☃ κύμα", "<https://example.org/?a=b&c=[d]>"];

type Sender = mpsc::Sender<Result<v1::ExportHeadResponse, Status>>;

/// Sends the version that `selector` names, at the reader's pace; ends when the reader goes away.
pub(crate) async fn export(
    serving: &Serving,
    (caller, keys): (&Caller, (TaskKey, Option<TaskKey>)),
    selector: Selector,
) -> Result<mpsc::Receiver<Result<v1::ExportHeadResponse, Status>>, Status> {
    let find = move |writer: &mut Writer| {
        let key = stored(writer, keys);
        let installed = writer.registry().task(&key).and_then(|task| task.resolve(&selector)).cloned();
        let installed = installed.ok_or_else(|| status::not_found("no such task, version or alias"))?;
        match writer.misfit(&installed) {
            Some(reason) => Err(status::failed_precondition("HEAD_MISFIT", "version", &reason)),
            None => Ok((installed, writer.encoder())),
        }
    };
    let (installed, encoder) = serving.changes().run(caller.author(), find).await??;
    let missing = || status::failed_precondition("NO_BUNDLE", "encoder", "the server runs without a bundle");
    let encoder_dir = serving.encoder_dir().ok_or_else(missing)?.to_owned();
    let place = serving.place(LongWork::ModelExport, caller.tenant())?;
    let first_token = first_token(serving.engine(), &installed.head).await?;
    let preparing = tokio::task::spawn_blocking(move || prepare(&encoder_dir, &installed, encoder, first_token));
    let lost = |_| status::internal("the export failed", "a thread that exports failed");
    let (header, export) = preparing.await.map_err(lost)??;
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    tokio::task::spawn_blocking(move || send(&sender, header, &export, place));
    Ok(receiver)
}

/// The token with which every text begins, where the head needs one that stands nowhere else.
async fn first_token(engine: &Engine, head: &Head) -> Result<Option<u32>, Status> {
    let parts = head.parts();
    if parts.task_embedding.is_none() || !parts.task_embedding_by_default {
        return Ok(None);
    }
    let input = |text: &str, pair: Option<&str>| Input {
        text: Some(text.to_owned()),
        text_pair: pair.map(str::to_owned),
        ..Input::default()
    };
    let inputs = PROBES.iter().flat_map(|text| [input(text, None), input(text, PROBES.last().copied())]).collect();
    let tokenized = engine.tokenize(inputs, Reading::default()).await.map_err(status::of_engine)?;
    let mut first = None;
    for tokens in tokenized.iter().flat_map(|input| &input.rows) {
        let begins = tokens
            .ids
            .split_first()
            .filter(|(begin, rest)| !rest.contains(begin) && first.is_none_or(|first| first == **begin));
        let Some((begin, _)) = begins else {
            let message = "the head has a task embedding, and the tokenizer does not begin every text with one token of \
                           its own: such a model has no form in the transformers package";
            return Err(status::failed_precondition("NOT_EXPRESSIBLE", "version", message));
        };
        first = Some(*begin);
    }
    Ok(first)
}

/// Plans the export, and reads the encoder once for the digests of everything that will be sent.
fn prepare(
    encoder_dir: &Path,
    installed: &Installed,
    encoder: Digest,
    first_token: Option<u32>,
) -> Result<(v1::ExportHeader, Arc<TransformersExport>), Status> {
    let failed = |error: RegistryError| status::internal("the encoder's files cannot be exported", &error.to_string());
    if encoder_digest(encoder_dir).map_err(failed)? != encoder {
        let message = "the encoder's files are no longer those that are served";
        return Err(status::failed_precondition("ENCODER_CHANGED", "encoder", message));
    }
    let export = TransformersExport::plan(encoder_dir, &installed.key.task, &installed.head, first_token);
    let export = export.map_err(failed)?;
    let declaration = |(name, size_bytes, digest): (&str, u64, Digest)| v1::FileDeclaration {
        name: name.to_owned(),
        size_bytes,
        sha256: digest.hex(),
    };
    let header = v1::ExportHeader {
        task: installed.key.task.to_string(),
        version: installed.version.number(),
        head_digest: installed.digest.to_string(),
        encoder_digest: encoder.to_string(),
        files: export.declared().map_err(failed)?.into_iter().map(declaration).collect(),
    };
    Ok((header, Arc::new(export)))
}

/// Why no more is sent.
enum Stopped {
    /// The reader has gone away.
    Gone,
    /// The encoder could not be read.
    Unreadable(RegistryError),
}

impl From<RegistryError> for Stopped {
    fn from(error: RegistryError) -> Self {
        Self::Unreadable(error)
    }
}

/// Sends everything on a thread that may wait; the place is free when it ends.
fn send(sender: &Sender, header: v1::ExportHeader, export: &TransformersExport, _place: Place) {
    let give = |part| {
        let response = v1::ExportHeadResponse { part: Some(part) };
        sender.blocking_send(Ok(response)).map_err(|_| Stopped::Gone)
    };
    let mut place = ("", 0u64);
    let sent = give(Part::Header(header)).and_then(|()| {
        export.write(|name, bytes: &[u8]| {
            if place.0 != name {
                place = (name, 0);
            }
            let chunk = v1::FileChunk { name: name.to_owned(), offset: place.1, data: bytes.to_vec() };
            place.1 += bytes.len() as u64;
            give(Part::Chunk(chunk))
        })
    });
    if let Err(Stopped::Unreadable(error)) = sent {
        let failure = status::internal("the encoder's files cannot be exported", &error.to_string());
        // A reader that has gone away needs nothing more.
        let _ = sender.blocking_send(Err(failure));
    }
}
