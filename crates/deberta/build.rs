//! Gives this crate's own tests their run path to libtorch; binaries that use the crate say it in their build scripts.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let lib = PathBuf::from(env::var_os("LIBTORCH").unwrap_or_default()).join("lib");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    if lib.join("libtorch_cuda.so").exists() {
        // Devices register when this library loads, and no symbol of it is named: the linker would drop it.
        println!("cargo::rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,--pop-state");
    }
}
