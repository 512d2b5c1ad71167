//! Who a connection's certificate says its peer is.

/// The identity in a verified client certificate; rides in the extensions of every request of such a connection, and of
/// no other. Whoever terminates TLS puts it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerIdentity(pub(crate) String);
