//! What a server outlives: readers that go away, and more clients than there may be open files.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::process::{PATIENCE, Process, serve};

async fn is_healthy(server: &Process) -> bool {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let Ok(channel) = endpoint.connect().await else { return false };
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_its_output_may_go_away() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Process::serving(serve(data.path()).stdout(Stdio::piped()).args(["--log", "debug"]));
    server.close_outputs();
    server.signal(Signal::PIPE);
    // Each of these connections is a line of the log that nobody reads.
    for _ in 0..20 {
        drop(server.mute_client());
        assert!(is_healthy(&server).await);
    }
    server.signal(Signal::HUP);
    assert!(is_healthy(&server).await);
    server.signal(Signal::TERM);
    assert_eq!(server.ended_within(PATIENCE).code(), Some(0));
}

/// Processor time that a process has used, in clock ticks: hundredths of a second.
fn ticks(server: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// What of a core the process uses in such a time.
async fn share_of_a_core(server: &Process, time: Duration) -> f64 {
    let (began, before) = (Instant::now(), ticks(server));
    tokio::time::sleep(time).await;
    (ticks(server) - before) as f64 / 100.0 / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_clients_and_few_files_cost_little_and_pass() {
    let data = tempfile::tempdir().unwrap();
    let command = serve(data.path());
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    let server = Process::serving(&mut limited);
    let server_address = server.address;
    while share_of_a_core(&server, Duration::from_millis(200)).await > 0.05 {
        // The vectors of its heads' samples are computed first.
    }
    let mut clients = JoinSet::new();
    for _ in 0..500 {
        // Those that the system's queue does not take go on trying.
        clients.spawn(async move {
            let client = TcpStream::connect(server_address).await;
            std::future::pending::<()>().await;
            drop(client);
        });
    }
    let share = share_of_a_core(&server, Duration::from_secs(2)).await;
    assert!(share < 0.2, "{share} of a core");
    let page = server.metrics();
    assert!(page.contains("headwater_connections 32\n"), "the rest of the files is for the registry: {page}");
    clients.shutdown().await;
    let gone = Instant::now();
    while !is_healthy(&server).await {
        assert!(gone.elapsed() < Duration::from_secs(1), "not back after a second");
    }
}
