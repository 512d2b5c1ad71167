//! A repository on the hub, played by a small server on this machine that answers the hub's own routes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use checkpoint::{HubId, HubSettings, Layout, Source};

use crate::{fixture, options, place};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";

/// Files of one repository, and what was asked for.
#[derive(Default)]
struct Hub {
    repositories: BTreeMap<&'static str, BTreeMap<String, Vec<u8>>>,
    /// Bytes left out at the end of large files.
    cut: usize,
    etag: Option<&'static str>,
    asked: Mutex<Vec<String>>,
}

impl Hub {
    fn with(mut self, repository: &'static str, folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                files.insert(entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
            }
        }
        self.repositories.insert(repository, files);
        self
    }

    /// Serves until the test ends; gives the address.
    fn start(self) -> (String, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(self);
        let served = Arc::clone(&hub);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = Arc::clone(&served);
                std::thread::spawn(move || hub.serve(stream));
            }
        });
        (address, hub)
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        loop {
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if line == "\r\n" {
                    break;
                }
                lines.push(line.trim_end().to_owned());
            }
            let path = lines[0].split(' ').nth(1).unwrap().to_owned();
            let header = |name: &str| {
                lines.iter().find_map(|line| line.to_lowercase().strip_prefix(&format!("{name}: ")).map(str::to_owned))
            };
            self.asked.lock().unwrap().push(path.clone());
            let from = header("range").and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
            let authorized = header("authorization").is_some_and(|value| value == format!("bearer {TOKEN}"));
            if stream.write_all(&self.answer(&path, from.unwrap_or(0), authorized, header("range"))).is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str, from: usize, authorized: bool, range: Option<String>) -> Vec<u8> {
        let plain = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        if !authorized {
            return plain("401 Unauthorized", "");
        }
        for (repository, files) in &self.repositories {
            if path == format!("/api/models/{repository}/revision/main") {
                let siblings: Vec<_> = files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
                return plain("200 OK", &serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string());
            }
            let Some(name) = path.strip_prefix(&format!("/{repository}/resolve/{COMMIT}/")) else {
                // Large files come from another place of the same host, as they do on the hub.
                let Some(name) = path.strip_prefix(&format!("/cdn/{repository}/")) else { continue };
                return self.part(name, &files[name], from, range);
            };
            let Some(bytes) = files.get(name) else { return plain("404 Not Found", "") };
            if name.ends_with(".safetensors") || name.ends_with(".bin") {
                let etag = self.etag.unwrap_or("largefile");
                return format!(
                    "HTTP/1.1 302 Found\r\nLocation: /cdn/{repository}/{name}\r\nX-Repo-Commit: {COMMIT}\r\n\
                     X-Linked-Etag: \"{etag}-{}\"\r\nContent-Length: 0\r\n\r\n",
                    name.len()
                )
                .into_bytes();
            }
            return self.part(name, bytes, from, range);
        }
        plain("404 Not Found", "")
    }

    fn part(&self, name: &str, bytes: &[u8], from: usize, range: Option<String>) -> Vec<u8> {
        let all = bytes.len();
        let until = if range.as_deref() == Some("bytes=0-0") { 1 } else { all };
        let is_large = name.ends_with(".safetensors") || name.ends_with(".bin");
        let cut = if is_large && until == all { self.cut } else { 0 };
        let sent = &bytes[from..until - cut];
        let etag = self.etag.map_or_else(|| format!("small-{all}-{}", name.len()), str::to_owned);
        let mut answer = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{all}\r\n\
             ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n\r\n",
            sent.len(),
            until - 1
        )
        .into_bytes();
        answer.extend(sent);
        answer
    }
}

fn source(repository: &str) -> Source {
    Source::Hub(HubId { repository: repository.to_owned(), revision: "main".to_owned() })
}

fn settings(endpoint: &str, cache: &Path) -> HubSettings {
    HubSettings {
        endpoint: Some(endpoint.to_owned()),
        cache: Some(cache.to_path_buf()),
        token: Some(TOKEN.to_owned()),
        offline: false,
    }
}

#[test]
fn a_model_and_its_adapters_come_from_the_hub_once_and_then_from_the_cache() {
    let both = fixture("b-model-and-adapters");
    let hub = Hub::default().with("org/model", &both.join("model")).with("org/model-adapters", &both.join("adapters"));
    let (endpoint, hub) = hub.start();
    let cache = tempfile::tempdir().unwrap();
    let run = |offline: bool| {
        let (_folder, bundle) = place();
        let mut options = options(Path::new("."), &bundle);
        options.source = source("org/model");
        options.adapters = Some(source("org/model-adapters"));
        options.hub = HubSettings { offline, ..settings(&endpoint, cache.path()) };
        checkpoint::import(&options).unwrap()
    };
    let first = run(false);
    assert_eq!(first.layout, Layout::Adapters);
    assert_eq!(first.heads.len(), 11);
    assert!(first.source.contains(&format!("org/model, revision {COMMIT}")), "{}", first.source);
    let asked = hub.asked.lock().unwrap().len();
    let again = run(false);
    assert_eq!(again, first);
    // Two questions for the newest commits, and nothing more.
    assert_eq!(hub.asked.lock().unwrap().len(), asked + 2);
    assert_eq!(run(true), first);
    assert_eq!(hub.asked.lock().unwrap().len(), asked + 2);
}

#[test]
fn the_cache_is_where_other_tools_look_for_it() {
    let (endpoint, _hub) = Hub::default().with("org/model", &fixture("c-token")).start();
    let cache = tempfile::tempdir().unwrap();
    let (_folder, bundle) = place();
    let mut options = options(Path::new("."), &bundle);
    options.source = source("org/model");
    options.hub = settings(&endpoint, cache.path());
    let report = checkpoint::import(&options).unwrap();
    assert_eq!(report.heads[0].task.as_str(), "model");
    let repository = cache.path().join("models--org--model");
    assert_eq!(std::fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    assert!(repository.join("snapshots").join(COMMIT).join("tokenizer.json").exists());
}

fn refusal(hub: Hub, change: impl FnOnce(&mut HubSettings)) -> (String, tempfile::TempDir) {
    let (endpoint, _hub) = hub.start();
    let cache = tempfile::tempdir().unwrap();
    let (_folder, bundle) = place();
    let mut options = options(Path::new("."), &bundle);
    options.source = source("org/model");
    options.hub = settings(&endpoint, &cache.path().join("cache"));
    change(&mut options.hub);
    let refusal = checkpoint::import(&options).unwrap_err().whole();
    assert!(!bundle.exists());
    (refusal, cache)
}

#[test]
fn what_the_hub_does_not_give_is_said() {
    let (text, _) = refusal(Hub::default(), |_| {});
    assert!(text.contains("org/model@main") && text.contains("404"), "{text}");
    let model = || Hub::default().with("org/model", &fixture("c-token"));
    let (text, _) = refusal(model(), |hub| hub.token = None);
    assert!(text.contains("401") && !text.contains(TOKEN), "{text}");
    let (text, _) = refusal(model(), |hub| hub.offline = true);
    assert!(text.contains("offline"), "{text}");
    let (text, _) = refusal(model(), |hub| hub.endpoint = Some("http://127.0.0.1:1".to_owned()));
    assert!(text.contains("org/model@main"), "{text}");
}

#[test]
fn files_that_are_cut_short_are_not_kept() {
    let hub = Hub { cut: 100, ..Hub::default().with("org/model", &fixture("c-token")) };
    let (text, cache) = refusal(hub, |_| {});
    assert!(text.contains("were announced"), "{text}");
    let snapshot = cache.path().join("cache/models--org--model/snapshots").join(COMMIT);
    assert!(snapshot.join("config.json").exists());
    assert!(snapshot.join("model.safetensors").symlink_metadata().is_err());
}

#[test]
fn names_from_the_hub_cannot_leave_the_cache() {
    let hub = Hub { etag: Some("../../../../evil"), ..Hub::default().with("org/model", &fixture("c-token")) };
    let (text, cache) = refusal(hub, |_| {});
    assert!(text.contains("names that cannot be used"), "{text}");
    let names: Vec<_> = std::fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.is_empty() || names == ["cache"], "{names:?}");
}
