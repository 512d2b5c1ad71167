//! Whoever holds a token calls a server.

use std::path::Path;
use std::process::Command;

use tonic::metadata::MetadataValue;
use tonic::{IntoRequest, Request};

use crate::process::PROGRAM;

/// A token of the tenant `default`, made while no server runs on this folder.
pub(crate) fn first_token(data: &Path, more: &[&str]) -> String {
    let made = Command::new(PROGRAM).args(["token", "--data"]).arg(data).args(more).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// The message as a call of whoever holds `token`.
pub(crate) fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = message.into_request();
    let value: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}
