//! The life of a head over gRPC: installed, served at once, moved, exported, deleted, and all of it after a restart.

use api::v1;
use api::v1::export_head_response::Part as ExportPart;
use api::v1::install_head_request::Part;
use api::v1::set_alias_request::Change;
use engine::{Head, HeadKind, TaskName};
use registry::HeadFolder;
use tests::{TestServer, head};
use tonic::{Code, Status};

use crate::asking::{ask, fields, input};

pub(crate) fn folder(server: &TestServer, task: &str, head: &Head) -> HeadFolder {
    HeadFolder::of_head(&task.parse::<TaskName>().unwrap(), head, server.encoder).unwrap()
}

fn chunk(name: &str, offset: usize, data: &[u8]) -> v1::InstallHeadRequest {
    let chunk = v1::FileChunk { name: name.to_owned(), offset: offset as u64, data: data.to_vec() };
    v1::InstallHeadRequest { part: Some(Part::Chunk(chunk)) }
}

pub(crate) fn messages(header: v1::InstallHeader, folder: &HeadFolder) -> Vec<v1::InstallHeadRequest> {
    let mut messages = vec![v1::InstallHeadRequest { part: Some(Part::Header(header)) }];
    messages.push(chunk("head.toml", 0, &folder.head_toml));
    let (first, second) = folder.weights.split_at(folder.weights.len() / 2);
    messages.push(chunk("weights.safetensors", 0, first));
    messages.push(chunk("weights.safetensors", first.len(), second));
    messages
}

pub(crate) async fn install(
    server: &TestServer,
    messages: Vec<v1::InstallHeadRequest>,
) -> Result<v1::InstallHeadResponse, Status> {
    server.heads().install_head(tokio_stream::iter(messages)).await.map(tonic::Response::into_inner)
}

pub(crate) async fn install_head(server: &TestServer, task: &str, seed: u16) -> v1::InstallHeadResponse {
    let folder = folder(server, task, &head(HeadKind::Classification, &["no", "yes"], seed));
    install(server, messages(v1::InstallHeader::default(), &folder)).await.unwrap()
}

pub(crate) async fn version_that_answers(server: &TestServer, task: &str) -> Result<u64, Code> {
    let reply = server.classifier().classify(ask(task, vec![input("fine")])).await;
    reply.map(|reply| reply.into_inner().served_by.unwrap().version).map_err(|status| status.code())
}

#[tokio::test]
async fn a_head_answers_from_the_acknowledgement_on_and_after_a_restart() {
    let server = TestServer::start().await;
    let installed = install_head(&server, "new/task", 9).await;
    assert_eq!((installed.version, installed.live, installed.already_installed), (1, true, false));
    assert_eq!(version_that_answers(&server, "new/task").await, Ok(1));
    let server = server.restart().await;
    assert_eq!(version_that_answers(&server, "new/task").await, Ok(1));
}

#[tokio::test]
async fn the_same_head_again_is_the_same_version() {
    let server = TestServer::start().await;
    let first = install_head(&server, "new/task", 9).await;
    let again = install_head(&server, "new/task", 9).await;
    assert_eq!((again.version, again.head_digest, again.already_installed), (1, first.head_digest, true));
    let folder = folder(&server, "new/task", &head(HeadKind::Classification, &["no", "yes"], 10));
    let header = v1::InstallHeader { version: Some(1), ..v1::InstallHeader::default() };
    let taken = install(&server, messages(header, &folder)).await.expect_err("version 1 is another head");
    assert_eq!(taken.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn a_second_version_waits_until_an_alias_names_it() {
    let server = TestServer::start().await;
    install_head(&server, "new/task", 9).await;
    let second = install_head(&server, "new/task", 10).await;
    assert_eq!((second.version, second.live), (2, false));
    assert_eq!(version_that_answers(&server, "new/task").await, Ok(1));
    let request = v1::SetAliasRequest {
        task: "new/task".into(),
        change: Some(Change::Version(2)),
        expected_generation: Some(second.generation),
        ..v1::SetAliasRequest::default()
    };
    let moved = server.heads().set_alias(request.clone()).await.unwrap().into_inner();
    assert_eq!((moved.version, moved.previous_version), (Some(2), Some(1)));
    assert_eq!(version_that_answers(&server, "new/task").await, Ok(2));
    let stale = server.heads().set_alias(request).await.expect_err("the generation has moved on");
    assert_eq!(stale.code(), Code::Aborted);
    let server = server.restart().await;
    assert_eq!(version_that_answers(&server, "new/task").await, Ok(2));
}

#[tokio::test]
async fn a_version_in_use_is_kept_and_a_deleted_one_stays_deleted() {
    let server = TestServer::start().await;
    install_head(&server, "new/task", 9).await;
    install_head(&server, "new/task", 10).await;
    let delete = |task: &str, version| v1::DeleteVersionRequest {
        task: task.to_owned(),
        version,
        ..v1::DeleteVersionRequest::default()
    };
    let in_use = server.heads().delete_version(delete("new/task", 1)).await.expect_err("live names it");
    assert_eq!(in_use.code(), Code::FailedPrecondition);
    server.heads().delete_version(delete("new/task", 2)).await.unwrap();
    server.heads().delete_version(delete("mood", 1)).await.unwrap();
    assert_eq!(version_that_answers(&server, "mood").await, Err(Code::NotFound));
    let server = server.restart().await;
    assert_eq!(version_that_answers(&server, "mood").await, Err(Code::NotFound), "the bundle does not bring it back");
    let third = install_head(&server, "new/task", 11).await;
    assert_eq!(third.version, 3, "a number is never given twice");
}

#[tokio::test]
async fn what_is_exported_can_be_installed_as_it_is() {
    let server = TestServer::start().await;
    let request = v1::ExportHeadRequest { task: "mood".into(), ..v1::ExportHeadRequest::default() };
    let mut parts = server.heads().export_head(request).await.unwrap().into_inner();
    let mut folder = HeadFolder { head_toml: Vec::new(), weights: Vec::new() };
    let mut digest = String::new();
    while let Some(part) = parts.message().await.unwrap() {
        match part.part.unwrap() {
            ExportPart::Header(header) => digest = header.head_digest,
            ExportPart::Chunk(chunk) if chunk.name == "head.toml" => folder.head_toml.extend(chunk.data),
            ExportPart::Chunk(chunk) => folder.weights.extend(chunk.data),
        }
    }
    let header = v1::InstallHeader { expected_digest: Some(digest.clone()), ..v1::InstallHeader::default() };
    let installed = install(&server, messages(header, &folder)).await.unwrap();
    assert_eq!((installed.head_digest, installed.version, installed.already_installed), (digest, 1, true));
}

#[tokio::test]
async fn a_head_of_another_encoder_needs_force_and_is_listed_as_forced() {
    let server = TestServer::start().await;
    let stranger = HeadFolder::of_head(
        &"new/task".parse().unwrap(),
        &head(HeadKind::Classification, &["no", "yes"], 9),
        registry::Digest::of(b"another encoder"),
    )
    .unwrap();
    let refused = install(&server, messages(v1::InstallHeader::default(), &stranger)).await.expect_err("other encoder");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let header = v1::InstallHeader { force_encoder: true, ..v1::InstallHeader::default() };
    assert!(!install(&server, messages(header, &stranger)).await.unwrap().warnings.is_empty());
    let request = v1::ListVersionsRequest { task: "new/task".into() };
    let versions = server.heads().list_versions(request).await.unwrap().into_inner().versions;
    assert!(versions[0].encoder_forced);
    assert_eq!(versions[0].state(), v1::VersionState::Serving);
}

#[tokio::test]
async fn a_refused_upload_leaves_nothing_behind() {
    let server = TestServer::start().await;
    let good = folder(&server, "new/task", &head(HeadKind::Classification, &["no", "yes"], 9));
    let header = || v1::InstallHeadRequest { part: Some(Part::Header(v1::InstallHeader::default())) };
    let mut flipped = good.clone();
    *flipped.weights.last_mut().unwrap() ^= 1;
    let declared = v1::FileDeclaration { name: "head.toml".into(), size_bytes: 3, sha256: String::new() };
    let lying = v1::InstallHeader { files: vec![declared], ..v1::InstallHeader::default() };
    let expecting = v1::InstallHeader { expected_digest: Some("sha256:00".into()), ..v1::InstallHeader::default() };
    let cases = [
        (Vec::new(), Code::InvalidArgument, "header"),
        (vec![chunk("head.toml", 0, b"x")], Code::InvalidArgument, "header"),
        (vec![header(), chunk("../head.toml", 0, b"x")], Code::InvalidArgument, "chunk.name"),
        (vec![header(), chunk("head.toml", 5, b"x")], Code::InvalidArgument, "chunk.offset"),
        (vec![header(), chunk("head.toml", 0, &good.head_toml)], Code::InvalidArgument, "weights.safetensors"),
        (messages(v1::InstallHeader::default(), &flipped), Code::DataLoss, ""),
        (messages(lying, &good), Code::DataLoss, ""),
        (messages(expecting, &good), Code::DataLoss, ""),
    ];
    for (messages, code, field) in cases {
        let status = install(&server, messages).await.expect_err(field);
        assert_eq!(status.code(), code, "{}", status.message());
        assert_eq!(fields(&status).first().map_or("", String::as_str), field, "{}", status.message());
    }
    assert_eq!(version_that_answers(&server, "new/task").await, Err(Code::NotFound));
    let request = v1::ListVersionsRequest { task: "new/task".into() };
    assert_eq!(server.heads().list_versions(request).await.expect_err("nothing there").code(), Code::NotFound);
}
