//! A matrix as the product of two narrow ones: a truncated singular value decomposition by subspace iteration.

/// Directions beyond those wanted: they make the iteration settle sooner.
const SPARE: usize = 8;
const ITERATIONS: usize = 6;
/// Singular values below this part of the largest are rounding.
const NEGLIGIBLE: f64 = 1e-6;
const LANES: usize = 16;
/// Sweeps after which a small symmetric matrix is as diagonal as it gets.
const SWEEPS: usize = 30;

/// `up * down` is near a matrix.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Factors {
    pub(crate) rank: usize,
    /// `[rank, inputs]`.
    pub(crate) down: Vec<f32>,
    /// `[outputs, rank]`.
    pub(crate) up: Vec<f32>,
    /// The sum of the squares of what is missing.
    pub(crate) residual: f64,
}

/// The nearest product of rank `rank` or less to `matrix`, `[outputs, inputs]` row-major. Every column of `up` is as long as
/// its row of `down`. The result depends on the arguments alone.
pub(crate) fn factorise(matrix: &[f32], inputs: usize, rank: usize) -> Factors {
    let outputs = matrix.len() / inputs.max(1);
    let directions = (rank + SPARE).min(inputs).min(outputs);
    let mut basis: Vec<Vec<f32>> = (0..directions).map(|number| noise(inputs, number as u64)).collect();
    for _ in 0..ITERATIONS {
        basis = orthonormal(times(matrix, &basis));
        basis = orthonormal(transposed_times(matrix, &basis, inputs));
    }
    let basis = orthonormal(times(matrix, &basis)); // columns of `[outputs, directions]`
    let projected = transposed_times(matrix, &basis, inputs); // rows of `[directions, inputs]`
    let gram = projected.iter().map(|one| projected.iter().map(|other| dot(one, other)).collect()).collect();
    let mut components = eigen(gram);
    let largest = components.first().map_or(0.0, |(square, _)| *square);
    components.retain(|(square, _)| *square > largest * NEGLIGIBLE * NEGLIGIBLE);
    components.truncate(rank);
    let rank = components.len();
    let (mut down, mut up) = (Vec::with_capacity(rank * inputs), vec![0f32; outputs * rank]);
    for (number, (square, weights)) in components.iter().enumerate() {
        let root = square.powf(0.25); // of the singular value
        down.extend(combined(&projected, weights, inputs).map(|sum| (sum / root) as f32));
        for (row, sum) in up.chunks_exact_mut(rank).zip(combined(&basis, weights, outputs)) {
            if let Some(place) = row.get_mut(number) {
                *place = (sum * root) as f32;
            }
        }
    }
    let residual = residual(matrix, inputs, (&down, &up), rank);
    Factors { rank, down, up, residual }
}

/// `matrix * column` for each of `columns`.
fn times(matrix: &[f32], columns: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let inputs = columns.first().map_or(1, Vec::len).max(1);
    let mut products = vec![Vec::with_capacity(matrix.len() / inputs); columns.len()];
    for row in matrix.chunks_exact(inputs) {
        for (product, column) in products.iter_mut().zip(columns) {
            product.push(dot(row, column) as f32);
        }
    }
    products
}

/// `matrixᵀ * column` for each of `columns`.
fn transposed_times(matrix: &[f32], columns: &[Vec<f32>], inputs: usize) -> Vec<Vec<f32>> {
    let mut products = vec![vec![0f32; inputs]; columns.len()];
    for (index, row) in matrix.chunks_exact(inputs.max(1)).enumerate() {
        for (product, column) in products.iter_mut().zip(columns) {
            let factor = column.get(index).copied().unwrap_or(0.0);
            for (sum, number) in product.iter_mut().zip(row) {
                *sum += factor * number;
            }
        }
    }
    products
}

/// An orthonormal basis of what `columns` span; directions that others contain are left out.
fn orthonormal(columns: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let mut basis: Vec<Vec<f32>> = Vec::with_capacity(columns.len());
    for mut column in columns {
        let length = dot(&column, &column).sqrt();
        // Twice is enough: the second pass removes what rounding left of the first.
        for _ in 0..2 {
            for known in &basis {
                let shared = dot(known, &column) as f32;
                for (number, known) in column.iter_mut().zip(known) {
                    *number -= shared * known;
                }
            }
        }
        let left = dot(&column, &column).sqrt();
        if left > length * NEGLIGIBLE && left > 0.0 {
            column.iter_mut().for_each(|number| *number = (f64::from(*number) / left) as f32);
            basis.push(column);
        }
    }
    basis
}

/// The sum of `vectors`, each times its weight; all have `length` numbers.
fn combined<'a>(vectors: &'a [Vec<f32>], weights: &'a [f64], length: usize) -> impl Iterator<Item = f64> + 'a {
    (0..length).map(move |at| {
        let term = |(vector, weight): (&Vec<f32>, &f64)| weight * vector.get(at).copied().map_or(0.0, f64::from);
        vectors.iter().zip(weights).map(term).sum()
    })
}

fn dot(one: &[f32], other: &[f32]) -> f64 {
    let (ones, one_rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (one, other) in ones.iter().zip(others) {
        for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
            *sum += one * other;
        }
    }
    let rest: f32 = one_rest.iter().zip(other_rest).map(|(one, other)| one * other).sum();
    sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() + f64::from(rest)
}

/// Eigenvalues of a small symmetric positive matrix, largest first, each with its vector: Jacobi's rotations.
fn eigen(mut matrix: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let size = matrix.len();
    let mut vectors: Vec<Vec<f64>> = (0..size).map(|row| (0..size).map(|at| f64::from(at == row)).collect()).collect();
    let at = |matrix: &[Vec<f64>], row: usize, column: usize| -> f64 {
        matrix.get(row).and_then(|row| row.get(column)).copied().unwrap_or(0.0)
    };
    for _ in 0..SWEEPS {
        for first in 0..size {
            for second in first + 1..size {
                let shared = at(&matrix, first, second);
                if shared == 0.0 {
                    continue;
                }
                let slope = (at(&matrix, second, second) - at(&matrix, first, first)) / (2.0 * shared);
                let tangent = slope.signum() / (slope.abs() + slope.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = tangent * cosine;
                rotate_columns(&mut matrix, (first, second), (cosine, sine));
                rotate_rows(&mut matrix, (first, second), (cosine, sine));
                // Vectors are kept as rows.
                rotate_rows(&mut vectors, (first, second), (cosine, sine));
            }
        }
    }
    let mut pairs: Vec<_> =
        vectors.into_iter().enumerate().map(|(row, vector)| (at(&matrix, row, row).max(0.0), vector)).collect();
    pairs.sort_by(|one, other| other.0.total_cmp(&one.0));
    pairs
}

fn rotate_columns(matrix: &mut [Vec<f64>], (first, second): (usize, usize), turn: (f64, f64)) {
    for row in matrix {
        if let Ok([one, other]) = row.get_disjoint_mut([first, second]) {
            (*one, *other) = turned(*one, *other, turn);
        }
    }
}

fn rotate_rows(matrix: &mut [Vec<f64>], places: (usize, usize), turn: (f64, f64)) {
    if let Ok([first, second]) = matrix.get_disjoint_mut([places.0, places.1]) {
        for (one, other) in first.iter_mut().zip(second) {
            (*one, *other) = turned(*one, *other, turn);
        }
    }
}

fn turned(one: f64, other: f64, (cosine, sine): (f64, f64)) -> (f64, f64) {
    (cosine * one - sine * other, sine * one + cosine * other)
}

fn residual(matrix: &[f32], inputs: usize, (down, up): (&[f32], &[f32]), rank: usize) -> f64 {
    let mut squares = 0.0;
    let mut missing = vec![0f32; inputs];
    for (index, row) in matrix.chunks_exact(inputs.max(1)).enumerate() {
        missing.copy_from_slice(row);
        let weights = up.get(index * rank..(index + 1) * rank).unwrap_or_default();
        for (weight, direction) in weights.iter().zip(down.chunks_exact(inputs.max(1))) {
            for (number, direction) in missing.iter_mut().zip(direction) {
                *number -= weight * direction;
            }
        }
        squares += dot(&missing, &missing);
    }
    squares
}

/// Numbers between -1 and 1, the same everywhere (splitmix64).
fn noise(count: usize, stream: u64) -> Vec<f32> {
    let mut state = stream.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xA076_1D64_78BD_642F;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix `[outputs, inputs]` with these singular values.
    fn matrix(outputs: usize, inputs: usize, singular: &[f32]) -> Vec<f32> {
        let left = orthonormal((0..singular.len()).map(|at| noise(outputs, 100 + at as u64)).collect());
        let right = orthonormal((0..singular.len()).map(|at| noise(inputs, 200 + at as u64)).collect());
        let mut matrix = vec![0f32; outputs * inputs];
        for ((left, right), value) in left.iter().zip(&right).zip(singular) {
            for (row, left) in matrix.chunks_exact_mut(inputs).zip(left) {
                row.iter_mut().zip(right).for_each(|(number, right)| *number += value * left * right);
            }
        }
        matrix
    }

    fn length(numbers: &[f32]) -> f64 {
        dot(numbers, numbers).sqrt()
    }

    #[test]
    fn a_matrix_of_low_rank_is_found_whole_with_no_more_factors_than_it_needs() {
        for (outputs, inputs) in [(40, 30), (30, 70), (3, 64)] {
            let matrix = matrix(outputs, inputs, &[3.0, 0.5, 0.01]);
            let factors = factorise(&matrix, inputs, 8);
            assert_eq!(factors.rank, 3);
            assert_eq!((factors.down.len(), factors.up.len()), (3 * inputs, 3 * outputs));
            assert!(factors.residual.sqrt() < 1e-5, "{}", factors.residual.sqrt());
        }
    }

    #[test]
    fn what_a_lower_rank_leaves_out_is_the_smaller_singular_values() {
        let singular: Vec<f32> = (0..24).map(|at| 2.0 * 0.8f32.powi(at)).collect();
        let matrix = matrix(60, 50, &singular);
        let factors = factorise(&matrix, 50, 6);
        let expected: f64 = singular[6..].iter().map(|value| f64::from(value * value)).sum::<f64>().sqrt();
        assert_eq!(factors.rank, 6);
        assert!((factors.residual.sqrt() / expected - 1.0).abs() < 1e-3, "{} {expected}", factors.residual.sqrt());
        let column: Vec<f32> = factors.up.iter().step_by(6).copied().collect();
        assert!((length(&column) / length(&factors.down[..50]) - 1.0).abs() < 1e-3, "both halves are as long");
    }

    #[test]
    fn the_whole_rank_leaves_rounding_alone_and_nothing_gives_nothing() {
        let matrix: Vec<f32> = (0..12).flat_map(|row| noise(9, row)).collect();
        let factors = factorise(&matrix, 9, 9);
        assert!(factors.residual.sqrt() < 1e-5 * length(&matrix), "{}", factors.residual.sqrt());
        let factors = factorise(&[0.0; 12], 4, 2);
        assert_eq!((factors.rank, factors.residual), (0, 0.0));
    }
}
