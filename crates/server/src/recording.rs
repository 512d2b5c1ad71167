//! What is in the audit log before it is in force: another configuration, other certificates.

use registry::{AuditField, Author, Change, RegistryError};
use tonic::Status;

use crate::changes::{Changes, Writer};

/// Why what was to be recorded is not, and so not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The single writer has no room for the entry.
    #[error("it waits behind too many changes: {}", .0.message())]
    NotTaken(Status),
    /// The entry was not written, as where the registry is read-only.
    #[error(transparent)]
    NotWritten(#[from] RegistryError),
}

/// Writes that these things are to change, as `author`'s doing; nothing where nothing is.
pub(crate) async fn record(changes: &Changes, author: &Author, fields: Vec<AuditField>) -> Result<(), RecordError> {
    if !fields.is_empty() {
        let write = move |writer: &mut Writer| writer.apply(Change::Configure { fields });
        changes.run(author, write).await.map_err(RecordError::NotTaken)??;
    }
    Ok(())
}
