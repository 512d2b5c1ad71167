//! Once a disk has failed, a reload that would change something is refused as a whole, by a call and by a signal: what is
//! in force is in the audit log, or it is not in force.

use api::v1;
use engine::HeadKind;
use server::ServeError;
use tests::{Log, TestServer, head};
use tonic::Code;

use crate::configuring::{File, reload, start, two_inputs, value};
use crate::installing::{folder, messages};

/// Lets the registry meet a disk that fails, after which it takes no change.
pub(crate) async fn fail_disk(server: &TestServer) {
    let objects = server.data_dir().join("objects");
    std::fs::rename(&objects, server.data_dir().join("gone")).unwrap();
    let folder = folder(server, "no/room", &head(HeadKind::Classification, &["no", "yes"], 77));
    let install = tokio_stream::iter(messages(v1::InstallHeader::default(), &folder));
    server.heads().install_head(install).await.expect_err("the head has no place to go");
}

#[tokio::test]
async fn nothing_of_it_is_in_force_and_both_ways_say_why() {
    let log = Log::begin();
    let file = File::default();
    let (server, asking) = start(&file).await;
    fail_disk(&server).await;
    reload(&server, false).await.expect("what changes nothing has nothing to record");
    let in_force = file.times_in_force();
    file.write(&[("max_inputs", 1)]);
    assert_eq!(reload(&server, true).await.unwrap().changed.len(), 1, "what would change can be told");

    let refused = reload(&server, false).await.expect_err("it cannot be recorded");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "the registry is read-only: see the server's log");

    for _ in 0..3 {
        // There is room for the third when the first has been dealt with.
        asking.send(()).await.unwrap();
    }
    let told = log.lines_with("the configuration was not reloaded; the old one stays in force");
    let reason = "the reload was not recorded: the registry is read-only";
    assert!(!told.is_empty() && told.iter().all(|line| line.contains(reason)), "{told:?}");

    assert_eq!(value(&server, "max_inputs").await.0, "256");
    assert_eq!(two_inputs(&server).await, Code::Ok);
    assert_eq!(file.times_in_force(), in_force);
    assert!(matches!(server.stop().await, Err(ServeError::DiskFailed)));
}
