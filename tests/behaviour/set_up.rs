//! What a newcomer's machine lacks, or points at wrongly, is said in a sentence.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.current_dir(repository()).output().expect("the program starts");
    (status.success(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

/// A folder for `PATH` that holds only these programs.
fn path_with(programs: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for program in programs {
        let found =
            ["/usr/bin", "/bin"].map(|place| Path::new(place).join(program)).into_iter().find(|path| path.exists());
        symlink(found.expect("every Linux has it"), folder.path().join(program)).expect("a link");
    }
    folder
}

fn libtorch_at(folder: &Path) -> (bool, String) {
    output(Command::new("python3").arg("deploy/libtorch.py").env("HEADWATER_LIBTORCH", folder))
}

#[test]
fn missing_prerequisites_are_named_each_with_how_to_get_it() {
    let bare = path_with(&["uname", "sed", "getconf", "sort", "head", "cut"]);
    let (done, said) = output(Command::new("/bin/sh").arg("deploy/prerequisites.sh").env("PATH", bare.path()));
    assert!(!done, "{said}");
    for (what, how) in [("Rust", "rustup"), ("C++17 compiler", "g++"), ("Python 3.9", "python3-pip")] {
        let line = said.lines().position(|line| line.starts_with("missing: ") && line.contains(what));
        let next = said.lines().nth(line.expect(&said) + 1);
        assert!(next.is_some_and(|next| next.contains(how)), "{said}");
    }
}

#[test]
fn nothing_is_missing_where_the_tests_run() {
    assert_eq!(output(Command::new("sh").arg("deploy/prerequisites.sh")), (true, String::new()));
}

#[test]
fn a_folder_that_is_no_pytorch_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (done, said) = libtorch_at(folder.path());
    assert!(!done && said.contains("is not a PyTorch folder"), "{said}");
}

#[test]
fn another_version_of_pytorch_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let files =
        [("version.py", "__version__ = '2.10.0+cu130'\n"), ("lib/libtorch_cpu.so", ""), ("include/ATen/ATen.h", "")];
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    let (done, said) = libtorch_at(folder.path());
    assert!(!done && said.contains("is PyTorch 2.10.0+cu130, but 2.11.0 is needed"), "{said}");
}
