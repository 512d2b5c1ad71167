//! Compiles the contract to Rust and to the descriptor set, with a compiler written in Rust: nobody needs protoc.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

use prost::Message;

const CONTRACT: &str = "../../proto";

/// Every file that is not reached by an import of another one.
const ROOTS: [&str; 8] = [
    "headwater/v1/classifier.proto",
    "headwater/v1/catalog.proto",
    "headwater/v1/heads.proto",
    "headwater/v1/server.proto",
    "headwater/v1/tenants.proto",
    "headwater/v1/audit.proto",
    "headwater/v1/registry.proto",
    // No message of ours names them, but every error carries them: a client that knows the contract from reflection
    // alone can read them.
    "google/rpc/error_details.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={CONTRACT}");
    let files = protox::compile(ROOTS, [CONTRACT])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.binpb"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc", "::tonic_types::pb")
        .build_transport(false)
        .compile_fds(files)?;
    Ok(())
}
