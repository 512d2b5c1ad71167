//! `serve` as a process: threads, signals, the port, and the exit status.

use std::error::Error;
use std::ffi::OsString;
use std::sync::Arc;

use clap::FromArgMatches;
use server::{ConfigurationError, Configured, Ended, Reloading};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::config::{Outside, Serve};
use crate::layers::{Layers, describe};
use crate::telemetry::{self, SetFilter};
use crate::{Arguments, Command};

/// Connections and services need few threads; the encoder has its own. On few cores a second thread mostly wakes the
/// first one and takes a core from the encoder while it looks for work.
const CORES_AN_ASYNC_THREAD: usize = 4;
const MOST_ASYNC_THREADS: usize = 4;

/// What the options were read from, so that they can be read again.
pub(crate) struct Origin {
    pub(crate) command: clap::Command,
    pub(crate) words: Vec<OsString>,
    pub(crate) layers: Layers,
    pub(crate) set_filter: SetFilter,
}

pub(crate) fn run(options: Serve, origin: Origin) -> Result<(), Box<dyn Error + Send + Sync>> {
    if options.check {
        options.adjustable()?;
        options.tls()?;
        options.access()?;
        telemetry::say(describe(&origin.layers.options()).trim_end());
        return Ok(());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / CORES_AN_ASYNC_THREAD).clamp(1, MOST_ASYNC_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let ended = runtime.block_on(serve(options, origin));
    // A tokenizer thread that is still busy is no reason to stay.
    runtime.shutdown_background();
    match ended? {
        Ended::Drained => info!("stopped"),
        Ended::Cut { connections } => info!(connections, "stopped; some connections were cut"),
    }
    Ok(())
}

async fn serve(options: Serve, origin: Origin) -> Result<Ended, Box<dyn Error + Send + Sync>> {
    // Whoever asks for a reload before there is anything to reload is no reason to end.
    let hangups = signal(SignalKind::hangup())?;
    let address = options.listen;
    let metrics = match options.metrics {
        Some(address) => {
            let listener = listen(address).await?;
            info!(address = %listener.local_addr()?, "metrics are served");
            Some(listener)
        }
        None => None,
    };
    let configuration = reloading(origin, hangups);
    let parts = options.into_parts(Outside { metrics, configuration })?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let listener = listen(address).await?;
    info!(address = %listener.local_addr()?, "listening");
    let (ask, asked) = oneshot::channel::<()>();
    // Beside everything else, so that a signal is heard whatever the server is doing.
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        info!("asked to stop");
        drop(ask);
        either(&mut interrupt, &mut terminate).await;
        // Asked twice: nothing acknowledged is lost by leaving at once.
        std::process::exit(130);
    });
    Ok(server::serve(parts, listener, async move { drop(asked.await) }).await?)
}

/// Reads flags, environment and file again, at each SIGHUP and whenever somebody asks by a call.
fn reloading(origin: Origin, mut hangups: Signal) -> Reloading {
    let Origin { command, words, layers, set_filter } = origin;
    let (asking, asked) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(()) = hangups.recv().await {
            // One that is under way, or comes after the end, is enough.
            let _ = asking.try_send(());
        }
    });
    let read = move || {
        let refused = |error: String| ConfigurationError(error);
        let layers = Layers::read(&command, &words).map_err(|error| refused(error.to_string()))?;
        let arguments = Arguments::from_arg_matches(&layers.matches).map_err(|error| refused(error.to_string()))?;
        let Command::Serve(options) = arguments.command else {
            return Err(refused("the command line is not that of a server".to_owned()));
        };
        let filter = telemetry::parse_filter(&options.log).map_err(refused)?;
        let set_filter = Arc::clone(&set_filter);
        let (adjustable, identities) = (options.adjustable().map_err(refused)?, options.identities().map_err(refused)?);
        let effect = Box::new(move || set_filter(filter));
        Ok(Configured { options: layers.options(), adjustable, identities, effect })
    };
    Reloading { options: layers.options(), read: Arc::new(read), asked }
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
