//! A square of sixteen by sixteen four-byte values, turned over in registers.

use std::arch::x86_64::*;

use crate::vector::LANES;

/// Row `r`, lane `c` of the result is row `c`, lane `r` of `rows`.
#[inline(always)]
pub(crate) unsafe fn transpose(rows: [__m512i; LANES]) -> [__m512i; LANES] {
    // SAFETY: arithmetic on registers.
    unsafe {
        let mut pairs = rows;
        for pair in 0..LANES / 2 {
            let (upper, lower) = (rows[2 * pair], rows[2 * pair + 1]);
            pairs[2 * pair] = _mm512_unpacklo_epi32(upper, lower);
            pairs[2 * pair + 1] = _mm512_unpackhi_epi32(upper, lower);
        }
        // Row `4q + c`: in each quarter of the register, column `c` of that quarter, of rows `4q` to `4q + 3`.
        let mut quads = pairs;
        for quad in 0..LANES / 4 {
            let at = 4 * quad;
            quads[at] = _mm512_unpacklo_epi64(pairs[at], pairs[at + 2]);
            quads[at + 1] = _mm512_unpackhi_epi64(pairs[at], pairs[at + 2]);
            quads[at + 2] = _mm512_unpacklo_epi64(pairs[at + 1], pairs[at + 3]);
            quads[at + 3] = _mm512_unpackhi_epi64(pairs[at + 1], pairs[at + 3]);
        }
        let mut turned = quads;
        for column in 0..4 {
            let even_upper = _mm512_shuffle_i32x4::<0x88>(quads[column], quads[column + 4]);
            let odd_upper = _mm512_shuffle_i32x4::<0xDD>(quads[column], quads[column + 4]);
            let even_lower = _mm512_shuffle_i32x4::<0x88>(quads[column + 8], quads[column + 12]);
            let odd_lower = _mm512_shuffle_i32x4::<0xDD>(quads[column + 8], quads[column + 12]);
            turned[column] = _mm512_shuffle_i32x4::<0x88>(even_upper, even_lower);
            turned[column + 4] = _mm512_shuffle_i32x4::<0x88>(odd_upper, odd_lower);
            turned[column + 8] = _mm512_shuffle_i32x4::<0xDD>(even_upper, even_lower);
            turned[column + 12] = _mm512_shuffle_i32x4::<0xDD>(odd_upper, odd_lower);
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[target_feature(enable = "avx512f")]
    unsafe fn turned(square: &[[i32; LANES]; LANES]) -> [[i32; LANES]; LANES] {
        // SAFETY: sixteen values a row on both sides.
        unsafe {
            let rows = transpose(square.map(|row| _mm512_loadu_si512(row.as_ptr().cast())));
            let mut result = [[0; LANES]; LANES];
            for (row, to) in rows.into_iter().zip(&mut result) {
                _mm512_storeu_si512(to.as_mut_ptr().cast(), row);
            }
            result
        }
    }

    #[test]
    fn rows_become_columns() {
        if crate::check().is_err() {
            return;
        }
        let square = std::array::from_fn(|row| std::array::from_fn(|column| (row * 100 + column) as i32));
        // SAFETY: the processor has been asked.
        let result = unsafe { turned(&square) };
        for (row, line) in result.iter().enumerate() {
            for (column, value) in line.iter().enumerate() {
                assert_eq!(*value, (column * 100 + row) as i32);
            }
        }
    }
}
