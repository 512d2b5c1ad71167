//! How far a fine-tuned model's encoder is from the one it is held against: every tensor, number by number.

use half::{bf16, f16};
use registry::ElementType;

use crate::encoder_config::EncoderConfig;
use crate::encoder_tensors::EncoderTensors;
use crate::error::CheckpointError;
use crate::tensor_file::{as_f32, bad_element};
use crate::weights::Weights;

/// Numbers read at a time from each side.
const CHUNK_NUMBERS: usize = 1 << 20;

/// An encoder whose tensors are found and can be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenEncoder<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) tensors: &'a EncoderTensors,
}

/// A tensor that is not the same on both sides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorDifference {
    /// Its name in a bundle.
    pub(crate) name: String,
    /// The Euclidean length of the difference by that of the longer side: 0 to 2.
    pub(crate) relative: f64,
}

/// What was found between two encoders of one configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct EncoderDifference {
    /// Tensors looked at.
    pub(crate) compared: usize,
    /// Those that differ, in the order of a bundle.
    pub(crate) tensors: Vec<TensorDifference>,
    /// Tensors that are equal but for the narrower element type that one side is stored in.
    pub(crate) rounded: usize,
}

impl EncoderDifference {
    /// The tensor that differs most.
    pub(crate) fn largest(&self) -> Option<&TensorDifference> {
        self.tensors.iter().max_by(|one, other| one.relative.total_cmp(&other.relative))
    }

    /// The differing tensors of one part apart from the others: those that `belongs` to it, and the rest.
    pub(crate) fn split(self, belongs: impl Fn(&str) -> bool) -> (Self, Self) {
        let (inside, outside): (Vec<_>, Vec<_>) = self.tensors.into_iter().partition(|tensor| belongs(&tensor.name));
        let part = |tensors| Self { compared: self.compared, tensors, rounded: self.rounded };
        (part(inside), part(outside))
    }
}

/// Refuses a model whose encoder is built otherwise.
///
/// # Errors
/// [`CheckpointError::OtherConfig`], naming the first key that differs.
pub(crate) fn check_config(own: &EncoderConfig, found: &EncoderConfig) -> Result<(), CheckpointError> {
    let (own, found) = (own.to_json(), found.to_json());
    let keys = own.as_object().into_iter().chain(found.as_object()).flat_map(serde_json::Map::keys);
    let mut keys: Vec<&String> = keys.collect();
    keys.sort();
    let differs = |key: &&&String| own.get(key.as_str()) != found.get(key.as_str());
    let Some(key) = keys.iter().find(differs) else { return Ok(()) };
    let shown = |config: &serde_json::Value| config.get(key.as_str()).map_or("absent".to_owned(), |it| it.to_string());
    Err(CheckpointError::OtherConfig { key: (*key).clone(), found: shown(&found), expected: shown(&own) })
}

/// Compares every tensor that both have. Numbers count as equal where rounding to the narrower of the two element types
/// makes them so.
///
/// # Errors
/// If a file cannot be read or a number is not finite.
pub(crate) fn compare(own: OpenEncoder<'_>, found: OpenEncoder<'_>) -> Result<EncoderDifference, CheckpointError> {
    let mut difference = EncoderDifference::default();
    for (name, source) in own.tensors.sources() {
        let Some(other) = found.tensors.source_of(name) else { continue };
        difference.compared += 1;
        match compare_one((own.weights, source), (found.weights, other))? {
            Outcome::Equal => {}
            Outcome::Rounded => difference.rounded += 1,
            Outcome::Differs(relative) => {
                difference.tensors.push(TensorDifference { name: name.to_owned(), relative });
            }
        }
    }
    Ok(difference)
}

enum Outcome {
    Equal,
    Rounded,
    Differs(f64),
}

fn compare_one(own: (&Weights, &str), found: (&Weights, &str)) -> Result<Outcome, CheckpointError> {
    let (one, other) = (own.0.entry(own.1)?, found.0.entry(found.1)?);
    let count = one.shape.iter().product::<usize>();
    let narrow = rounding(one.element, other.element);
    let (mut equal, mut close) = (true, true);
    let (mut own_squares, mut found_squares, mut squares) = (0f64, 0f64, 0f64);
    for first in (0..count).step_by(CHUNK_NUMBERS) {
        let numbers = CHUNK_NUMBERS.min(count - first);
        let own = chunk(own, first, numbers)?;
        let found = chunk(found, first, numbers)?;
        for (own, found) in own.iter().zip(&found) {
            equal &= own == found;
            close &= narrow(*own) == narrow(*found);
            let (own, found) = (f64::from(*own), f64::from(*found));
            own_squares += own * own;
            found_squares += found * found;
            squares += (own - found) * (own - found);
        }
    }
    Ok(match (equal, close) {
        (true, _) => Outcome::Equal,
        (false, true) => Outcome::Rounded,
        (false, false) => Outcome::Differs((squares / own_squares.max(found_squares)).sqrt()),
    })
}

/// `count` numbers of a tensor from number `first` on.
fn chunk((weights, name): (&Weights, &str), first: usize, count: usize) -> Result<Vec<f32>, CheckpointError> {
    let entry = weights.entry(name)?;
    let width = entry.element.bytes() as usize;
    let mut bytes = vec![0; count * width];
    weights.read_at(name, (first * width) as u64, &mut bytes)?;
    let numbers = as_f32(&bytes, entry.element).ok_or_else(|| bad_element(entry))?;
    if numbers.iter().any(|number| !number.is_finite()) {
        return Err(CheckpointError::NotFinite { name: name.to_owned() });
    }
    Ok(numbers)
}

/// The rounding that the narrower of two element types does.
fn rounding(one: ElementType, other: ElementType) -> fn(f32) -> f32 {
    let either = |element| one == element || other == element;
    if either(ElementType::BF16) {
        |number| bf16::from_f32(number).to_f32()
    } else if either(ElementType::F16) {
        |number| f16::from_f32(number).to_f32()
    } else {
        |number| number
    }
}
