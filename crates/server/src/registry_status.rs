//! Errors of the registry to gRPC codes.

use registry::RegistryError;
use tonic::{Code, Status};

use crate::status::{
    digest_mismatch, failed_precondition, internal, invalid_field, no_such, not_found, over_quota, with_reason,
};

pub(crate) fn of(error: RegistryError) -> Status {
    let message = error.to_string();
    match error {
        RegistryError::UnknownTask { .. }
        | RegistryError::UnknownVersion { .. }
        | RegistryError::UnknownAlias { .. } => not_found("no such task, version or alias"),
        RegistryError::AlreadyExists { .. } => with_reason(Code::AlreadyExists, &message, "VERSION_TAKEN", []),
        RegistryError::CaseClash { .. } => invalid_field("task", &message),
        RegistryError::AliasInUse { .. } => failed_precondition("ALIAS_IN_USE", "version", &message),
        RegistryError::TrafficInUse { .. } => failed_precondition("TRAFFIC_IN_USE", "version", &message),
        RegistryError::NothingBefore { .. } => failed_precondition("NOTHING_BEFORE", "alias", &message),
        RegistryError::ReadOnly { .. } => {
            failed_precondition("REGISTRY_READ_ONLY", "registry", "the registry is read-only: see the server's log")
        }
        RegistryError::WrongGeneration { actual, .. } => {
            with_reason(Code::Aborted, &message, "WRONG_GENERATION", [("generation", actual.to_string())])
        }
        RegistryError::DiskFull { .. } => with_reason(Code::ResourceExhausted, "the disk is full", "DISK_FULL", []),
        RegistryError::TooManyAliases { .. } => invalid_field("alias", &message),
        RegistryError::Manifest(_) => invalid_field("head.toml", &message),
        RegistryError::Weights(_) | RegistryError::Head(_) => invalid_field("weights.safetensors", &message),
        RegistryError::WeightsDigest => digest_mismatch(&message),
        RegistryError::Damaged { .. } => with_reason(Code::DataLoss, "the stored head is damaged", "DAMAGED", []),
        RegistryError::RecordTooLarge { .. } => invalid_field("head.toml", &message),
        RegistryError::UnknownTenant { .. } => no_such("tenant"),
        RegistryError::UnknownToken { .. } => no_such("token"),
        RegistryError::TenantExists { .. } => with_reason(Code::AlreadyExists, &message, "TENANT_EXISTS", []),
        RegistryError::TenantInUse { .. } => failed_precondition("TENANT_IN_USE", "name", &message),
        RegistryError::TenantStays { .. } => failed_precondition("TENANT_STAYS", "name", &message),
        RegistryError::OverQuota { what, .. } => over_quota(what, &message, None),
        RegistryError::TooMany { .. } => failed_precondition("TOO_MANY", "registry", &message),
        RegistryError::TenantField { field, reason } => invalid_field(field, &reason),
        RegistryError::Locked { .. }
        | RegistryError::RecordsLost { .. }
        | RegistryError::NetworkFileSystem { .. }
        | RegistryError::Folder { .. }
        | RegistryError::Store(_)
        | RegistryError::Io { .. } => internal("the registry failed", &message),
    }
}
