//! A folder appears whole or not at all, whatever the server does half-way.

use api::v1::export_head_response::Part;
use api::v1::head_service_server::{HeadService, HeadServiceServer};
use api::v1::{self, ExportHeadResponse, ExportHeader, FileChunk, FileDeclaration};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::headwater;

/// Sends these parts of an export, then this status if there is one.
#[derive(Clone)]
struct Exporter {
    parts: Vec<Part>,
    end: Option<Status>,
}

type Messages<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this server only exports"))
}

#[tonic::async_trait]
impl HeadService for Exporter {
    type InstallBundleStream = Messages<v1::InstallBundleResponse>;
    type ExportHeadStream = Messages<ExportHeadResponse>;
    type FitHeadStream = Messages<v1::FitHeadResponse>;
    type EvaluateHeadStream = Messages<v1::EvaluateHeadResponse>;

    async fn export_head(&self, _: Request<v1::ExportHeadRequest>) -> Result<Response<Self::ExportHeadStream>, Status> {
        let parts = self.parts.iter().cloned().map(|part| Ok(ExportHeadResponse { part: Some(part) }));
        let messages: Vec<_> = parts.chain(self.end.clone().map(Err)).collect();
        Ok(Response::new(tokio_stream::iter(messages)))
    }

    async fn install_head(
        &self,
        _: Request<Streaming<v1::InstallHeadRequest>>,
    ) -> Result<Response<v1::InstallHeadResponse>, Status> {
        not_here()
    }

    async fn install_bundle(
        &self,
        _: Request<Streaming<v1::InstallBundleRequest>>,
    ) -> Result<Response<Self::InstallBundleStream>, Status> {
        not_here()
    }

    async fn set_retention(
        &self,
        _: Request<v1::SetRetentionRequest>,
    ) -> Result<Response<v1::SetRetentionResponse>, Status> {
        not_here()
    }

    async fn list_versions(
        &self,
        _: Request<v1::ListVersionsRequest>,
    ) -> Result<Response<v1::ListVersionsResponse>, Status> {
        not_here()
    }

    async fn set_alias(&self, _: Request<v1::SetAliasRequest>) -> Result<Response<v1::SetAliasResponse>, Status> {
        not_here()
    }

    async fn rollback(&self, _: Request<v1::RollbackRequest>) -> Result<Response<v1::RollbackResponse>, Status> {
        not_here()
    }

    async fn set_traffic(&self, _: Request<v1::SetTrafficRequest>) -> Result<Response<v1::SetTrafficResponse>, Status> {
        not_here()
    }

    async fn delete_version(
        &self,
        _: Request<v1::DeleteVersionRequest>,
    ) -> Result<Response<v1::DeleteVersionResponse>, Status> {
        not_here()
    }

    async fn fit_head(
        &self,
        _: Request<Streaming<v1::FitHeadRequest>>,
    ) -> Result<Response<Self::FitHeadStream>, Status> {
        not_here()
    }

    async fn evaluate_head(
        &self,
        _: Request<Streaming<v1::EvaluateHeadRequest>>,
    ) -> Result<Response<Self::EvaluateHeadStream>, Status> {
        not_here()
    }

    async fn list_watched_heads(
        &self,
        _: Request<v1::ListWatchedHeadsRequest>,
    ) -> Result<Response<v1::ListWatchedHeadsResponse>, Status> {
        not_here()
    }

    async fn update_metadata(
        &self,
        _: Request<v1::UpdateMetadataRequest>,
    ) -> Result<Response<v1::UpdateMetadataResponse>, Status> {
        not_here()
    }
}

async fn serve(exporter: Exporter) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let incoming = TcpListenerStream::new(listener);
    let service = HeadServiceServer::new(exporter);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    address
}

fn header() -> Part {
    let file = |name: &str| FileDeclaration { name: name.to_owned(), size_bytes: 4, sha256: String::new() };
    Part::Header(ExportHeader {
        task: "a/b".to_owned(),
        version: 1,
        files: vec![file("head.toml"), file("weights.safetensors")],
        ..ExportHeader::default()
    })
}

fn chunk(name: &str, offset: u64, data: &[u8]) -> Part {
    Part::Chunk(FileChunk { name: name.to_owned(), offset, data: data.to_owned() })
}

#[tokio::test]
async fn a_transfer_that_breaks_lies_or_ends_early_leaves_no_file() {
    let whole = || chunk("head.toml", 0, b"toml");
    let cases = [
        (vec![header(), whole()], Some(Status::unavailable("draining")), 4),
        (vec![header(), whole()], None, 4),
        (vec![header(), whole(), chunk("weights.safetensors", 2, b"ts")], None, 4),
        (vec![header(), whole(), chunk("../weights", 0, b"data")], None, 4),
        (vec![whole()], None, 4),
    ];
    for (parts, end, status) in cases {
        let address = serve(Exporter { parts, end }).await;
        let folder = tempfile::tempdir().unwrap();
        let saved = folder.path().join("saved");
        let run = headwater(&["heads", "export", "a/b", saved.to_str().unwrap(), "--addr", &address], "").await;
        assert_eq!(run.status, status, "{}", run.errors);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{}", run.errors);
    }
}

#[tokio::test]
async fn a_whole_transfer_stands_under_its_name() {
    let parts = vec![
        header(),
        chunk("head.toml", 0, b"toml"),
        chunk("weights.safetensors", 0, b"da"),
        chunk("weights.safetensors", 2, b"ta"),
    ];
    let address = serve(Exporter { parts, end: None }).await;
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("deep/saved");
    let run = headwater(&["heads", "export", "a/b", saved.to_str().unwrap(), "--addr", &address], "").await;
    assert_eq!(run.status, 0, "{}", run.errors);
    assert_eq!(std::fs::read(saved.join("weights.safetensors")).unwrap(), b"data");
    assert_eq!(std::fs::read_dir(saved).unwrap().count(), 2);
}
