//! Limited-memory BFGS: a smooth convex function to its lowest point (Nocedal and Wright, algorithm 7.5).

use std::collections::VecDeque;

use crate::error::FitError;
use crate::line_search::{Place, search};
use crate::objective::Objective;

/// Steps remembered.
pub(crate) const HISTORY: usize = 10;

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_iterations: usize,
    /// Reached where no number of the gradient is larger.
    pub(crate) tolerance: f64,
}

/// Where the descent ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Solution {
    pub(crate) point: Vec<f64>,
    pub(crate) iterations: usize,
    pub(crate) converged: bool,
}

/// One step taken, and how the gradient changed over it.
struct Curvature {
    step: Vec<f64>,
    change: Vec<f64>,
    /// One over their product.
    rho: f64,
}

/// Descends from `point`; `each` is told every iteration.
///
/// # Errors
/// [`FitError::Cancelled`], and [`FitError::Diverged`] where the function is no number at the start.
pub(crate) fn minimise(
    objective: &mut dyn Objective,
    mut point: Vec<f64>,
    limits: Limits,
    each: &mut dyn FnMut(usize),
) -> Result<Solution, FitError> {
    let mut gradient = vec![0.0; point.len()];
    let mut value = objective.evaluate(&point, &mut gradient)?;
    if !value.is_finite() {
        return Err(FitError::Diverged);
    }
    let mut history: VecDeque<Curvature> = VecDeque::with_capacity(HISTORY);
    let mut iterations = 0;
    while largest(&gradient) > limits.tolerance && iterations < limits.max_iterations {
        let mut direction = downhill(&gradient, &history);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            history.clear();
            direction = gradient.iter().map(|number| -number).collect();
            slope = -dot(&gradient, &gradient);
        }
        let first_step = if history.is_empty() { 1.0_f64.min(1.0 / norm(&gradient)) } else { 1.0 };
        let start = Place { step: 0.0, value, slope };
        let mut trial = vec![0.0; point.len()];
        let mut trial_gradient = vec![0.0; point.len()];
        let found = search(start, first_step, |step| {
            trial.iter_mut().zip(&point).zip(&direction).for_each(|((to, from), by)| *to = from + step * by);
            let value = objective.evaluate(&trial, &mut trial_gradient)?;
            Ok(Place { step, value, slope: dot(&trial_gradient, &direction) })
        })?;
        let Some(place) = found else {
            if history.is_empty() {
                // Nothing lower can be told from this point in this arithmetic.
                break;
            }
            history.clear();
            continue;
        };
        remember(&mut history, (&point, &trial), (&gradient, &trial_gradient));
        (point, gradient, value) = (trial, trial_gradient, place.value);
        iterations += 1;
        each(iterations);
    }
    Ok(Solution { converged: largest(&gradient) <= limits.tolerance, point, iterations })
}

/// Minus the gradient through the inverse curvature that the remembered steps tell of.
fn downhill(gradient: &[f64], history: &VecDeque<Curvature>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|number| -number).collect();
    let mut shares = Vec::with_capacity(history.len());
    for pair in history.iter().rev() {
        let share = pair.rho * dot(&pair.step, &direction);
        add(&mut direction, -share, &pair.change);
        shares.push(share);
    }
    if let Some(last) = history.back() {
        let scale = 1.0 / (last.rho * dot(&last.change, &last.change));
        direction.iter_mut().for_each(|number| *number *= scale);
    }
    for (pair, share) in history.iter().zip(shares.into_iter().rev()) {
        let back = pair.rho * dot(&pair.change, &direction);
        add(&mut direction, share - back, &pair.step);
    }
    direction
}

fn remember(history: &mut VecDeque<Curvature>, points: (&[f64], &[f64]), gradients: (&[f64], &[f64])) {
    let between = |(from, to): (&[f64], &[f64])| to.iter().zip(from).map(|(to, from)| to - from).collect::<Vec<_>>();
    let (step, change) = (between(points), between(gradients));
    let product = dot(&step, &change);
    // Where the function is flat along the step, the pair would tell of a curvature that is only rounding.
    if product > f64::EPSILON * dot(&change, &change) {
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(Curvature { step, change, rho: 1.0 / product });
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn add(sum: &mut [f64], factor: f64, numbers: &[f64]) {
    sum.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += factor * number);
}

fn norm(numbers: &[f64]) -> f64 {
    dot(numbers, numbers).sqrt()
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |largest, number| number.abs().max(largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Half of `curvature · (x - i)²` for each number `i`.
    struct Bowl(Vec<f64>);

    impl Objective for Bowl {
        fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, FitError> {
            let mut value = 0.0;
            for (at, (curvature, x)) in self.0.iter().zip(point).enumerate() {
                let off = x - at as f64;
                gradient[at] = curvature * off;
                value += curvature * off * off / 2.0;
            }
            Ok(value)
        }
    }

    /// Rosenbrock's valley.
    struct Valley;

    impl Objective for Valley {
        fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, FitError> {
            let (x, y) = (point[0], point[1]);
            gradient[0] = -2.0 * (1.0 - x) - 400.0 * x * (y - x * x);
            gradient[1] = 200.0 * (y - x * x);
            Ok((1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2))
        }
    }

    const LIMITS: Limits = Limits { max_iterations: 200, tolerance: 1e-9 };

    #[test]
    fn bowls_of_any_shape_are_descended_to_the_bottom() {
        let curvatures: Vec<f64> = (0..30).map(|at| 10.0_f64.powf(f64::from(at % 5) - 2.0)).collect();
        let solution = minimise(&mut Bowl(curvatures), vec![50.0; 30], LIMITS, &mut |_| {}).unwrap();
        assert!(solution.converged && solution.iterations < 100, "{}", solution.iterations);
        assert!(solution.point.iter().enumerate().all(|(at, x)| (x - at as f64).abs() < 1e-6));
    }

    #[test]
    fn a_curved_valley_is_followed() {
        let solution = minimise(&mut Valley, vec![-1.2, 1.0], LIMITS, &mut |_| {}).unwrap();
        assert!(solution.converged && solution.point.iter().all(|x| (x - 1.0).abs() < 1e-6), "{solution:?}");
    }

    #[test]
    fn too_few_iterations_are_said_to_be_so() {
        let mut told = Vec::new();
        let limits = Limits { max_iterations: 2, ..LIMITS };
        let solution = minimise(&mut Valley, vec![-1.2, 1.0], limits, &mut |done| told.push(done)).unwrap();
        assert_eq!((solution.converged, solution.iterations, told), (false, 2, vec![1, 2]));
    }
}
