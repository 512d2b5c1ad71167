//! A checkpoint of the fixtures, imported and served.

use api::v1::classifier_service_client::ClassifierServiceClient;
use deberta::Kernels;
use engine::{Head, HeadParts};
use registry::{EncoderWidths, HeadFolder};
use tests::TestServer;
use tonic::transport::Channel;

use crate::serving::engine_on;
use crate::{fixtures, layouts};

/// A server on one imported checkpoint.
pub(super) struct Served {
    server: TestServer,
    /// The classifier that the model carries as its own.
    pub(super) task: String,
}

impl Served {
    /// Serves the checkpoint in that folder of `layouts`.
    pub(super) async fn import(checkpoint: &str) -> Self {
        Self::start(checkpoint, None).await
    }

    /// The same, with other labels for the model's own classifier.
    pub(super) async fn with_own_classifier(checkpoint: &str, labels: &[String]) -> Self {
        Self::start(checkpoint, Some(labels)).await
    }

    async fn start(checkpoint: &str, labels: Option<&[String]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        let bundle = layouts::import(&fixtures::path("layouts").join(checkpoint), None, &path);
        let named = layouts::named_tasks(checkpoint);
        let own = bundle.heads().iter().find(|head| !named.contains(&head.to_string())).unwrap().clone();
        if let Some(labels) = labels {
            let config: serde_json::Value = fixtures::read_json(&bundle.encoder_dir().join("config.json"));
            let hidden = config["hidden_size"].as_u64().unwrap() as usize;
            let (_, head) = bundle.read_head(&own, EncoderWidths { hidden, embedding: hidden }).unwrap();
            let parts = HeadParts { labels: labels.to_vec(), ..head.parts().clone() };
            let renamed = Head::new(head.kind(), hidden, parts).unwrap();
            let renamed = HeadFolder::of_head(&own, &renamed, bundle.encoder_digest().unwrap()).unwrap();
            let place = path.join("heads").join(own.as_str());
            std::fs::remove_dir_all(&place).unwrap();
            renamed.write(&place).unwrap();
        }
        let engine = engine_on(&path, Kernels::Auto);
        Self { server: TestServer::start_on(folder, &path, engine).await, task: own.to_string() }
    }

    pub(super) fn classifier(&self) -> ClassifierServiceClient<Channel> {
        self.server.classifier()
    }
}
