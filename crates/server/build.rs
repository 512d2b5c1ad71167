//! Gives this crate's binaries their run path to libtorch, and stops with a sentence where libtorch is absent.
//! Cargo does not hand a dependency's link arguments on, so each crate with a binary says this itself.

use std::env;
use std::path::PathBuf;

fn main() {
    let libtorch = PathBuf::from(env::var_os("LIBTORCH").unwrap_or_default());
    let lib = libtorch.join("lib");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-changed={}.choice", libtorch.display());
    if !lib.join("libtorch_cpu.so").exists() {
        let place = libtorch.display();
        println!("cargo::error=libtorch is not in '{place}': run `make setup` once in the repository root");
        return;
    }
    // The relative paths hold where the checkout is moved with its build, the absolute one for any target folder.
    let absolute = lib.display().to_string();
    for path in ["$ORIGIN/../../.libtorch/lib", "$ORIGIN/../../../.libtorch/lib", &absolute] {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{path}");
    }
    if lib.join("libtorch_cuda.so").exists() {
        // Devices register when this library loads, and no symbol of it is named: the linker would drop it.
        println!("cargo::rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,--pop-state");
    }
}
