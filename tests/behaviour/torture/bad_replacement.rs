//! Replacements that are not fit to serve arrive while the old version answers: it goes on, without one error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::v1;
use engine::{Head, HeadKind, HeadParts};
use registry::HeadFolder;
use tests::{HIDDEN, TestServer, constant, effort, found};
use tonic::Code;

use super::{answer, send, upload};
use crate::installing::messages;

const TASK: &str = "good/task";
const CLIENTS: usize = 8;

fn live() -> v1::InstallHeader {
    v1::InstallHeader { make_live: true, ..Default::default() }
}

/// Uploads that must be refused, with their codes.
fn bad_uploads(server: &TestServer) -> Vec<(&'static str, Vec<v1::InstallHeadRequest>, Code)> {
    let good = HeadFolder::of_head(&TASK.parse().unwrap(), &constant(2), server.encoder).unwrap();
    let changed = |change: &dyn Fn(&mut HeadFolder)| {
        let mut folder = good.clone();
        change(&mut folder);
        messages(live(), &folder)
    };
    let wide = HeadParts { weight: vec![0.0; HIDDEN + 1].into(), bias: vec![1.0].into(), ..HeadParts::default() };
    let wide = Head::new(HeadKind::Regression, HIDDEN + 1, wide).unwrap();
    let elsewhere = registry::Digest::of(b"another encoder");
    vec![
        ("a flipped bit", changed(&|folder| *folder.weights.last_mut().unwrap() ^= 1), Code::DataLoss),
        ("half the weights", changed(&|folder| folder.weights.truncate(folder.weights.len() / 2)), Code::DataLoss),
        ("no manifest", changed(&|folder| folder.head_toml = b"kind = ".to_vec()), Code::InvalidArgument),
        ("another width", upload(live(), TASK, &wide, server.encoder), Code::InvalidArgument),
        ("another encoder", upload(live(), TASK, &constant(2), elsewhere), Code::FailedPrecondition),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_version_answers_throughout_bad_replacements() {
    let rounds = effort(5, 100);
    let server = TestServer::start().await;
    send(&server.channel(), upload(live(), TASK, &constant(1), server.encoder)).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (channel, over) = (server.own_channel(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut answers = 0;
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(answer(&channel, TASK).await.unwrap(), (1, 1));
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    let mut refused = 0;
    for _ in 0..rounds {
        for (what, messages, code) in bad_uploads(&server) {
            let status = send(&server.channel(), messages).await.expect_err(what);
            assert_eq!(status.code(), code, "{what}: {}", status.message());
            refused += 1;
        }
    }
    over.store(true, Ordering::SeqCst);
    let mut answers = 0;
    for client in clients {
        answers += client.await.expect("the old version answers");
    }
    found(&format!("{refused} bad replacements refused, {answers} answers meanwhile, 0 errors"));
}
