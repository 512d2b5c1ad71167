//! The configuration of a running server: shown with its sources, checked as a whole, in force as a whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::v1;
use api::v1::server_service_client::ServerServiceClient;
use cli::{DONE, REFUSED};
use engine::Limits;
use engine::testing::small_limits;
use server::{Adjustable, ConfigOption, ConfigurationError, Configured, Identities, Reloading, Source};
use tests::{Surroundings, TestServer};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::asking::{ask, input};
use crate::command_line::headwater;

const PATIENCE: Duration = Duration::from_secs(60);

/// What stands in a file that a test writes over, as numbers by name, and how often it has come into force.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    shared: Arc<Mutex<(BTreeMap<&'static str, usize>, usize)>>,
}

impl File {
    pub(crate) fn write(&self, entries: &[(&'static str, usize)]) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).0 = entries.iter().copied().collect();
    }

    pub(crate) fn times_in_force(&self) -> usize {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn read(&self) -> Result<Configured, ConfigurationError> {
        let entries = self.shared.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        let mut options = Vec::new();
        let mut number = |name: &'static str, default: usize| {
            let (value, source) = entries.get(name).map_or((default, Source::Default), |value| (*value, Source::File));
            let live = name != "max_message_bytes";
            options.push(ConfigOption { name: name.to_owned(), value: Some(value.to_string()), source, live });
            value
        };
        let small = small_limits();
        let limits = Limits {
            max_inputs: number("max_inputs", small.max_inputs),
            max_in_flight_rows: number("max_in_flight_rows", small.max_in_flight_rows),
            ..small
        };
        let max_connections = number("max_connections", 64);
        number("max_message_bytes", 1 << 20);
        if limits.max_inputs == 0 {
            return Err(ConfigurationError("max_inputs = 0 makes no sense".to_owned()));
        }
        let drain = Duration::from_secs(10);
        let adjustable = Adjustable { limits, max_connections, drain, fit_memory_bytes: 1 << 20 };
        let shared = Arc::clone(&self.shared);
        let effect = Box::new(move || shared.lock().unwrap_or_else(PoisonError::into_inner).1 += 1);
        Ok(Configured { options, adjustable, identities: Identities::default(), effect })
    }
}

/// A server on a file, and the way to ask it for a reload without a call.
pub(crate) async fn start(file: &File) -> (TestServer, mpsc::Sender<()>) {
    let (asking, asked) = mpsc::channel(1);
    let first = file.read().unwrap();
    let again = file.clone();
    let configuration = Some(Reloading { options: first.options, read: Arc::new(move || again.read()), asked });
    let max_connections = first.adjustable.max_connections;
    let surroundings = Surroundings { configuration, max_connections, ..Surroundings::default() };
    (TestServer::start_among(surroundings).await, asking)
}

pub(crate) async fn reload(server: &TestServer, check_only: bool) -> Result<v1::ReloadConfigResponse, Status> {
    let request = v1::ReloadConfigRequest { check_only };
    ServerServiceClient::new(server.channel()).reload_config(request).await.map(tonic::Response::into_inner)
}

pub(crate) async fn value(server: &TestServer, name: &str) -> (String, v1::OptionSource) {
    let request = v1::GetConfigRequest {};
    let reply = ServerServiceClient::new(server.channel()).get_config(request).await.unwrap().into_inner();
    let option = reply.options.into_iter().find(|option| option.name == name).unwrap();
    (option.value.clone().unwrap(), option.source())
}

pub(crate) async fn two_inputs(server: &TestServer) -> Code {
    let answered = server.classifier().classify(ask("mood", vec![input("a"), input("b")])).await;
    answered.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test]
async fn a_limit_changes_for_the_next_call_and_back() {
    let file = File::default();
    let (server, _asking) = start(&file).await;
    assert_eq!(two_inputs(&server).await, Code::Ok);
    file.write(&[("max_inputs", 1)]);
    let reply = reload(&server, false).await.unwrap();
    let change = v1::ConfigChange {
        name: "max_inputs".into(),
        before: Some("256".into()),
        after: Some("1".into()),
        source: v1::OptionSource::File.into(),
    };
    assert_eq!((reply.changed, reply.needs_restart), (vec![change], vec![]));
    assert_eq!(value(&server, "max_inputs").await, ("1".into(), v1::OptionSource::File));
    assert_eq!(two_inputs(&server).await, Code::InvalidArgument);
    file.write(&[]);
    assert_eq!(reload(&server, false).await.unwrap().changed.len(), 1);
    assert_eq!(value(&server, "max_inputs").await, ("256".into(), v1::OptionSource::Default));
    assert_eq!(two_inputs(&server).await, Code::Ok);
    assert_eq!(file.times_in_force(), 2);
}

#[tokio::test]
async fn a_configuration_with_one_mistake_changes_nothing() {
    let file = File::default();
    let (server, _asking) = start(&file).await;
    file.write(&[("max_inputs", 0), ("max_in_flight_rows", 1)]);
    let refusal = reload(&server, false).await.expect_err("a mistake");
    assert_eq!((refusal.code(), refusal.message()), (Code::FailedPrecondition, "max_inputs = 0 makes no sense"));
    assert_eq!(value(&server, "max_in_flight_rows").await.0, "4096");
    assert_eq!((two_inputs(&server).await, file.times_in_force()), (Code::Ok, 0));
}

#[tokio::test]
async fn a_check_says_what_would_change_and_changes_nothing() {
    let file = File::default();
    let (server, _asking) = start(&file).await;
    file.write(&[("max_inputs", 1), ("max_message_bytes", 5)]);
    let reply = reload(&server, true).await.unwrap();
    assert_eq!((reply.changed.len(), reply.needs_restart.len()), (1, 1));
    assert_eq!((two_inputs(&server).await, file.times_in_force()), (Code::Ok, 0));
    assert_eq!(value(&server, "max_inputs").await.0, "256");
}

#[tokio::test]
async fn what_needs_a_restart_is_said_each_time_and_keeps_its_value() {
    let file = File::default();
    let (server, _asking) = start(&file).await;
    file.write(&[("max_message_bytes", 5)]);
    for _ in 0..2 {
        let reply = reload(&server, false).await.unwrap();
        assert_eq!((reply.changed.len(), reply.needs_restart[0].name.as_str()), (0, "max_message_bytes"));
    }
    assert_eq!(value(&server, "max_message_bytes").await, ("1048576".into(), v1::OptionSource::Default));
}

#[tokio::test]
async fn rows_in_flight_are_fewer_once_those_that_were_admitted_are_answered() {
    let file = File::default();
    let (server, _asking) = start(&file).await;
    server.gate.close();
    let mut classifier = server.classifier();
    let held = tokio::spawn(async move { classifier.classify(ask("mood", vec![input("held"); 3])).await });
    server.until_metric("rows_in_flight", 3).await;
    file.write(&[("max_in_flight_rows", 2)]);
    reload(&server, false).await.unwrap();
    let mut classifier = server.classifier();
    let refused = timeout(PATIENCE, classifier.classify(ask("mood", vec![input("x")]))).await.expect("at once");
    let refused = refused.expect_err("no room");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    server.gate.open();
    assert!(held.await.unwrap().is_ok(), "what was admitted is answered");
    // Room comes back when the reply has left, which may be a moment after it was read.
    let two_have_room = async {
        while two_inputs(&server).await != Code::Ok {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, two_have_room).await.expect("there is room for two again");
    file.write(&[("max_in_flight_rows", 1)]);
    reload(&server, false).await.unwrap();
    assert_eq!(two_inputs(&server).await, Code::ResourceExhausted);
    file.write(&[("max_in_flight_rows", 5)]);
    reload(&server, false).await.unwrap();
    assert_eq!(two_inputs(&server).await, Code::Ok);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_waits_for_room_gets_it_by_a_reload() {
    let file = File::default();
    file.write(&[("max_connections", 1)]);
    let (server, asking) = start(&file).await;
    let waiting = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(server.metric("connections").await, 1, "the server's own client has the only place");
    file.write(&[("max_connections", 2)]);
    asking.send(()).await.unwrap();
    server.until_metric("connections", 2).await;
    drop(waiting);
}

#[tokio::test]
async fn a_reload_without_a_call_does_the_same() {
    let file = File::default();
    let (server, asking) = start(&file).await;
    file.write(&[("max_inputs", 1)]);
    asking.send(()).await.unwrap();
    let changing = async {
        while two_inputs(&server).await == Code::Ok {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, changing).await.expect("it changes in time");
}

#[tokio::test]
async fn the_command_line_shows_and_reloads() {
    let file = File::default();
    file.write(&[("max_connections", 32)]);
    let (server, _asking) = start(&file).await;
    let shown = headwater(&server, &["server", "config"], "").await;
    let connections = shown.lines().into_iter().find(|line| line["name"] == "max_connections").unwrap();
    assert_eq!((&connections["value"], &connections["source"]), (&"32".into(), &"file".into()));
    file.write(&[("max_connections", 33), ("max_message_bytes", 5)]);
    let run = headwater(&server, &["server", "reload", "--check", "--output", "table"], "").await;
    let expected = "max_connections: 32 -> 33\nmax_message_bytes: 1048576 -> 5 (needs a restart)\n";
    assert_eq!((run.status, run.output.as_str()), (DONE, expected));
    let run = headwater(&server, &["server", "reload"], "").await;
    assert_eq!(run.lines()[0]["changed"][0]["after"], "33");
    file.write(&[("max_inputs", 0)]);
    let run = headwater(&server, &["server", "reload"], "").await;
    assert_eq!(run.status, REFUSED);
    assert!(run.errors.contains("max_inputs = 0"), "{}", run.errors);
}
