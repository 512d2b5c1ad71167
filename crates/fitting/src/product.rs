//! Products of small matrices in f64. Every number is one sum in a fixed order, so all processors agree on every bit.

/// Columns of a right-hand matrix come in multiples of so many.
pub(crate) const LANES: usize = 4;

/// A matrix to multiply with, read where it lies or turned over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) numbers: &'a [f64],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// From a number to the one below it.
    pub(crate) row_step: usize,
    /// From a number to the one on its right.
    pub(crate) column_step: usize,
}

impl<'a> Left<'a> {
    /// Row-major `[rows, columns]`.
    pub(crate) fn plain(numbers: &'a [f64], columns: usize) -> Self {
        Self { numbers, rows: numbers.len() / columns, columns, row_step: columns, column_step: 1 }
    }

    /// Row-major `[rows, columns]`, read as `[columns, rows]`.
    pub(crate) fn turned(numbers: &'a [f64], columns: usize) -> Self {
        Self { numbers, rows: columns, columns: numbers.len() / columns, row_step: 1, column_step: columns }
    }
}

/// The next multiple of [`LANES`].
pub(crate) fn padded(columns: usize) -> usize {
    columns.next_multiple_of(LANES)
}

/// Adds `left` times `right` to `sums`. `right` is row-major `[left.columns, width]`, `sums` `[left.rows, width]`; `width`
/// is a multiple of [`LANES`].
pub(crate) fn add_product(left: Left<'_>, right: &[f64], width: usize, sums: &mut [f64]) {
    debug_assert!(width.is_multiple_of(LANES), "the width is padded");
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "calls the same code compiled for wider registers")]
        // SAFETY: the processor has AVX2.
        unsafe {
            add_product_wide(left, right, width, sums);
        }
        return;
    }
    add_product_anywhere(left, right, width, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn add_product_wide(left: Left<'_>, right: &[f64], width: usize, sums: &mut [f64]) {
    add_product_anywhere(left, right, width, sums);
}

#[inline(always)]
fn add_product_anywhere(left: Left<'_>, right: &[f64], width: usize, sums: &mut [f64]) {
    const ROWS: usize = 4;
    const COLUMNS: usize = 2 * LANES;
    let whole_columns = width / COLUMNS * COLUMNS;
    let whole_rows = left.rows / ROWS * ROWS;
    for row in (0..whole_rows).step_by(ROWS) {
        for column in (0..whole_columns).step_by(COLUMNS) {
            add_tile::<ROWS, COLUMNS>(left, right, width, (row, column), sums);
        }
        if whole_columns < width {
            add_tile::<ROWS, LANES>(left, right, width, (row, whole_columns), sums);
        }
    }
    for row in whole_rows..left.rows {
        for column in (0..width).step_by(LANES) {
            add_tile::<1, LANES>(left, right, width, (row, column), sums);
        }
    }
}

#[inline(always)]
fn add_tile<const ROWS: usize, const COLUMNS: usize>(
    left: Left<'_>,
    right: &[f64],
    width: usize,
    (row, column): (usize, usize),
    sums: &mut [f64],
) {
    let mut tile = [[0.0; COLUMNS]; ROWS];
    for (step, line) in right.chunks_exact(width).take(left.columns).enumerate() {
        let line = &line[column..column + COLUMNS];
        let start = row * left.row_step + step * left.column_step;
        for (at, sums) in tile.iter_mut().enumerate() {
            let number = left.numbers[start + at * left.row_step];
            for lane in 0..COLUMNS {
                sums[lane] += number * line[lane];
            }
        }
    }
    for (at, tile) in tile.iter().enumerate() {
        let start = (row + at) * width + column;
        for (sum, number) in sums[start..start + COLUMNS].iter_mut().zip(tile) {
            *sum += number;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize) -> Vec<f64> {
        (0..n).map(|at| ((at * 37 + 11) % 101) as f64 / 16.0 - 3.0).collect()
    }

    #[test]
    fn a_product_is_added_whatever_the_sizes_and_the_way_of_reading() {
        for (rows, columns, width) in [(1, 1, 4), (4, 3, 8), (5, 7, 12), (9, 2, 20), (3, 64, 16)] {
            let (left, right) = (numbers(rows * columns), numbers(columns * width));
            let mut plain = vec![1.0; rows * width];
            add_product(Left::plain(&left, columns), &right, width, &mut plain);
            let turned_over: Vec<f64> = (0..columns * rows).map(|at| left[(at % rows) * columns + at / rows]).collect();
            let mut turned = vec![1.0; rows * width];
            add_product(Left::turned(&turned_over, rows), &right, width, &mut turned);
            for row in 0..rows {
                for column in 0..width {
                    let products = (0..columns).map(|k| left[row * columns + k] * right[k * width + column]);
                    let expected = 1.0 + products.sum::<f64>();
                    assert_eq!(plain[row * width + column], expected, "{rows} {columns} {width}");
                    assert_eq!(turned[row * width + column], expected, "{rows} {columns} {width}, turned");
                }
            }
        }
    }

    #[test]
    fn wide_registers_change_no_bit() {
        let (left, right) = (numbers(13 * 50), numbers(50 * 12));
        let left: Vec<f64> = left.iter().map(|number| number / 7.0).collect();
        let (mut dispatched, mut plain) = (vec![0.0; 13 * 12], vec![0.0; 13 * 12]);
        add_product(Left::plain(&left, 50), &right, 12, &mut dispatched);
        add_product_anywhere(Left::plain(&left, 50), &right, 12, &mut plain);
        assert_eq!(dispatched, plain);
    }
}
