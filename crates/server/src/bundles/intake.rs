//! The heads of a bundle as they come over the wire: received, parsed, and held against the encoder one by one.

use std::collections::HashSet;

use api::v1;
use api::v1::install_bundle_request::Part;
use engine::{ModelInfo, TaskKey};
use registry::{HeadFolder, Manifest};
use tonic::{Status, Streaming};

use super::SOURCE;
use super::events::Teller;
use crate::caller::Caller;
use crate::install::{Fitting, fit};
use crate::refusals::Refusal;
use crate::serving::Serving;
use crate::status::{correct_transport, internal, invalid_field};
use crate::upload;

/// Heads of one bundle.
const MAX_HEADS: usize = 2_000;
/// All of them together, as they arrive: so much is held until the one change is made.
const MAX_BUNDLE_BYTES: usize = 256 << 20;

/// A bundle that has arrived.
pub(crate) struct Bundle {
    /// The heads that fit so far, in the bundle's order.
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) make_live: bool,
    /// How many were refused; the caller has been told which.
    pub(crate) refused: usize,
}

/// A head that fits by its shapes.
pub(crate) struct Candidate {
    pub(crate) name: String,
    pub(crate) fitting: Fitting,
}

/// A head that is arriving.
struct Arriving {
    announced: v1::BundleHead,
    folder: HeadFolder,
    /// Why its pieces are not taken.
    broken: Option<Status>,
}

/// Reads a whole bundle.
pub(crate) async fn receive(
    mut parts: Streaming<v1::InstallBundleRequest>,
    (serving, info, caller): (&Serving, &ModelInfo, &Caller),
    teller: &mut Teller,
) -> Result<Bundle, Status> {
    let header = match next(&mut parts).await? {
        Some(Part::Header(header)) => header,
        Some(Part::Head(_) | Part::Chunk(_)) | None => {
            return Err(invalid_field("header", "the first message must be the header"));
        }
    };
    let expected = header.heads as usize;
    if expected == 0 || expected > MAX_HEADS {
        return Err(invalid_field("header.heads", &format!("{expected}, a bundle has 1 to {MAX_HEADS}")));
    }
    let (seen, candidates) = (HashSet::new(), Vec::new());
    let mut intake = Intake { serving, info, caller, header, seen, candidates, refused: 0 };
    let mut arriving: Option<Arriving> = None;
    let mut bytes = 0;
    loop {
        let part = next(&mut parts).await?;
        match (part, &mut arriving) {
            (Some(Part::Chunk(chunk)), Some(arriving)) => {
                bytes += chunk.data.len();
                if bytes > MAX_BUNDLE_BYTES {
                    let reason = format!("the bundle is larger than {MAX_BUNDLE_BYTES} bytes");
                    return Err(invalid_field("chunk.data", &reason));
                }
                arriving.take(chunk);
            }
            (Some(Part::Chunk(_)), None) => return Err(invalid_field("chunk", "no head was announced for it")),
            (Some(Part::Header(_)), _) => return Err(invalid_field("header", "a second header")),
            (Some(Part::Head(head)), arriving) => {
                intake.finish(arriving.replace(Arriving::new(head)), teller).await?;
                if intake.arrived() >= expected {
                    return Err(invalid_field("header.heads", &format!("{expected}, and more have arrived")));
                }
                teller.progress(v1::Stage::Receiving, intake.arrived(), expected);
            }
            (None, arriving) => {
                intake.finish(arriving.take(), teller).await?;
                break;
            }
        }
    }
    let arrived = intake.arrived();
    if arrived != expected {
        return Err(invalid_field("header.heads", &format!("{expected}, and {arrived} have arrived")));
    }
    let Intake { header, candidates, refused, .. } = intake;
    Ok(Bundle { candidates, make_live: header.make_live, refused })
}

async fn next(parts: &mut Streaming<v1::InstallBundleRequest>) -> Result<Option<Part>, Status> {
    match parts.message().await.map_err(correct_transport)? {
        Some(v1::InstallBundleRequest { part: None }) => Err(invalid_field("part", "neither header, head nor chunk")),
        Some(message) => Ok(message.part),
        None => Ok(None),
    }
}

impl Arriving {
    fn new(announced: v1::BundleHead) -> Self {
        let folder = HeadFolder { head_toml: Vec::new(), weights: Vec::new() };
        Self { announced, folder, broken: None }
    }

    /// Takes a piece; one that does not fit breaks this head, and the bundle goes on so that all faults are told.
    fn take(&mut self, chunk: v1::FileChunk) {
        if self.broken.is_none() {
            self.broken = upload::append(&mut self.folder, chunk).err();
        }
    }
}

/// What has arrived so far.
struct Intake<'a> {
    serving: &'a Serving,
    info: &'a ModelInfo,
    caller: &'a Caller,
    header: v1::BundleHeader,
    seen: HashSet<TaskKey>,
    candidates: Vec<Candidate>,
    refused: usize,
}

impl Intake<'_> {
    fn arrived(&self) -> usize {
        self.candidates.len() + self.refused
    }

    /// Judges the head that has arrived.
    async fn finish(&mut self, arriving: Option<Arriving>, teller: &Teller) -> Result<(), Status> {
        let Some(arriving) = arriving else { return Ok(()) };
        let name = arriving.announced.name.clone();
        let (info, caller) = (self.info.clone(), self.caller.clone());
        let force_encoder = self.header.force_encoder;
        // Parsing is work, and there are hundreds.
        let judging = tokio::task::spawn_blocking(move || judge(arriving, (&info, &caller), force_encoder));
        let judged = judging.await.map_err(|_| internal("the bundle was not read", "a thread that parses failed"))?;
        let (key, reason) = match judged {
            Ok(fitting) if self.seen.insert(fitting.key.clone()) => {
                self.candidates.push(Candidate { name, fitting });
                return Ok(());
            }
            Ok(Fitting { key, .. }) => {
                let reason = format!("the bundle has another head of task {}", key.task);
                (Some(key), reason)
            }
            Err(Unfit { key, refusal }) => (key, refusal.message().to_owned()),
        };
        self.refused += 1;
        if let Some(key) = key {
            self.serving.refusals().note(key, Refusal::new(&reason, String::new(), SOURCE.to_owned()));
        }
        teller.bad_head(&name, &reason).await;
        Ok(())
    }
}

/// A head that cannot be used.
struct Unfit {
    /// Its task, where that much could be read.
    key: Option<TaskKey>,
    refusal: Status,
}

fn judge(arriving: Arriving, (info, caller): (&ModelInfo, &Caller), force_encoder: bool) -> Result<Fitting, Unfit> {
    let Arriving { announced, folder, broken } = arriving;
    let task = match announced.task.as_str() {
        "" => Manifest::parse(&folder.head_toml).ok().map(|manifest| manifest.task),
        task => task.parse().ok(),
    };
    let key = task.map(|task| TaskKey { tenant: caller.tenant().clone(), task });
    let fitting = broken.map_or(Ok(()), Err).and_then(|()| {
        upload::check_whole(&folder, &announced.files)?;
        let header = v1::InstallHeader { task: announced.task, force_encoder, ..v1::InstallHeader::default() };
        fit(info, folder, (&header, caller))
    });
    fitting.map_err(|refusal| Unfit { key, refusal })
}
