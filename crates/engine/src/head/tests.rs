//! What makes numbers and names a head, and what does not.

use super::*;

fn parts(outputs: usize, hidden: usize) -> HeadParts {
    HeadParts { weight: vec![0.5; outputs * hidden].into(), bias: vec![0.0; outputs].into(), ..HeadParts::default() }
}

#[test]
fn unnamed_outputs_get_numbered_labels() {
    let head = Head::new(HeadKind::Classification, 4, parts(3, 4)).unwrap();
    assert_eq!(head.parts().labels, ["LABEL_0", "LABEL_1", "LABEL_2"]);
    let number = Head::new(HeadKind::Regression, 4, parts(1, 4)).unwrap();
    assert!(number.parts().labels.is_empty());
}

#[test]
fn a_weight_of_another_hidden_size_is_refused() {
    let refused = Head::new(HeadKind::Classification, 5, parts(3, 4));
    assert_eq!(refused, Err(HeadError::WeightShape { found: 12, outputs: 3, hidden: 5 }));
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_tensor() {
    let mut nan = parts(2, 2);
    nan.bias = vec![0.0, f32::NAN].into();
    let refused = Head::new(HeadKind::Classification, 2, nan);
    assert_eq!(refused, Err(HeadError::NotFinite { tensor: "bias", index: 1 }));
}

#[test]
fn repeated_and_control_labels_are_refused() {
    for labels in [["a", "a"], ["a", "b\n"], ["a", ""]] {
        let mut named = parts(2, 2);
        named.labels = labels.map(String::from).to_vec();
        let refused = Head::new(HeadKind::Classification, 2, named);
        assert_eq!(refused, Err(HeadError::BadLabel { index: 1 }));
    }
}

#[test]
fn kinds_of_one_logit_refuse_several() {
    let refused = Head::new(HeadKind::Reward, 2, parts(2, 2));
    assert!(matches!(refused, Err(HeadError::NotOneOutput { outputs: 2, .. })));
}
