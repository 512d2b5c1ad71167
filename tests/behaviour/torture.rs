//! Heads under fire: many clients and many changes at once, files that break on their way, servers that are killed.
//!
//! Each test has a core that every run tries; `make torture` tries all of it.

mod swapping;
mod one_name;
mod parked;
mod bad_replacement;
mod same_head_at_once;
mod victim;
mod broken_uploads;
mod one_bad_head;
mod file_calls;
mod slow_disk;
mod revocation;
mod flood;
mod statistics;
mod foreign_tasks;
mod guesses;
mod history;
mod client;
mod killed_server;

use api::v1;
use api::v1::classifier_service_client::ClassifierServiceClient;
use api::v1::head_service_client::HeadServiceClient;
use engine::{Head, TaskName};
use registry::{Digest, HeadFolder};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::asking::{ask, input};
use crate::installing::messages;

/// A head on its way, in several messages.
pub(crate) fn upload(
    header: v1::InstallHeader,
    task: &str,
    head: &Head,
    encoder: Digest,
) -> Vec<v1::InstallHeadRequest> {
    let folder = HeadFolder::of_head(&task.parse::<TaskName>().unwrap(), head, encoder).unwrap();
    messages(header, &folder)
}

pub(crate) async fn send(
    channel: &Channel,
    messages: Vec<v1::InstallHeadRequest>,
) -> Result<v1::InstallHeadResponse, Status> {
    let mut heads = HeadServiceClient::new(channel.clone());
    heads.install_head(tokio_stream::iter(messages)).await.map(Response::into_inner)
}

/// The version that answers, and its number, which is that of every input.
pub(crate) async fn answer(channel: &Channel, task: &str) -> Result<(u64, u16), Status> {
    let mut classifier = ClassifierServiceClient::new(channel.clone());
    let reply = classifier.classify(ask(task, vec![input("fine"), input("and fine again")])).await?.into_inner();
    let numbers = reply.predictions.iter().map(number).collect::<Vec<_>>();
    assert!(numbers.len() == 2 && numbers[0] == numbers[1], "one call was answered by two heads: {numbers:?}");
    Ok((reply.served_by.unwrap().version, numbers[0]))
}

fn number(prediction: &v1::Prediction) -> u16 {
    let Some(v1::prediction::Result::Value(value)) = &prediction.result else { panic!("{prediction:?}") };
    value.value as u16
}
