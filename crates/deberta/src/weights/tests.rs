//! Which weight files are read, what becomes of their names and types, and what is refused.

use std::path::PathBuf;

use super::*;

/// A folder with a `model.safetensors` of exactly these parts.
fn folder(header: &str, data: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    folder
}

fn open(header: &str, data: &[u8]) -> Result<Weights, LoadError> {
    Weights::open(folder(header, data).path())
}

fn container_reason(result: Result<Weights, LoadError>) -> String {
    match result {
        Err(LoadError::Container { reason }) => reason,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn numbers(tensor: &Tensor, count: usize) -> Vec<f32> {
    let mut numbers = vec![0f32; count];
    tensor.f_copy_data(&mut numbers, count).unwrap();
    numbers
}

#[test]
fn half_precision_is_widened_and_names_are_brought_up_to_date() {
    let header = r#"{"deberta.a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},
        "deberta.x.LayerNorm.gamma":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},
        "deberta.x.LayerNorm.beta":{"dtype":"F16","shape":[1],"data_offsets":[12,14]},
        "classifier.weight":{"dtype":"F32","shape":[1],"data_offsets":[14,18]}}"#;
    let mut data = [1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat();
    data.extend([0x80, 0x3f, 0x20, 0x40]); // 1 and 2.5 in bf16
    data.extend([0x00, 0xc2]); // -3 in fp16
    data.extend(0f32.to_le_bytes());
    let mut weights = open(header, &data).unwrap();
    assert_eq!(numbers(&weights.take("a", &[1, 2]).unwrap(), 2), [1.5, -2.0]);
    assert_eq!(numbers(&weights.take("x.LayerNorm.weight", &[2]).unwrap(), 2), [1.0, 2.5]);
    assert_eq!(numbers(&weights.take("x.LayerNorm.bias", &[1]).unwrap(), 1), [-3.0]);
    weights.finish().unwrap();
}

#[test]
fn a_tensor_longer_than_a_chunk_arrives_whole() {
    let count = CHUNK_BYTES / 4 + 3;
    let header = format!(r#"{{"a":{{"dtype":"F32","shape":[{count}],"data_offsets":[0,{}]}}}}"#, 4 * count);
    let data: Vec<u8> = (0..count).flat_map(|index| (index as f32).to_le_bytes()).collect();
    let mut weights = open(&header, &data).unwrap();
    let tensor = weights.take("a", &[count as i64]).unwrap();
    assert!(numbers(&tensor, count).iter().enumerate().all(|(index, number)| *number == index as f32));
}

#[test]
fn missing_misshapen_and_unexpected_tensors_are_named() {
    let header = r#"{"deberta.a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "deberta.b":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}}"#;
    let mut weights = open(header, &[0; 16]).unwrap();
    assert!(matches!(weights.take("c", &[2]), Err(LoadError::MissingTensor { name }) if name == "c"));
    assert!(matches!(weights.take("b", &[1]), Err(LoadError::WrongType { dtype, .. }) if dtype == "I64"));
    let refused = weights.take("a", &[3]);
    assert!(matches!(refused, Err(LoadError::WrongShape { found, expected, .. }) if found == [2] && expected == [3]));
    let weights = open(header, &[0; 16]).unwrap();
    assert!(matches!(weights.finish(), Err(LoadError::UnexpectedTensor { name }) if name == "a"));
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut weights = open(header, &[1f32.to_le_bytes(), bad.to_le_bytes()].concat()).unwrap();
        assert!(matches!(weights.take("a", &[2]), Err(LoadError::NotFinite { name }) if name == "a"));
    }
}

#[test]
fn the_first_deberta_is_refused_by_name() {
    let header = r#"{"deberta.encoder.layer.0.attention.self.in_proj.weight":
        {"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    assert!(
        matches!(open(header, &[0; 4]), Err(LoadError::FirstGeneration { name }) if name.ends_with("in_proj.weight"))
    );
}

#[test]
fn a_header_is_not_believed_before_it_is_checked() {
    let twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    assert!(container_reason(open(twice, &[0; 4])).contains("twice"));
    let spelled_twice = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "deberta.a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
    assert!(container_reason(open(spelled_twice, &[0; 8])).contains("two spellings"));
    let one = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    assert!(container_reason(open(one, &[0; 5])).contains("5 bytes of data"));
    assert!(container_reason(open(one, &[0; 3])).contains("3 bytes of data"));
    assert!(container_reason(open(&one.replace('{', "["), &[0; 4])).contains("begin"));
    for shape in ["[1,1,1,1,1]", "[0]", "[18446744073709551615,0]"] {
        let empty = format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}}}"#);
        container_reason(open(&empty, &[]));
    }
    container_reason(open(r#"{"a\n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4]));
    container_reason(open(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]));
    container_reason(open(r#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,4]}}"#, &[0; 4]));
    container_reason(open(&format!("{{\"a\":{}", "[".repeat(100_000)), &[]));
}

#[test]
fn a_lying_header_length_costs_nothing() {
    for length in [5, 1 << 40, u64::MAX] {
        let folder = tempfile::tempdir().unwrap();
        let file: PathBuf = folder.path().join("model.safetensors");
        std::fs::write(&file, [length.to_le_bytes().as_slice(), b"{}"].concat()).unwrap();
        container_reason(Weights::open(folder.path()));
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.safetensors"), b"{}").unwrap();
    container_reason(Weights::open(folder.path()));
}
