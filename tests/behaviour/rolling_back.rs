//! An alias goes back to the version it named before, at once, for good, and only from where the caller thinks it is.

use api::v1;
use api::v1::set_alias_request::Change;
use cli::DONE;
use tests::TestServer;
use tonic::Code;
use tonic_types::StatusExt;

use crate::command_line::headwater;
use crate::installing::{install_head, version_that_answers};

const TASK: &str = "new/task";

fn roll_back(expected_generation: Option<u64>) -> v1::RollbackRequest {
    v1::RollbackRequest { task: TASK.into(), expected_generation, ..v1::RollbackRequest::default() }
}

async fn move_live(server: &TestServer, version: u64) -> u64 {
    let change = Some(Change::Version(version));
    let request = v1::SetAliasRequest { task: TASK.into(), change, ..v1::SetAliasRequest::default() };
    server.heads().set_alias(request).await.unwrap().into_inner().generation
}

/// A server whose task has three versions, and whose alias went from 1 to 2.
async fn moved() -> (TestServer, u64) {
    let server = TestServer::start().await;
    for seed in 9..12 {
        install_head(&server, TASK, seed).await;
    }
    let generation = move_live(&server, 2).await;
    (server, generation)
}

#[tokio::test]
async fn a_rollback_answers_from_the_acknowledgement_on_and_after_a_restart() {
    let (server, generation) = moved().await;
    let reply = server.heads().rollback(roll_back(Some(generation))).await.unwrap().into_inner();
    assert_eq!((reply.version, reply.previous_version), (1, 2));
    assert!(reply.generation > generation);
    assert_eq!(version_that_answers(&server, TASK).await, Ok(1));
    let server = server.restart().await;
    assert_eq!(version_that_answers(&server, TASK).await, Ok(1));
    let again = server.heads().rollback(roll_back(None)).await.unwrap().into_inner();
    assert_eq!((again.version, again.previous_version), (2, 1), "the last move was the rollback itself");
    assert_eq!(version_that_answers(&server, TASK).await, Ok(2));
}

#[tokio::test]
async fn a_rollback_from_elsewhere_is_refused_with_the_present_generation() {
    let (server, generation) = moved().await;
    let stale = server.heads().rollback(roll_back(Some(generation - 1))).await.expect_err("it has moved since");
    assert_eq!(stale.code(), Code::Aborted);
    let info = stale.get_error_details().error_info().cloned().unwrap();
    assert_eq!(info.metadata["generation"], generation.to_string());
    assert_eq!(version_that_answers(&server, TASK).await, Ok(2));
}

#[tokio::test]
async fn an_alias_without_a_past_stays_where_it_is() {
    let server = TestServer::start().await;
    install_head(&server, TASK, 9).await;
    let code = async |request| server.heads().rollback(request).await.expect_err("refused").code();
    assert_eq!(code(roll_back(None)).await, Code::FailedPrecondition);
    assert_eq!(code(v1::RollbackRequest { alias: "next".into(), ..roll_back(None) }).await, Code::NotFound);
    assert_eq!(code(v1::RollbackRequest { task: "nothing".into(), ..roll_back(None) }).await, Code::NotFound);
    assert_eq!(code(v1::RollbackRequest { alias: "7".into(), ..roll_back(None) }).await, Code::InvalidArgument);
    install_head(&server, TASK, 10).await;
    move_live(&server, 2).await;
    let delete = v1::DeleteVersionRequest { task: TASK.into(), version: 1, ..v1::DeleteVersionRequest::default() };
    server.heads().delete_version(delete).await.unwrap();
    assert_eq!(code(roll_back(None)).await, Code::FailedPrecondition, "the version before is gone");
    assert_eq!(version_that_answers(&server, TASK).await, Ok(2));
}

#[tokio::test]
async fn the_command_line_rolls_back() {
    let (server, generation) = moved().await;
    let run =
        headwater(&server, &["heads", "rollback", TASK, "--expect-generation", &generation.to_string()], "").await;
    assert_eq!(run.status, DONE, "{}", run.errors);
    assert_eq!((&run.lines()[0]["version"], &run.lines()[0]["previous_version"]), (&1.into(), &2.into()));
}
