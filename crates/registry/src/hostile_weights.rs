//! Behaviour: hostile and unfit `weights.safetensors` are refused with the reason, and without cost.

use crate::safetensors_guard::{TensorIndex, TensorLimits};
use crate::testing::{HIDDEN, WIDTHS, head};
use crate::weights::Tensors;
use crate::weights_error::WeightsError;

/// A file with this header and so many zero bytes of data.
fn file(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 0);
    bytes
}

fn tensor(name: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

fn refusal(bytes: &[u8]) -> WeightsError {
    Tensors::parse(bytes, WIDTHS).expect_err("must be refused")
}

fn good() -> Vec<u8> {
    Tensors::of_head(&head(1)).to_safetensors().unwrap()
}

#[test]
fn what_is_written_reads_back_and_equal_tensors_give_equal_bytes() {
    let tensors = Tensors::parse(&good(), WIDTHS).unwrap();
    assert_eq!(tensors, Tensors::of_head(&head(1)));
    assert_eq!(tensors.to_safetensors().unwrap(), good());
    assert_eq!(safetensors::SafeTensors::deserialize(&good()).unwrap().len(), 3);
}

#[test]
fn half_precision_is_widened_exactly() {
    let header = r#"{"bias":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},"weight":{"dtype":"F16","shape":[1,4],"data_offsets":[2,10]}}"#;
    let mut bytes = file(header, 0);
    // 1.5 as bfloat16; one, the smallest subnormal, the largest number and minus two as half precision.
    for bits in [0x3fc0_u16, 0x3c00, 0x0001, 0x7bff, 0xc000] {
        bytes.extend(bits.to_le_bytes());
    }
    let tensors = Tensors::parse(&bytes, WIDTHS).unwrap();
    assert_eq!((&*tensors.bias, &*tensors.weight), (&[1.5][..], &[1.0, 2_f32.powi(-24), 65504.0, -2.0][..]));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = good();
    for length in 0..whole.len() {
        refusal(&whole[..length]);
    }
}

#[test]
fn a_header_with_any_bit_flipped_is_refused_or_means_the_same_sizes() {
    let whole = good();
    let header_end = 8 + usize::from(whole[0]);
    for place in 0..header_end {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << bit;
            if let Ok(tensors) = Tensors::parse(&flipped, WIDTHS) {
                assert_eq!((tensors.weight.len(), tensors.bias.len()), (2 * HIDDEN, 2), "byte {place} bit {bit}");
            }
        }
    }
}

#[test]
fn header_lengths_that_lie_are_refused_before_anything_is_read() {
    for length in [0, 1, 262_145, 1 << 63, u64::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        assert!(matches!(refusal(&bytes), WeightsError::HeaderLength { .. }), "{length}");
    }
    let mut bytes = 60_000_u64.to_le_bytes().to_vec();
    bytes.extend(b"{}");
    assert_eq!(refusal(&bytes), WeightsError::Truncated);
    assert_eq!(refusal(&8_u64.to_le_bytes()), WeightsError::Truncated);
}

#[test]
fn pickles_and_archives_are_refused_by_their_first_byte() {
    for magic in [&b"PK\x03\x04"[..], b"\x80\x02}q\x00", b" {}", b"[]"] {
        let mut bytes = (magic.len() as u64).to_le_bytes().to_vec();
        bytes.extend(magic);
        assert_eq!(refusal(&bytes), WeightsError::NotSafetensors, "{magic:?}");
    }
    // As they come, without a length in front, their first bytes are an absurd length.
    assert!(matches!(refusal(b"PK\x03\x04\x14\x00\x00\x00\x08\x00"), WeightsError::HeaderLength { .. }));
}

#[test]
fn headers_of_another_form_are_refused() {
    let bias = tensor("bias", "[1]", 0, 4);
    let deep = "[".repeat(30_000);
    let long_rank = tensor("bias", &format!("[{}1]", "1,".repeat(1000)), 0, 4);
    let many = (0..1_553).map(|number| tensor(&format!("t{number}"), "[0]", 0, 0)).collect::<Vec<_>>().join(",");
    for (header, data) in [
        (format!("{{{bias},{bias}}}"), 4),
        (format!("{{{bias}}} trailing"), 4),
        (format!("{{{long_rank}}}"), 4),
        (format!("{{{many}}}"), 0),
        (format!(r#"{{"bias":{deep}"#), 0),
        (format!(r#"{{"__metadata__":{{"a":{deep}"#), 0),
        (r#"{"bias":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_owned(), 4),
        (r#"{"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1}}"#.to_owned(), 4),
        (r#"{"bias":{"dtype":"F32","shape":[1]}}"#.to_owned(), 4),
        (r#"{"bias":{"dtype":"F4","shape":[1],"data_offsets":[0,4]}}"#.to_owned(), 4),
        (r#"{"bias":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#.to_owned(), 4),
        (r#"{"bias":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#.to_owned(), 4),
    ] {
        let refused = refusal(&file(&header, data));
        assert!(matches!(refused, WeightsError::Header(_)), "{header:.80}: {refused}");
    }
}

#[test]
fn names_that_could_mislead_are_refused() {
    for name in ["", r"a\u0000b", r"a\nb", "../weight", "/weight", r"a\\b", &"n".repeat(600)] {
        let header = format!("{{{}}}", tensor(name, "[1]", 0, 4));
        let refused = TensorIndex::of_bytes(&file(&header, 4), &TensorLimits::CHECKPOINT);
        assert_eq!(refused, Err(WeightsError::Name { index: 0 }), "{name}");
    }
    let task = format!("{{{}}}", tensor("classifiers.glue/sst2.K&H+N.weight", "[1]", 0, 4));
    assert!(TensorIndex::of_bytes(&file(&task, 4), &TensorLimits::CHECKPOINT).is_ok());
}

#[test]
fn offsets_that_do_not_fit_their_shapes_are_refused() {
    let huge = u64::MAX;
    for (shape, begin, end) in [
        ("[2]".to_owned(), 0, 4),
        ("[1]".to_owned(), 4, 0),
        ("[1]".to_owned(), huge - 3, huge),
        (format!("[{huge},0]"), 0, 0),
        (format!("[{},0]", i64::MAX as u64 + 1), 0, 0),
        (format!("[{},{},0]", 1_u64 << 40, 1_u64 << 40), 0, 0),
        (format!("[{},4]", 1_u64 << 62), 0, 0),
    ] {
        let header = format!("{{{}}}", tensor("bias", &shape, begin, end));
        let refused = refusal(&file(&header, 4));
        assert!(matches!(refused, WeightsError::Offsets { .. }), "{shape} {begin} {end}: {refused}");
    }
}

#[test]
fn gaps_overlaps_and_trailing_bytes_are_refused() {
    let two = |begin, end| format!("{{{},{}}}", tensor("bias", "[1]", 0, 4), tensor("weight", "[1,1]", begin, end));
    assert!(matches!(refusal(&file(&two(8, 12), 12)), WeightsError::Coverage { .. }));
    assert!(matches!(refusal(&file(&two(0, 4), 4)), WeightsError::Coverage { .. }));
    assert!(matches!(refusal(&file(&two(4, 8), 9)), WeightsError::End { .. }), "a polyglot with an archive behind");
    assert!(matches!(refusal(&file(&two(4, 8), 7)), WeightsError::End { .. }));
}

#[test]
fn a_checkpoint_of_too_many_tensors_is_refused_in_bounded_time() {
    let many = (0..20_000).map(|number| tensor(&format!("t{number}"), "[0]", 0, 0)).collect::<Vec<_>>().join(",");
    let refused = TensorIndex::of_bytes(&file(&format!("{{{many}}}"), 0), &TensorLimits::CHECKPOINT);
    assert!(matches!(&refused, Err(WeightsError::Header(text)) if text.contains("16384")), "{refused:?}");
}

#[test]
fn tensors_that_do_not_fit_the_encoder_are_named() {
    let head = |bias: &str, weight: &str, rest: &str, floats: u64| {
        // Each shape's bytes follow from its numbers.
        let bytes = |shape: &str| {
            shape.trim_matches(['[', ']']).split(',').map(|n| n.parse::<u64>().unwrap()).product::<u64>() * 4
        };
        let (bias_end, weight_end) = (bytes(bias), bytes(bias) + bytes(weight));
        let header = format!(
            "{{{},{}{rest}}}",
            tensor("bias", bias, 0, bias_end),
            tensor("weight", weight, bias_end, weight_end)
        );
        file(&header, (weight_end + floats * 4) as usize)
    };
    let shape_of = |refused: WeightsError| {
        let WeightsError::Shape { name, .. } = refused else { panic!("{refused}") };
        name
    };
    for hidden in [HIDDEN - 1, HIDDEN + 1] {
        assert_eq!(shape_of(refusal(&head("[2]", &format!("[2,{hidden}]"), "", 0))), "weight");
    }
    assert_eq!(shape_of(refusal(&head("[2]", &format!("[{HIDDEN},2]"), "", 0))), "weight", "transposed");
    assert_eq!(shape_of(refusal(&head("[3]", &format!("[2,{HIDDEN}]"), "", 0))), "weight", "bias of another size");
    let begin = (2 + 2 * HIDDEN as u64) * 4;
    let embedding = format!(",{}", tensor("task_embedding", "[3]", begin, begin + 12));
    assert_eq!(shape_of(refusal(&head("[2]", &format!("[2,{HIDDEN}]"), &embedding, 3))), "task_embedding");
    let extra = format!(",{}", tensor("extra", "[1]", begin, begin + 4));
    let refused = refusal(&head("[2]", &format!("[2,{HIDDEN}]"), &extra, 1));
    assert_eq!(refused, WeightsError::UnknownTensor { name: "extra".to_owned() });
    assert_eq!(refusal(&head("[0]", &format!("[0,{HIDDEN}]"), "", 0)), WeightsError::Outputs { outputs: 0 });
    let refused = refusal(&head("[10001]", "[10001,1]", "", 0));
    assert_eq!(refused, WeightsError::Outputs { outputs: 10_001 });
    assert_eq!(refusal(&file("{}", 0)), WeightsError::MissingTensor { name: "bias" });
    let only_bias = format!("{{{}}}", tensor("bias", "[1]", 0, 4));
    assert_eq!(refusal(&file(&only_bias, 4)), WeightsError::MissingTensor { name: "weight" });
    let integers = only_bias.replace("F32", "I32");
    assert!(matches!(refusal(&file(&integers, 4)), WeightsError::Element { found: "I32", .. }));
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_tensor_and_place() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut tensors = Tensors::of_head(&head(1));
        let mut bias = tensors.bias.to_vec();
        bias[1] = bad;
        tensors.bias = bias.into();
        let refused = refusal(&tensors.to_safetensors().unwrap());
        assert_eq!(refused, WeightsError::NotFinite { name: "bias", index: 1 });
    }
    let mut denormal = Tensors::of_head(&head(1));
    denormal.bias = vec![1e-40, 1e38].into();
    assert_eq!(Tensors::parse(&denormal.to_safetensors().unwrap(), WIDTHS).unwrap(), denormal);
}
