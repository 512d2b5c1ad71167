//! What training changed of an encoder and no adapter has a place for: biases, normalisations, embeddings; in words.

use std::collections::BTreeMap;

use crate::encoder_difference::TensorDifference;

/// A line for each kind of tensor, those that differ most first: its name, with `*` for the layer, the layers, and the
/// smallest and largest difference.
pub(crate) fn lines(tensors: &[TensorDifference]) -> Vec<String> {
    let mut by_name: BTreeMap<String, Vec<(Option<&str>, f64)>> = BTreeMap::new();
    for tensor in tensors {
        let (name, layer) = without_layer(&tensor.name);
        by_name.entry(name).or_default().push((layer, tensor.relative));
    }
    let largest = |found: &[(Option<&str>, f64)]| found.iter().map(|(_, relative)| *relative).fold(0.0, f64::max);
    let mut groups: Vec<_> = by_name.into_iter().collect();
    groups.sort_by(|(_, one), (_, other)| largest(other).total_cmp(&largest(one)));
    groups.iter().map(|(name, found)| line(name, found)).collect()
}

fn line(name: &str, found: &[(Option<&str>, f64)]) -> String {
    let relative = || found.iter().map(|(_, relative)| *relative);
    let (least, most) = (relative().fold(f64::INFINITY, f64::min), relative().fold(0.0, f64::max));
    let layers: Vec<&str> = found.iter().filter_map(|(layer, _)| *layer).collect();
    let of_layers = match layers.len() {
        0 => String::new(),
        1 => format!(", layer {}", layers.join("")),
        _ => format!(", layers {}", layers.join(" ")),
    };
    let by = if found.len() == 1 { format!("{most:.2e}") } else { format!("{least:.2e} to {most:.2e}") };
    format!("left out: {name}{of_layers}, changed by {by} of its size")
}

/// The name with `*` in the place of its first number, and that number.
fn without_layer(name: &str) -> (String, Option<&str>) {
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let layer = name.split('.').find(is_number);
    let mut is_first = true;
    let starred = name.split('.').map(|part| {
        let is_layer = is_first && is_number(&part);
        is_first &= !is_layer;
        if is_layer { "*" } else { part }
    });
    (starred.collect::<Vec<_>>().join("."), layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tensor_is_named_by_its_layer_and_the_largest_change_comes_first() {
        let tensor = |name: &str, relative| TensorDifference { name: name.to_owned(), relative };
        let lines = lines(&[
            tensor("embeddings.LayerNorm.bias", 0.001),
            tensor("encoder.layer.0.output.dense.bias", 0.25),
            tensor("encoder.layer.2.output.dense.bias", 0.5),
            tensor("encoder.layer.11.output.LayerNorm.weight", 0.002),
        ]);
        assert_eq!(
            lines,
            [
                "left out: encoder.layer.*.output.dense.bias, layers 0 2, changed by 2.50e-1 to 5.00e-1 of its size",
                "left out: encoder.layer.*.output.LayerNorm.weight, layer 11, changed by 2.00e-3 of its size",
                "left out: embeddings.LayerNorm.bias, changed by 1.00e-3 of its size",
            ]
        );
    }
}
