//! Pickles that are programs, archives that lie: refused by name, and nothing they asked for has happened.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::{assert_refused, copy, fixture, jail, options, place};

/// A zip archive of stored entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(CompressionMethod::Stored)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A checkpoint whose weights are `bytes`, in a folder of its own.
fn checkpoint_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy(&fixture("d-prefixed"), &model);
    std::fs::write(model.join("pytorch_model.bin"), bytes).unwrap();
    (folder, model)
}

fn assert_bytes_refused(bytes: &[u8], expected: &str) {
    let (_folder, model) = checkpoint_of(bytes);
    assert_refused(&model, expected);
}

fn assert_pickle_refused(pickle: &[u8], expected: &str) {
    assert_bytes_refused(&archive(&[("a/data.pkl", pickle), ("a/data/0", &[0; 16])]), expected);
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A call of `module.name` with one text.
fn call(module: &str, name: &str, argument: &str) -> Vec<u8> {
    [b"c", module.as_bytes(), b"\n", name.as_bytes(), b"\n(", &text(argument), b"tR"].concat()
}

/// A state dictionary with one tensor `w` over a storage of four numbers.
fn one_tensor(storage: &[u8], shape_and_strides: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x02}".to_vec();
    pickle.extend(text("w"));
    pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle.extend(text("storage"));
    pickle.extend(b"ctorch\nFloatStorage\n");
    pickle.extend(storage);
    pickle.extend(b"tQK\x00");
    pickle.extend(shape_and_strides);
    pickle.extend(b"\x89}tRs.");
    pickle
}

fn storage(key: &str, elements: u8) -> Vec<u8> {
    [text(key), text("cpu"), vec![b'K', elements]].concat()
}

#[test]
fn programs_in_pickles_are_refused_and_never_run() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let command = format!("touch {}", marker.display());
    let system = call("posix", "system", &command);
    let python = format!("__import__('os').system({command:?})");
    let mut stack_global = text("os");
    stack_global.extend(text("system"));
    stack_global.extend(b"\x93(");
    stack_global.extend(text(&command));
    stack_global.extend(b"tR");
    let nested = [&b"}"[..], &text("w"), b"ctorch._utils\n_rebuild_tensor_v2\n(", &system, b"tRs"].concat();
    let built = [&b"ccollections\nOrderedDict\n)R"[..], &text("k"), &system, b"b"].concat();
    for (body, expected) in [
        (system.clone(), r#"global "posix.system" is not allowed"#),
        (call("builtins", "eval", &python), r#"global "builtins.eval" is not allowed"#),
        (call("__builtin__", "exec", &python), "__builtin__.exec"),
        (call("builtins", "getattr", "x"), "builtins.getattr"),
        (call("torch", "load", "x"), "torch.load"),
        (call("torch.serialization", "_load", "x"), "torch.serialization._load"),
        (stack_global, r#"global "os.system" is not allowed"#),
        (nested, "posix.system"),
        (built, "posix.system"),
        ([&b"(i"[..], b"os\nsystem\n"].concat(), "(INST)"),
        (b"(cposix\nsystem\no".to_vec(), "posix.system"),
        (b"(o".to_vec(), "(OBJ)"),
        (b")\x81".to_vec(), "(NEWOBJ)"),
        (b"\x82\x01".to_vec(), "(EXT)"),
        (b"P1\n".to_vec(), "(PERSID)"),
        (b"}}b".to_vec(), "(BUILD)"),
        (b")R".to_vec(), "stack is empty"),
        ([text("x"), b")R".to_vec()].concat(), "(REDUCE)"),
        (b"ctorch\nFloatStorage\n)R".to_vec(), "storage type that is called"),
    ] {
        let pickle = [b"\x80\x02", &body[..], b"."].concat();
        assert_pickle_refused(&pickle, expected);
        assert!(!marker.exists(), "{expected}");
    }
    // The same programs without an archive around them.
    assert_bytes_refused(&[b"\x80\x02", &system[..], b"."].concat(), "bare pickle");
    assert!(!marker.exists());
}

#[test]
fn pickles_that_grow_without_end_are_stopped() {
    let long = |opcode: &[u8], times: usize| [b"\x80\x02", &opcode.repeat(times)[..], b"."].concat();
    assert_pickle_refused(&long(b"(", 300_000), "stack grows");
    assert_pickle_refused(&long(b")", 300_000), "stack grows");
    assert_pickle_refused(&long(b")0", 1_100_000), "more containers");
    assert_pickle_refused(&long(b"N0", 2_100_000), "instructions");
    assert_pickle_refused(&long(b"\x80\x02", 10), "stack is empty");
    assert_pickle_refused(&[b")", &b"\x85".repeat(900_000)[..], b"."].concat(), "no dictionary");
    assert_pickle_refused(b"\x80\x02X\xff\xff\xff\xff", "the limit is 4096");
    assert_pickle_refused(b"\x80\x02\x8a\xff", "whole number");
    assert_pickle_refused(b"\x80\x63.", "protocol 99");
    assert_pickle_refused(b"\x80\x02}", "ends in the middle");
    assert_pickle_refused(b"\x80\x02}.}", "bytes follow");
    assert_pickle_refused(b"", "ends in the middle");
    assert_pickle_refused(b"\x80\x02h\x05.", "never written");
}

#[test]
fn tensors_stay_inside_their_storages() {
    let square = b"(K\x02K\x02t(K\x02K\x01t";
    assert_pickle_refused(&one_tensor(&storage("0", 3), square), "reaches beyond the 3 elements");
    assert_pickle_refused(&one_tensor(&storage("0", 200), square), "shorter than it claims");
    assert_pickle_refused(&one_tensor(&storage("7", 4), square), "not in the archive");
    assert_pickle_refused(&one_tensor(&storage("0", 4), b"(K\x02t(K\x02K\x01t"), "no sizes");
    let minus_one = b"(J\xff\xff\xff\xfft(K\x01t";
    assert_pickle_refused(&one_tensor(&storage("0", 4), minus_one), "no sizes");
    // A thousand million numbers out of one: strides of zero.
    let spread = b"(J\x00\xca\x9a\x3bt(K\x00t";
    assert_pickle_refused(&one_tensor(&storage("0", 4), spread), "make more than");
    let overflowing = [&b"("[..], &b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f".repeat(2), b"t(K\x01K\x01t"].concat();
    assert_pickle_refused(&one_tensor(&storage("0", 4), &overflowing), "larger than memory");
    // Without elements nothing else is bounded, and nothing is copied.
    let empty =
        [&b"(K\x00"[..], &b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f".repeat(2), b"t(K\x01K\x01K\x01t"].concat();
    assert_pickle_refused(&one_tensor(&storage("0", 4), &empty), "tensor");
    // All is well with the numbers, but no encoder has a tensor of this name.
    assert_pickle_refused(&one_tensor(&storage("0", 4), square), "tensor");
}

#[test]
fn archives_that_are_something_else_are_refused_by_name() {
    let pickle = b"\x80\x02}.";
    assert_bytes_refused(&archive(&[("a/data.pkl", pickle), ("a/code/__torch__.py", b"")]), "TorchScript");
    assert_bytes_refused(&archive(&[("a/data.pkl", pickle), ("a/constants.pkl", b"")]), "TorchScript");
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    assert_bytes_refused(&tar, "tar archive");
    assert_bytes_refused(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "before 1.6");
    assert_bytes_refused(b"", "does not begin like");
    assert_bytes_refused(b"PK\x03\x04", "malformed");
    assert_bytes_refused(&archive(&[("a/version", b"3")]), "no data.pkl");
    assert_bytes_refused(&archive(&[("a/data.pkl", pickle), ("a/byteorder", b"big")]), "little-endian");
    assert_bytes_refused(&archive(&[("a/data.pkl", pickle), ("b/data.pkl", pickle)]), "two pickles");
}

#[test]
fn entries_that_look_like_paths_are_refused() {
    for name in
        ["../data.pkl", "/etc/data.pkl", "a/../../data.pkl", "a/data/../../x", "data.pkl", "a/x.sh", "a\\b/data.pkl"]
    {
        assert_bytes_refused(&archive(&[("a/data.pkl", b"\x80\x02}."), (name, b"")]), "");
    }
    let evil = archive(&[("a/data.pkl", b"\x80\x02}."), ("a/data/../../../evil", b"x")]);
    assert_bytes_refused(&evil, "not one that PyTorch writes");
}

#[test]
fn sizes_that_lie_are_refused_before_anything_is_inflated() {
    let whole = archive(&[("a/data.pkl", b"\x80\x02}."), ("a/data/0", &[0; 16])]);
    let directory = whole.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let spoilt = |offset: usize, bytes: &[u8]| {
        let mut copy = whole.clone();
        copy[directory + offset..directory + offset + bytes.len()].copy_from_slice(bytes);
        copy
    };
    let huge = 0xf000_0000_u32.to_le_bytes();
    // Compressed to nothing; longer than it is; both lengths far beyond the file; a link; encrypted.
    assert_bytes_refused(&spoilt(10, &[8, 0]), "compressed");
    assert_bytes_refused(&spoilt(24, &huge), "compressed");
    assert_bytes_refused(&spoilt(20, &[huge, huge].concat()), "overlap");
    assert_bytes_refused(&spoilt(20, &[[0xff; 4], [0xff; 4]].concat()), "");
    assert_bytes_refused(&spoilt(8, &[1, 0]), "encrypted");
    // A number changed after the checksum was made.
    let mut flipped =
        archive(&[("a/data.pkl", &one_tensor(&storage("0", 4), b"(K\x04t(K\x01t")), ("a/data/0", &[0; 16])]);
    let numbers = flipped.windows(16).position(|window| window == [0; 16]).unwrap();
    flipped[numbers] = 1;
    assert_bytes_refused(&flipped, "checksum");
}

#[test]
fn the_jail_ends_a_reader_that_takes_too_much() {
    let (_folder, bundle) = place();
    let mut options = options(&fixture("d-prefixed"), &bundle);
    options.jail.memory_bytes = 100 << 10;
    let refusal = checkpoint::import(&options).unwrap_err().whole();
    assert!(refusal.contains("broke a limit") || refusal.contains("memory"), "{refusal}");
    options.jail = jail();
    options.jail.program = "sleep".into();
    options.jail.arguments = vec!["60".into()];
    options.jail.patience = std::time::Duration::from_millis(50);
    let refusal = checkpoint::import(&options).unwrap_err().whole();
    assert!(refusal.contains("took longer"), "{refusal}");
    options.jail = jail();
    options.jail.program = Path::new("/nowhere/read-pickle").to_path_buf();
    let refusal = checkpoint::import(&options).unwrap_err().whole();
    assert!(refusal.contains("did not start"), "{refusal}");
    assert!(!bundle.exists());
}

#[test]
fn views_into_storages_are_gathered_as_the_reference_sees_them() {
    // Four numbers seen as columns first: [[0, 2], [1, 3]].
    let numbers: Vec<u8> = (0..4_u8).flat_map(|number| f32::from(number).to_le_bytes()).collect();
    let pickle = one_tensor(&storage("0", 4), b"(K\x02K\x02t(K\x01K\x02t");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    std::fs::write(&path, archive(&[("a/data.pkl", &pickle), ("a/data/0", &numbers)])).unwrap();
    let jail = jail();
    let output = std::process::Command::new(&jail.program)
        .args(["1000000000", "20", "1000000"])
        .stdin(std::fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    // A pipe instead of a file still takes what is written in order.
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tail: Vec<f32> = output.stdout[output.stdout.len() - 16..]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect();
    assert_eq!(tail, [0.0, 2.0, 1.0, 3.0]);
}
