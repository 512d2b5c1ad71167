//! The public contract as Rust: messages, client and server stubs, and the descriptors that reflection serves.
//!
//! What each message and field means stands in `proto/headwater/v1/`; its comments are the documentation here too.

/// Package `headwater.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        clippy::all,
        rustdoc::all,
        reason = "generated; clippy and rustdoc judge how generators write, not what the contract says"
    )]
    tonic::include_proto!("headwater.v1");
}

/// Package `google.rpc`: the status of a row, and the details of an error as `tonic-types` has them.
pub mod rpc {
    pub use tonic_types::{ErrorDetails, RpcStatusExt, Status, StatusExt};
}

/// A moment, as messages hold it.
pub use prost_types::Timestamp;

/// Every file of the contract with all that it imports and the error details, comments included: a serialized
/// `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

/// A call's status as the status of one row, details included.
#[must_use]
pub fn row_status(status: &tonic::Status) -> rpc::Status {
    // Details that are not a `google.rpc.Status` are no one's who follows the contract; code and message still count.
    let details = <rpc::Status as prost::Message>::decode(status.details()).unwrap_or_default().details;
    rpc::Status { code: status.code().into(), message: status.message().to_owned(), details }
}

/// Size of a message on the wire, in bytes.
#[must_use]
pub fn encoded_bytes(message: &impl prost::Message) -> usize {
    message.encoded_len()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    fn contract() -> FileDescriptorSet {
        FileDescriptorSet::decode(super::FILE_DESCRIPTOR_SET).unwrap()
    }

    #[test]
    fn reflection_can_follow_every_import() {
        let contract = contract();
        let names: HashSet<&str> = contract.file.iter().map(|file| file.name()).collect();
        for file in &contract.file {
            for import in &file.dependency {
                assert!(names.contains(import.as_str()), "{} imports {import}, which is missing", file.name());
            }
        }
        assert!(names.contains("google/rpc/error_details.proto"));
    }

    #[test]
    fn every_method_has_messages_of_its_own() {
        let contract = contract();
        let mut seen = HashSet::new();
        let mut services = Vec::new();
        for service in contract.file.iter().flat_map(|file| &file.service) {
            services.push(service.name());
            for method in &service.method {
                assert!(seen.insert(method.input_type()), "{} is the request of two methods", method.input_type());
                assert!(seen.insert(method.output_type()), "{} is the reply of two methods", method.output_type());
            }
        }
        services.sort_unstable();
        let expected = [
            "AuditService",
            "CatalogService",
            "ClassifierService",
            "HeadService",
            "RegistryService",
            "ServerService",
            "TenantService",
        ];
        assert_eq!(services, expected);
    }
}
