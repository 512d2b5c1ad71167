//! TLS at the door: what the server shows, whom it lets in, and how both change while it serves.

mod material;
mod watching;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use registry::AuditField;
use tokio::net::TcpStream;
use tokio::sync::{OwnedMutexGuard, Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error, info};

use crate::metrics::Metrics;
use crate::peer::PeerIdentity;
use material::{Material, Print, Served};
pub use material::{TlsError, TlsFiles};
pub(crate) use watching::watch_files;

const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
/// Handshakes at the same time; further ones wait, within the same patience.
const MAX_HANDSHAKES: usize = 128;

/// Certificates in use, and the files they came from. What is in use changes as a whole, for connections that come
/// later. Those that stand keep what they began with, but where other clients are let in they are asked to come anew.
pub struct Tls {
    files: TlsFiles,
    served: ArcSwap<Served>,
    /// What the files held when they were last judged; `None` where one of them could not be read.
    judged: Mutex<Option<Material>>,
    /// Held from the reading of new files until they are recorded and in use, so that one change is recorded once.
    changing: Arc<tokio::sync::Mutex<()>>,
    handshakes: Semaphore,
    /// Changes when other clients are let in; connections hold the other ends.
    let_in: watch::Sender<()>,
}

/// A client that was let in.
pub(crate) struct Guest {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Who it is, where its certificate was asked for.
    pub(crate) peer: Option<PeerIdentity>,
    /// Changes when it has to show its certificate anew.
    pub(crate) let_in: watch::Receiver<()>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Certificates that were read and can be served with, and are not yet.
pub(crate) struct Prepared {
    material: Material,
    served: Served,
}

impl Tls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`TlsError`] where a server cannot start with them.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let material = Material::read(&files)?;
        let served = ArcSwap::from_pointee(material.to_served()?);
        let (judged, changing) = (Mutex::new(Some(material)), Arc::default());
        let (handshakes, let_in) = (Semaphore::new(MAX_HANDSHAKES), watch::Sender::new(()));
        Ok(Self { files, served, judged, changing, handshakes, let_in })
    }

    /// Leave to change what is in use: nobody else does, while it is held.
    pub(crate) async fn alone(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.changing).lock_owned().await
    }

    /// Reads the files anew and changes nothing.
    pub(crate) fn prepare(&self) -> Result<Prepared, TlsError> {
        let material = Material::read(&self.files)?;
        let served = material.to_served()?;
        Ok(Prepared { material, served })
    }

    /// What of the files differs from those in use: the digests of their contents, and of a key nothing but that it is
    /// another.
    pub(crate) fn differences(&self, prepared: &Prepared) -> Vec<AuditField> {
        let served = self.served.load();
        let both = served.prints.iter().zip(&prepared.served.prints);
        let differ = both.filter(|(before, after)| before.digest != after.digest);
        differ.filter_map(|(before, after)| difference(before, after)).collect()
    }

    /// Serves with what was prepared from the next connection on. Returns whether that is something new.
    pub(crate) fn publish(&self, prepared: Prepared, metrics: &Metrics) -> bool {
        let is_new = !self.differences(&prepared).is_empty();
        let Prepared { material, served } = prepared;
        self.judge(Some(material));
        if !is_new {
            return false;
        }
        metrics.certificates_changed(served.ends_at);
        info!(ends_at_unix_seconds = served.ends_at, "certificates changed");
        let clients = served.clients.clone();
        let before = self.served.swap(Arc::new(served));
        if before.clients != clients {
            self.let_in.send_replace(());
        }
        true
    }

    /// Remembers what the files hold now, whatever came of it.
    fn judge(&self, found: Option<Material>) {
        *self.judged.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Whether the files held just that when they were last judged.
    fn has_judged(&self, found: Option<&Material>) -> bool {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == found
    }

    /// When the server's certificate ends, in seconds since 1970.
    pub(crate) fn ends_at(&self) -> i64 {
        self.served.load().ends_at
    }

    /// The handshake of one connection. `None` where it fails or takes too long.
    pub(crate) async fn greet(&self, socket: TcpStream, metrics: &Metrics) -> Option<Guest> {
        // Before the handshake, so that no change passes between the two unnoticed.
        let let_in = self.let_in.subscribe();
        let greeting = async {
            // The semaphore is never closed.
            let _permit = self.handshakes.acquire().await.ok();
            let acceptor = TlsAcceptor::from(Arc::clone(&self.served.load().config));
            acceptor.accept(socket).await
        };
        match timeout_at(Instant::now() + HANDSHAKE_PATIENCE, greeting).await {
            Ok(Ok(stream)) => {
                let peer = stream.get_ref().1.peer_certificates().and_then(PeerIdentity::of);
                return Some(Guest { stream, peer, let_in });
            }
            Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake took too long"),
        }
        metrics.handshake_failed();
        None
    }
}

fn difference(before: &Print, after: &Print) -> Option<AuditField> {
    if before.is_secret {
        return AuditField::of(before.option, None, Some("another key".to_owned()));
    }
    let told = |print: &Print| print.digest.map(|digest| digest.to_string());
    AuditField::of(before.option, told(before), told(after))
}

/// Tells that new certificates are bad, once for each time that they were judged.
pub(crate) fn tell_of_bad_certificates(error: &TlsError, metrics: &Metrics) {
    metrics.certificates_refused();
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    error!(%error, cause, "new certificates are bad; the old ones stay in use");
}
