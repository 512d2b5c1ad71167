//! Compiles the C++ doors in `shim/`, and gives this crate's own tests their run path to libtorch; binaries that use
//! the crate say it in their build scripts.

use std::env;
use std::path::PathBuf;

const SHIM: &str = "shim/packed_linear.cpp";

fn main() {
    println!("cargo::rerun-if-changed={SHIM}");
    // torch-sys says so to the crates that depend on it directly; the headers lie beside the libraries.
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo::error=torch-sys does not say where libtorch is");
        return;
    };
    let include = lib.with_file_name("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .flag("-isystem")
        .flag(include.display().to_string())
        .flag("-isystem")
        .flag(include.join("torch/csrc/api/include").display().to_string())
        .file(SHIM)
        .compile("headwater_shim");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    if lib.join("libtorch_cuda.so").exists() {
        // Devices register when this library loads, and no symbol of it is named: the linker would drop it.
        println!("cargo::rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,--pop-state");
    }
}
