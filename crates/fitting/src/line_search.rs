//! A step that meets the strong Wolfe conditions: enough descent, and a slope that has flattened.
//!
//! Bracketing and zooming as in Nocedal and Wright, Numerical Optimization, algorithms 3.5 and 3.6, with cubic
//! interpolation kept away from the ends of its bracket.

use crate::error::FitError;

/// Of the first slope, the descent that a step must bring at least.
const ENOUGH_DESCENT: f64 = 1e-4;
/// Of the first slope, the most that may be left.
const FLAT_ENOUGH: f64 = 0.9;
/// Of a value, what its rounding may hide. Where a descent is smaller, its slopes tell of it instead (Hager and Zhang's
/// approximate condition).
const ROUNDING: f64 = 1e-13;
const MOST_TRIALS: usize = 40;
/// How near an interpolation may come to the ends of its bracket.
const MARGIN: f64 = 0.1;

/// A place on the line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    pub(crate) step: f64,
    pub(crate) value: f64,
    /// Derivative along the line.
    pub(crate) slope: f64,
}

/// A step from `start` that meets both conditions, or the lowest place tried that descends; `None` where none does.
/// `at` gives value and slope at a step, and stays at the last one it was asked for. `start.slope` is negative.
///
/// # Errors
/// Whatever `at` meets.
pub(crate) fn search(
    start: Place,
    first_step: f64,
    mut at: impl FnMut(f64) -> Result<Place, FitError>,
) -> Result<Option<Place>, FitError> {
    let is_hidden = |place: &Place| (place.value - start.value).abs() <= ROUNDING * start.value.abs();
    let descends = |place: &Place| {
        place.value <= start.value + ENOUGH_DESCENT * place.step * start.slope
            || (is_hidden(place) && place.slope <= (2.0 * ENOUGH_DESCENT - 1.0) * start.slope)
    };
    let is_flat = |place: &Place| place.slope.abs() <= FLAT_ENOUGH * -start.slope;
    let mut best: Option<Place> = None;
    let (mut low, mut high) = (start, None);
    let mut step = first_step;
    for _ in 0..MOST_TRIALS {
        let place = at(step)?;
        if descends(&place) {
            if is_flat(&place) {
                return Ok(Some(place));
            }
            if best.is_none_or(|best| place.value < best.value) {
                best = Some(place);
            }
        }
        (low, high) = narrowed(low, high, place, descends(&place));
        step = match high {
            None => place.step * 2.0,
            Some(high) => {
                let width = (high.step - low.step).abs();
                if width <= f64::EPSILON * high.step.max(low.step) {
                    break;
                }
                between(low, high)
            }
        };
    }
    match best {
        Some(best) => at(best.step).map(Some),
        None => Ok(None),
    }
}

/// The bracket after `place` was tried: `low` descends and has the lowest value, and its slope points to `high`.
fn narrowed(low: Place, high: Option<Place>, place: Place, descends: bool) -> (Place, Option<Place>) {
    if !descends || place.value >= low.value || !place.value.is_finite() {
        return (low, Some(place));
    }
    let points_on = match high {
        None => place.slope < 0.0,
        Some(high) => place.slope * (high.step - low.step) < 0.0,
    };
    if points_on { (place, high) } else { (place, Some(low)) }
}

/// The lowest place of the cubic through both ends, or the middle where that is no number.
fn between(low: Place, high: Place) -> f64 {
    let width = high.step - low.step;
    let secant = low.slope + high.slope - 3.0 * (low.value - high.value) / (low.step - high.step);
    let root = (secant * secant - low.slope * high.slope).sqrt().copysign(width);
    let cubic = high.step - width * (high.slope + root - secant) / (high.slope - low.slope + 2.0 * root);
    let (first, last) = (low.step + MARGIN * width, high.step - MARGIN * width);
    if cubic.is_finite() { cubic.clamp(first.min(last), first.max(last)) } else { low.step + width / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn searched(first_step: f64, function: impl Fn(f64) -> (f64, f64)) -> Option<Place> {
        let at = |step: f64| {
            let (value, slope) = function(step);
            Place { step, value, slope }
        };
        search(at(0.0), first_step, |step| Ok(at(step))).unwrap()
    }

    #[test]
    fn a_step_meets_both_conditions_from_any_first_step() {
        let functions: [fn(f64) -> (f64, f64); 3] = [
            |x| ((x - 3.0).powi(2), 2.0 * (x - 3.0)),
            |x| (-x / (x * x + 2.0), (x * x - 2.0) / (x * x + 2.0).powi(2)),
            |x| ((x - 0.01).abs().powf(1.5), 1.5 * (x - 0.01).abs().sqrt().copysign(x - 0.01)),
        ];
        for function in functions {
            for first_step in [1e-3, 0.1, 1.0, 10.0, 1e4] {
                let place = searched(first_step, function).unwrap();
                let (value, slope) = function(0.0);
                assert!(place.value <= value + ENOUGH_DESCENT * place.step * slope, "{first_step}: {place:?}");
                assert!(place.slope.abs() <= FLAT_ENOUGH * slope.abs(), "{first_step}: {place:?}");
            }
        }
    }

    #[test]
    fn where_values_overflow_the_step_shrinks() {
        let place =
            searched(1e6, |x| if x > 5.0 { (f64::INFINITY, f64::NAN) } else { ((x - 1.0).powi(2), 2.0 * (x - 1.0)) });
        assert!(place.unwrap().step < 5.0);
    }

    #[test]
    fn a_function_that_only_rises_has_no_step() {
        assert_eq!(searched(1.0, |x| (x, if x == 0.0 { -1.0 } else { 1.0 })), None);
    }
}
