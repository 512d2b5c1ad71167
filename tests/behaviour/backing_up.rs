//! What is stored can be counted, proven, saved and swept while the server answers and changes.

use std::path::Path;

use api::v1;
use api::v1::backup_registry_response::Part;
use api::v1::registry_service_client::RegistryServiceClient;
use api::v1::verify_registry_response::Event;
use cli::{DONE, USAGE};
use engine::HeadKind;
use registry::{OpenOptions, tools};
use tempfile::TempDir;
use tests::TestServer;
use tonic::Code;
use tonic::transport::Channel;

use crate::command_line::headwater;
use crate::installing::{folder, install, install_head, messages, version_that_answers};

const OPTIONS: OpenOptions = OpenOptions { ballast_bytes: 0, ..OpenOptions::SERVER };

fn client(server: &TestServer) -> RegistryServiceClient<Channel> {
    RegistryServiceClient::new(server.channel())
}

async fn stats(server: &TestServer) -> v1::GetRegistryStatsResponse {
    client(server).get_registry_stats(v1::GetRegistryStatsRequest {}).await.unwrap().into_inner()
}

/// The generation and the bytes of a backup, proven by its trailer.
async fn back_up(server: &TestServer) -> (u64, Vec<u8>) {
    let mut parts = client(server).backup_registry(v1::BackupRegistryRequest {}).await.unwrap().into_inner();
    let (mut generation, mut bytes) = (0, Vec::new());
    loop {
        match parts.message().await.unwrap().unwrap().part.unwrap() {
            Part::Header(header) => generation = header.generation,
            Part::Data(data) => bytes.extend(data),
            Part::Trailer(trailer) => {
                assert_eq!(trailer.size_bytes, bytes.len() as u64);
                assert_eq!(trailer.sha256, registry::Digest::of(&bytes).hex());
                assert_eq!(trailer.left_out_objects, 0);
                return (generation, bytes);
            }
        }
    }
}

/// Imports an archive into an empty data directory and exports that.
fn there_and_back(archive: &[u8], dir: &Path) -> (u64, Vec<u8>) {
    let (file, data, again) = (dir.join("in.tar"), dir.join("imported"), dir.join("out.tar"));
    std::fs::write(&file, archive).unwrap();
    let report = tools::import(&file, &data, &OPTIONS).unwrap();
    assert!(report.damaged.is_empty(), "{:?}", report.damaged);
    let exported = tools::export(&data, &again).unwrap();
    let bytes = std::fs::read(&again).unwrap();
    [file, again].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    std::fs::remove_dir_all(data).unwrap();
    (exported.generation, bytes)
}

#[tokio::test]
async fn backups_under_changes_are_one_generation_each_and_come_back_byte_for_byte() {
    let server = TestServer::start().await;
    let dir = TempDir::new().unwrap();
    let changing = async {
        for seed in 1..=40 {
            let installed = install_head(&server, "busy/task", seed).await;
            let change = v1::set_alias_request::Change::Version(installed.version);
            let request = v1::SetAliasRequest {
                task: "busy/task".into(),
                change: Some(change),
                ..v1::SetAliasRequest::default()
            };
            server.heads().set_alias(request).await.unwrap();
            if installed.version > 3 {
                let request = v1::DeleteVersionRequest {
                    task: "busy/task".into(),
                    version: installed.version - 3,
                    ..v1::DeleteVersionRequest::default()
                };
                server.heads().delete_version(request).await.unwrap();
            }
        }
    };
    let saving = async {
        let mut last = 0;
        for _ in 0..20 {
            let (generation, bytes) = back_up(&server).await;
            assert!(generation >= last, "they only grow");
            last = generation;
            assert_eq!(there_and_back(&bytes, dir.path()), (generation, bytes));
        }
    };
    tokio::join!(changing, saving);
    client(&server).collect_garbage(v1::CollectGarbageRequest {}).await.unwrap();
    let stats = stats(&server).await;
    assert_eq!((stats.unused_objects, stats.damaged_versions), (0, 0));
    assert_eq!(version_that_answers(&server, "busy/task").await, Ok(40));
}

#[tokio::test]
async fn a_check_tells_how_far_it_is_and_finds_a_served_registry_whole() {
    let server = TestServer::start().await;
    install_head(&server, "new/task", 9).await;
    let stats = stats(&server).await;
    assert_eq!((stats.tenants, stats.tasks, stats.versions, stats.damaged_versions), (1, 7, 7, 0));
    assert!(stats.store_bytes > 0 && stats.journal_bytes > 0 && stats.read_only_reason.is_empty());
    let mut events = client(&server).verify_registry(v1::VerifyRegistryRequest {}).await.unwrap().into_inner();
    let mut progress = Vec::new();
    let report = loop {
        match events.message().await.unwrap().unwrap().event.unwrap() {
            Event::Progress(far) => progress.push((far.stage(), far.total)),
            Event::Report(report) => break report,
        }
    };
    assert_eq!(progress.first(), Some(&(v1::Stage::Verifying, stats.objects)));
    assert_eq!((report.generation, report.whole_versions), (stats.generation, 7));
    assert_eq!((report.damaged_versions, report.problems), (vec![], Vec::<String>::new()));
}

#[tokio::test]
async fn a_second_backup_waits_until_the_first_has_left() {
    let server = TestServer::start().await;
    // Heads whose archive is larger than what waits on the way to a reader who does not read.
    let labels: Vec<String> = (0..4_000).map(|label| format!("{label:0>200}")).collect();
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    for seed in 1..=8 {
        let folder = folder(&server, "wide", &tests::head(HeadKind::Classification, &labels, seed));
        install(&server, messages(v1::InstallHeader::default(), &folder)).await.unwrap();
    }
    let unread = client(&server).backup_registry(v1::BackupRegistryRequest {}).await.unwrap();
    let refused = client(&server).backup_registry(v1::BackupRegistryRequest {}).await.expect_err("one at a time");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(unread);
    let again = async {
        while client(&server).backup_registry(v1::BackupRegistryRequest {}).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), again).await.expect("the place is free again");
}

#[tokio::test]
async fn the_command_line_counts_proves_saves_and_sweeps() {
    let server = TestServer::start().await;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("backup.tar");
    let path = file.to_str().unwrap();
    let run = headwater(&server, &["registry", "stats"], "").await;
    assert_eq!((run.status, &run.lines()[0]["tasks"]), (DONE, &6.into()));
    let run = headwater(&server, &["registry", "verify"], "").await;
    assert_eq!((run.status, &run.lines()[0]["whole_versions"]), (DONE, &6.into()));
    let run = headwater(&server, &["registry", "backup", path], "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(run.lines()[0]["sha256"], registry::Digest::of(&bytes).hex());
    assert_eq!(there_and_back(&bytes, dir.path()).1, bytes);
    let run = headwater(&server, &["registry", "backup", path], "").await;
    assert_eq!(run.status, USAGE, "what is there is never overwritten");
    let run = headwater(&server, &["registry", "gc"], "").await;
    assert_eq!((run.status, &run.lines()[0]["files"]), (DONE, &0.into()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing unfinished is left");
}
