//! Compiles the C++ doors in `shim/`, and gives this crate's own tests their run path to libtorch; binaries that use
//! the crate say it in their build scripts.

use std::env;
use std::path::{Path, PathBuf};

const SHIM: &str = "shim";
const PLAIN: [&str; 2] = ["shim/packed_linear.cpp", "shim/settings.cpp"];
/// The runtime's wheel has the first, wheels of their own the others, a toolkit all.
const NEEDED_HEADERS: [&str; 3] = ["cuda_runtime_api.h", "crt/host_config.h", "nvrtc.h"];

fn main() {
    println!("cargo::rerun-if-changed={SHIM}");
    println!("cargo::rerun-if-env-changed=CUDA_HOME");
    // torch-sys says so to the crates that depend on it directly; the headers lie beside the libraries.
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo::error=torch-sys does not say where libtorch is");
        return;
    };
    let libtorch = lib.parent().unwrap_or(&lib);
    // `.libtorch` keeps its name when it comes to mean another folder.
    println!("cargo::rerun-if-changed={}.choice", libtorch.display());
    let include = libtorch.join("include");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").define("_GLIBCXX_USE_CXX11_ABI", "1").files(PLAIN);
    build.flag("-isystem").flag(include.display().to_string());
    build.flag("-isystem").flag(include.join("torch/csrc/api/include").display().to_string());
    match cuda_headers(&lib) {
        Ok(headers) => {
            build.file("shim/cuda.cpp").flag("-isystem").flag(headers.display().to_string());
        }
        Err(reason) => {
            build.file("shim/cuda_absent.cpp").define("HEADWATER_CUDA_ABSENT", format!("\"{reason}\"").as_str());
        }
    }
    build.compile("headwater_shim");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    if has_cuda(&lib) {
        println!("cargo::rustc-link-lib=torch_cuda");
        println!("cargo::rustc-link-lib=c10_cuda");
        // Devices register when this library loads, and no symbol of it may be named: the linker would drop it.
        println!("cargo::rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,--pop-state");
    }
}

fn has_cuda(lib: &Path) -> bool {
    lib.join("libtorch_cuda.so").exists()
}

/// Where the headers of CUDA's runtime are: beside an installed PyTorch, or in `CUDA_HOME`. Or why CUDA is left out.
fn cuda_headers(lib: &Path) -> Result<PathBuf, &'static str> {
    if !has_cuda(lib) {
        return Err("this libtorch is for processors only");
    }
    // `.libtorch` may be a link into `site-packages`, where the wheels with the headers lie too.
    let packages = lib.canonicalize().ok().and_then(|lib| Some(lib.parent()?.parent()?.join("nvidia")));
    let wheels = packages.into_iter().flat_map(|packages| {
        let by_version = ["cu13", "cu12"].map(|name| packages.join(name).join("include"));
        by_version.into_iter().chain([packages.join("cuda_runtime/include")])
    });
    let toolkit = env::var_os("CUDA_HOME").map(PathBuf::from).unwrap_or_else(|| "/usr/local/cuda".into());
    let is_whole = |folder: &PathBuf| NEEDED_HEADERS.iter().all(|header| folder.join(header).exists());
    let Some(folder) = wheels.chain([toolkit.join("include")]).find(is_whole) else {
        let needed = NEEDED_HEADERS.join(" and ");
        println!(
            "cargo::warning=CUDA graphs and our own kernels are left out: {needed} are not all beside PyTorch (pip install \
             nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-nvrtc, in PyTorch's CUDA version) or in CUDA_HOME"
        );
        return Err("the headers of CUDA were not found when this program was built");
    };
    Ok(folder)
}
