//! The bootstrap (Efron 1979): rows drawn again and again, with replacement, to see how far figures move.

use crate::sheet::Sheet;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resampling {
    /// How often.
    pub resamples: usize,
    /// The same seed draws the same rows.
    pub seed: u64,
}

/// Where a figure lies with the coverage asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Figures over every resample.
#[derive(Debug, Clone, Default)]
pub struct Resampled {
    /// For each sheet and each of its figures, rising; resamples in which the figure is not defined are left out.
    figures: Vec<Vec<Vec<f64>>>,
    /// First figure of the second sheet minus that of the first, rising; empty without a second sheet.
    differences: Vec<f64>,
}

/// Draws rows and takes the figures of all `sheets` over the same ones. `on_step` hears how many resamples are done, and
/// ends the work by returning false: then there is no result.
pub fn resample(
    sheets: &[&dyn Sheet],
    resampling: Resampling,
    on_step: &mut dyn FnMut(usize) -> bool,
) -> Option<Resampled> {
    let n_rows = sheets.iter().map(|sheet| sheet.rows()).min().unwrap_or(0);
    let mut figures: Vec<Vec<Vec<f64>>> =
        sheets.iter().map(|sheet| vec![Vec::with_capacity(resampling.resamples); sheet.names().len()]).collect();
    let mut differences = Vec::new();
    let mut random = SplitMix64(resampling.seed);
    let mut weights = vec![0_u32; n_rows];
    for done in 1..=resampling.resamples {
        weights.fill(0);
        for _ in 0..n_rows {
            weights[random.below(n_rows)] += 1;
        }
        let mut first_figures = Vec::with_capacity(sheets.len());
        for (sheet, kept) in sheets.iter().zip(&mut figures) {
            let found = sheet.figures(&weights);
            first_figures.push(found.first().copied().flatten());
            for (kept, figure) in kept.iter_mut().zip(found) {
                kept.extend(figure);
            }
        }
        if let [Some(first), Some(second)] = first_figures[..] {
            differences.push(second - first);
        }
        if !on_step(done) {
            return None;
        }
    }
    figures.iter_mut().flatten().for_each(|figures| figures.sort_by(f64::total_cmp));
    differences.sort_by(f64::total_cmp);
    Some(Resampled { figures, differences })
}

impl Resampled {
    /// The percentile interval of a figure, where its sheet says that it has one.
    #[must_use]
    pub fn interval(&self, sheet: usize, figure: usize, coverage: f64) -> Option<Interval> {
        percentiles(self.figures.get(sheet)?.get(figure)?, coverage)
    }

    /// The percentile interval of the difference of the first figures.
    #[must_use]
    pub fn interval_of_difference(&self, coverage: f64) -> Option<Interval> {
        percentiles(&self.differences, coverage)
    }

    /// First figure of the second sheet minus that of the first, over every resample, rising.
    #[must_use]
    pub fn differences(&self) -> &[f64] {
        &self.differences
    }
}

fn percentiles(rising: &[f64], coverage: f64) -> Option<Interval> {
    let outside = (1.0 - coverage) / 2.0;
    Some(Interval { low: quantile(rising, outside)?, high: quantile(rising, 1.0 - outside)? })
}

/// The quantile of rising numbers, linear between neighbours.
fn quantile(rising: &[f64], share: f64) -> Option<f64> {
    let place = share * rising.len().checked_sub(1)? as f64;
    let low = *rising.get(place.floor() as usize)?;
    let high = *rising.get(place.ceil() as usize)?;
    Some(low + (high - low) * place.fract())
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `limit`, by Lemire's multiplication.
    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::ChoiceSheet;

    fn sheet(right: &[bool]) -> ChoiceSheet {
        let mut sheet = ChoiceSheet::new(1.0);
        right.iter().for_each(|right| sheet.push(usize::from(*right), &[0.0, 1.0]));
        sheet
    }

    #[test]
    fn a_seed_draws_the_same_rows_and_another_one_others() {
        let sheet = sheet(&[true, false, true, true, false, true, false, true]);
        let interval = |seed| {
            let drawn = resample(&[&sheet], Resampling { resamples: 50, seed }, &mut |_| true).unwrap();
            (drawn.figures[0][1].clone(), drawn.interval(0, 0, 0.9))
        };
        assert_eq!(interval(7), interval(7));
        assert_ne!(interval(7).0, interval(8).0);
    }

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[5.0], 0.1), Some(5.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_caller_who_leaves_ends_the_work() {
        let sheet = sheet(&[true, false]);
        let mut steps = 0;
        let stopped = resample(&[&sheet], Resampling { resamples: 100, seed: 1 }, &mut |done| {
            steps = done;
            done < 3
        });
        assert!(stopped.is_none() && steps == 3);
    }

    #[test]
    fn both_sheets_are_judged_over_the_same_rows() {
        let (one, other) = (sheet(&[true, false, true, false]), sheet(&[false, true, true, true]));
        let drawn = resample(&[&one, &other], Resampling { resamples: 200, seed: 1 }, &mut |_| true).unwrap();
        let same = resample(&[&one, &one], Resampling { resamples: 200, seed: 1 }, &mut |_| true).unwrap();
        assert!(same.differences().iter().all(|difference| *difference == 0.0));
        assert_eq!(drawn.differences().len(), 200);
        assert!(drawn.differences()[0] < 0.0 && drawn.differences()[199] > 0.5);
    }
}
