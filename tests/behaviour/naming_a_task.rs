//! Every call of one message that names a task, and how each is refused.

use std::collections::BTreeSet;

use api::v1;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;

use crate::asking::input;
use crate::credentials::with;

/// A call: its path, and its message as bytes.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    path: &'static str,
    message: Vec<u8>,
}

impl Question {
    pub(crate) fn new(path: &'static str, message: &impl Message) -> Self {
        Self { path, message: message.encode_to_vec() }
    }

    /// Its service and method.
    pub(crate) fn path(&self) -> &'static str {
        self.path
    }

    /// How it ends for the holder of a token who must not be answered, whether at once or as a stream's first message.
    pub(crate) async fn refusal(&self, channel: &Channel, token: &str) -> Status {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = format!("/headwater.v1.{}", self.path).parse().unwrap();
        match client.server_streaming(with(token, self.message.clone()), path, AsBytes).await {
            Err(status) => status,
            Ok(reply) => reply.into_inner().message().await.expect_err("nothing is there to be told of"),
        }
    }
}

/// All of them, about this task and version.
pub(crate) fn questions(task: &str, version: &str) -> Vec<Question> {
    let (task, version) = (|| task.to_owned(), || version.to_owned());
    let labels = vec!["a".to_owned(), "b".to_owned()];
    let zero_shot = v1::ZeroShotInput { text: "a".to_owned(), candidate_labels: labels.clone() };
    let pair = v1::ScoreInput { prompt: "a".to_owned(), answer: "b".to_owned() };
    let hidden = || "hidden".to_owned();
    let first = Some(v1::set_alias_request::Change::Version(1));
    let plan = v1::EvaluationPlan { task: task(), version: version(), ..v1::EvaluationPlan::default() };
    let plan = v1::EvaluateHeadRequest { part: Some(v1::evaluate_head_request::Part::Plan(plan)) };
    macro_rules! about {
        ($message:ident { $($field:ident: $value:expr),+ }) => {
            &v1::$message { task: task(), $($field: $value,)+ ..v1::$message::default() }
        };
    }
    vec![
        Question::new(
            "ClassifierService/Classify",
            about!(ClassifyRequest { version: version(), inputs: vec![input("a")] }),
        ),
        Question::new(
            "ClassifierService/ZeroShot",
            about!(ZeroShotRequest { version: version(), inputs: vec![zero_shot] }),
        ),
        Question::new("ClassifierService/Score", about!(ScoreRequest { version: version(), inputs: vec![pair] })),
        Question::new(
            "ClassifierService/Compare",
            about!(CompareRequest { version: version(), prompt: hidden(), answers: labels }),
        ),
        Question::new("ClassifierService/Embed", about!(EmbedRequest { version: version(), inputs: vec![input("a")] })),
        Question::new("CatalogService/GetTask", &v1::GetTaskRequest { task: task(), version: version() }),
        Question::new("CatalogService/SimilarTasks", about!(SimilarTasksRequest { version: version() })),
        Question::new("HeadService/ListVersions", &v1::ListVersionsRequest { task: task() }),
        Question::new("HeadService/SetAlias", about!(SetAliasRequest { alias: hidden(), change: first })),
        Question::new("HeadService/Rollback", about!(RollbackRequest { alias: hidden() })),
        Question::new("HeadService/SetTraffic", about!(SetTrafficRequest { traffic: None })),
        Question::new("HeadService/SetRetention", about!(SetRetentionRequest { retention: None })),
        Question::new("HeadService/DeleteVersion", about!(DeleteVersionRequest { version: 1 })),
        Question::new("HeadService/ExportHead", about!(ExportHeadRequest { version: version() })),
        Question::new(
            "HeadService/UpdateMetadata",
            about!(UpdateMetadataRequest { version: version(), description: Some(hidden()) }),
        ),
        Question::new("HeadService/EvaluateHead", &plan),
    ]
}

/// All that a caller sees of a refusal.
pub(crate) fn all_told(refusal: &Status) -> Vec<u8> {
    let metadata: BTreeSet<_> = refusal.metadata().keys().map(|key| format!("{key:?}")).collect();
    let told = format!("{:?} {} {metadata:?}", refusal.code(), refusal.message());
    [told.as_bytes(), refusal.details()].concat()
}

/// Sends a message's bytes as they are, and looks at none of an answer's.
#[derive(Debug, Clone, Copy)]
struct AsBytes;

impl Codec for AsBytes {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsBytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&message);
        Ok(())
    }
}

impl Decoder for AsBytes {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}
