//! Somebody sets the machine's clock: no token ends by that, and none lasts longer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use api::v1;
use api::v1::catalog_service_client::CatalogServiceClient;
use api::v1::tenant_service_client::TenantServiceClient;
use prost_types::Timestamp;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::calling::{first_token, with};
use crate::process::{PATIENCE, Process, serve};

const YEAR: i64 = 31_556_952;

/// The object that stands between the server and libc's clock; `None` without a C compiler.
fn object(folder: &Path) -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../registry/tests/durability/file_calls.c");
    let object = folder.join("file_calls.so");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&object).arg(source).arg("-ldl").status();
    built.is_ok_and(|status| status.success()).then_some(object)
}

/// How a call with the token ends.
async fn call(channel: &Channel, token: &str) -> Code {
    let asked = with(token, v1::ListTasksRequest::default());
    let answered = CatalogServiceClient::new(channel.clone()).list_tasks(asked).await;
    answered.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// A token that ends by itself after these seconds.
async fn ending(channel: &Channel, operator: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let request = v1::CreateTokenRequest {
        tenant: "default".to_owned(),
        scopes: vec![v1::Scope::Infer.into()],
        expires_at: Some(Timestamp { seconds: now + seconds, nanos: 0 }),
        ..v1::CreateTokenRequest::default()
    };
    let reply = TenantServiceClient::new(channel.clone()).create_token(with(operator, request)).await;
    reply.unwrap().into_inner().secret
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_when_its_time_has_passed_whatever_the_date_is_set_to() {
    let data = tempfile::tempdir().unwrap();
    let Some(object) = object(data.path()) else {
        println!("skipped: no C compiler");
        return;
    };
    let operator = first_token(data.path(), &["--scopes", "infer,operator", "--days", "1"]);
    let off = data.path().join("seconds");
    std::fs::write(&off, "0").unwrap();
    let mut command = serve(data.path());
    command.args(["--auth", "on"]).env("LD_PRELOAD", object).env("HEADWATER_CLOCK_FILE", &off);
    let server = Process::serving(&mut command);
    let channel = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap();
    for seconds in [YEAR, 0, -YEAR] {
        std::fs::write(&off, seconds.to_string()).unwrap();
        assert_eq!(call(&channel, &operator).await, Code::Ok, "{seconds} seconds off");
        let short = ending(&channel, &operator, 2).await;
        let ends = async { while call(&channel, &short).await != Code::Unauthenticated {} };
        tokio::time::timeout(PATIENCE, ends).await.unwrap_or_else(|_| panic!("it never ends, {seconds} seconds off"));
    }
}
