//! Ridge regression without iterations: the normal equations of a set of rows, solved for any strength.

use crate::blocks::{Blocks, Layer};
use crate::error::FitError;
use crate::examples::{Answers, Examples};
use crate::product::{Left, add_product, padded};

/// The normal equations of some rows, each divided by the number of rows: `gram · layer = right`.
pub(crate) struct NormalEquations {
    /// Numbers of a vector, and one for the bias.
    size: usize,
    /// Row-major `[size, size]`.
    gram: Vec<f64>,
    right: Vec<f64>,
}

impl NormalEquations {
    /// # Errors
    /// [`FitError::Cancelled`].
    pub(crate) fn new(blocks: &mut Blocks<'_>, values: &[f64], units: &[usize]) -> Result<Self, FitError> {
        let width = blocks.examples.width();
        let size = width + 1;
        let stride = padded(size);
        let mut gram = vec![0.0; size * stride];
        let mut right = vec![0.0; size];
        let mut lines = Vec::new();
        let nothing = vec![0.0; blocks.dimension()];
        blocks.each(units, &nothing, |block| {
            lines.clear();
            for (vector, unit) in block.vectors.chunks_exact(width).zip(block.units) {
                let start = lines.len();
                lines.extend_from_slice(vector);
                lines.push(1.0);
                lines.resize(start + stride, 0.0);
                let value = values[*unit];
                right.iter_mut().zip(&lines[start..]).for_each(|(sum, number)| *sum += number * value);
            }
            // The padding of the turned matrix is left out: its rows are not asked for.
            let turned = Left { rows: size, ..Left::turned(&lines, stride) };
            add_product(turned, &lines, stride, &mut gram);
        })?;
        let rows = units.len() as f64;
        let gram = gram.chunks_exact(stride).flat_map(|line| line[..size].iter().map(|number| number / rows)).collect();
        right.iter_mut().for_each(|number| *number /= rows);
        Ok(Self { size, gram, right })
    }

    /// The layer with the least mean of half the squared errors, plus half of `strength` times the squared weights.
    ///
    /// # Errors
    /// [`FitError::Diverged`] where the equations cannot be solved in this arithmetic.
    pub(crate) fn solve(&self, strength: f64, outputs: usize) -> Result<Layer, FitError> {
        let size = self.size;
        let mut matrix = self.gram.clone();
        (0..size - 1).for_each(|at| matrix[at * size + at] += strength);
        factorise(&mut matrix, size)?;
        let mut solution = self.right.clone();
        for row in 0..size {
            let known: f64 = (0..row).map(|column| matrix[row * size + column] * solution[column]).sum();
            solution[row] = (solution[row] - known) / matrix[row * size + row];
        }
        for row in (0..size).rev() {
            let known: f64 = (row + 1..size).map(|below| matrix[below * size + row] * solution[below]).sum();
            solution[row] = (solution[row] - known) / matrix[row * size + row];
        }
        let mut layer = vec![0.0; size * outputs];
        layer.iter_mut().step_by(outputs).zip(&solution).for_each(|(number, solved)| *number = *solved);
        Ok(layer)
    }
}

/// The values of examples that have them.
pub(crate) fn values(examples: &Examples) -> Option<&[f64]> {
    match examples.answers() {
        Answers::Values(values) => Some(values),
        Answers::Classes(_) | Answers::Labels(_) | Answers::Choices(_) => None,
    }
}

/// Cholesky's lower factor of a symmetric positive matrix, in its lower half.
fn factorise(matrix: &mut [f64], size: usize) -> Result<(), FitError> {
    for row in 0..size {
        let (above, from_here) = matrix.split_at_mut(row * size);
        let line = &mut from_here[..size];
        for column in 0..row {
            let upper = &above[column * size..column * size + column + 1];
            let known: f64 = line[..column].iter().zip(upper).map(|(one, other)| one * other).sum();
            line[column] = (line[column] - known) / upper[column];
        }
        let rest = line[row] - line[..row].iter().map(|number| number * number).sum::<f64>();
        if !(rest.is_finite() && rest > 0.0) {
            return Err(FitError::Diverged);
        }
        line[row] = rest.sqrt();
    }
    Ok(())
}
