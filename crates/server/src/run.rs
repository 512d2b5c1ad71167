//! `serve` as a process: threads, signals, the port, and the exit status.

use std::error::Error;

use server::Ended;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use crate::config::Serve;
use crate::telemetry;

/// Connections and services need few threads; the encoder has its own. On few cores a second thread mostly wakes the
/// first one and takes a core from the encoder while it looks for work.
const CORES_AN_ASYNC_THREAD: usize = 4;
const MOST_ASYNC_THREADS: usize = 4;

pub(crate) fn run(options: Serve) -> Result<(), Box<dyn Error + Send + Sync>> {
    options.access()?;
    if options.check {
        telemetry::say(&format!("{options:#?}"));
        return Ok(());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / CORES_AN_ASYNC_THREAD).clamp(1, MOST_ASYNC_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let ended = runtime.block_on(serve(options));
    // A tokenizer thread that is still busy is no reason to stay.
    runtime.shutdown_background();
    match ended? {
        Ended::Drained => info!("stopped"),
        Ended::Cut { connections } => info!(connections, "stopped; some connections were cut"),
    }
    Ok(())
}

async fn serve(options: Serve) -> Result<Ended, Box<dyn Error + Send + Sync>> {
    let address = options.listen;
    let metrics = match options.metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let parts = options.into_parts(metrics)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let listener = listen(address).await?;
    info!(address = %listener.local_addr()?, "listening");
    let shutdown = async move {
        either(&mut interrupt, &mut terminate).await;
        info!("asked to stop");
        tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            // Asked twice: nothing acknowledged is lost by leaving at once.
            std::process::exit(130);
        });
    };
    Ok(server::serve(parts, listener, shutdown).await?)
}

async fn listen(address: std::net::SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
