//! Sources with links, pipes and paths in places where files should be: nothing outside them is read or changed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{assert_refused, copy, fixture, import};

fn spoilt(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy(&fixture(name), &model);
    (folder, model)
}

fn replace(path: &Path, make: impl FnOnce(&Path)) {
    std::fs::remove_file(path).unwrap();
    make(path);
}

#[test]
fn links_out_of_the_source_are_refused() {
    let (folder, model) = spoilt("c-sequence");
    let outside = folder.path().join("outside.json");
    std::fs::write(&outside, "{}").unwrap();
    for target in [outside.as_path(), Path::new("/etc/passwd"), Path::new("../outside.json"), Path::new("/dev/zero")] {
        for file in ["config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json"] {
            let (_folder, model) = spoilt("c-sequence");
            if target.is_relative() {
                std::fs::write(model.join("../outside.json"), "{}").unwrap();
            }
            replace(&model.join(file), |path| symlink(target, path).unwrap());
            assert_refused(&model, "a link to a place outside it");
        }
    }
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "{}");
    drop(model);
}

#[test]
fn links_that_lead_nowhere_or_in_a_circle_are_refused() {
    let (_folder, model) = spoilt("c-sequence");
    replace(&model.join("tokenizer_config.json"), |path| symlink("nothing-here", path).unwrap());
    assert_refused(&model, "tokenizer_config.json");
    replace(&model.join("tokenizer_config.json"), |path| symlink("tokenizer_config.json", path).unwrap());
    assert_refused(&model, "tokenizer_config.json");
}

#[test]
fn pipes_devices_and_folders_are_refused_without_waiting() {
    let (_folder, model) = spoilt("c-sequence");
    replace(&model.join("model.safetensors"), |path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    });
    assert_refused(&model, "a folder, a device or a pipe");
    replace(&model.join("model.safetensors"), |path| std::fs::create_dir(path).unwrap());
    assert_refused(&model, "a folder, a device or a pipe");
    assert_refused(Path::new("/dev/null"), "not a folder");
    assert_refused(Path::new("/nowhere/at/all"), "/nowhere/at/all");
}

#[test]
fn a_hard_link_is_an_ordinary_file_and_stays_as_it_is() {
    let (folder, model) = spoilt("c-sequence");
    let twin = folder.path().join("twin.safetensors");
    std::fs::hard_link(model.join("model.safetensors"), &twin).unwrap();
    let before = std::fs::read(&twin).unwrap();
    import(&model).unwrap();
    assert_eq!(std::fs::read(&twin).unwrap(), before);
}

#[test]
fn the_hubs_own_cache_may_link_into_its_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("models--a--b");
    let (blobs, snapshot) = (repository.join("blobs"), repository.join("snapshots").join("c0ffee"));
    std::fs::create_dir_all(&snapshot).unwrap();
    copy(&fixture("c-sequence"), &blobs);
    for entry in std::fs::read_dir(&blobs).unwrap() {
        let name = entry.unwrap().file_name();
        symlink(Path::new("../../blobs").join(&name), snapshot.join(&name)).unwrap();
    }
    import(&snapshot).unwrap();
}

#[test]
fn shards_that_are_paths_are_refused() {
    let (_folder, model) = spoilt("c-sequence");
    std::fs::rename(model.join("model.safetensors"), model.join("../outside.safetensors")).unwrap();
    for shard in
        ["../outside.safetensors", "/etc/outside.safetensors", "x/../outside.safetensors", ".safetensors\0.safetensors"]
    {
        let index = serde_json::json!({"weight_map": {"classifier.weight": shard}});
        std::fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();
        assert_refused(&model, "a path, not a file name");
    }
}

#[test]
fn task_names_that_are_paths_are_refused() {
    for name in ["../../../evil", "/tmp/evil", "a/../../evil", "..", "a\u{0}b", "a\nb", "..\\evil", ""] {
        let (_folder, model) = spoilt("a-one-file");
        let path = model.join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["tasks"][3] = name.into();
        std::fs::write(&path, config.to_string()).unwrap();
        assert_refused(&model, "task name");
    }
}
