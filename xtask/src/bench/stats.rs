//! The arithmetic of the measurements: order statistics and a straight line through points. Nothing here does I/O.

/// Measured values, in ascending order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample(Vec<f64>);

impl Sample {
    /// Sorts values; those that are no number are left out.
    pub(super) fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().filter(|value| !value.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// How many values there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many values exceed a limit.
    pub(super) fn above(&self, limit: f64) -> usize {
        self.0.iter().filter(|value| **value > limit).count()
    }

    /// The smallest value that at least `percent` of all values do not exceed (the nearest-rank method, so that every
    /// answer is a value that was really measured). `None` without values.
    pub(super) fn percentile(&self, percent: u8) -> Option<f64> {
        let rank = (self.0.len() * usize::from(percent.min(100))).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied()
    }

    /// The median.
    pub(super) fn p50(&self) -> Option<f64> {
        self.percentile(50)
    }

    /// The value that one in a hundred exceeds.
    pub(super) fn p99(&self) -> Option<f64> {
        self.percentile(99)
    }

    /// The greatest value.
    pub(super) fn max(&self) -> Option<f64> {
        self.percentile(100)
    }
}

/// Slope of the least-squares line through points. `None` unless there are two different x.
pub(super) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (variance > 0.0).then(|| covariance / variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measured_values() {
        let check = |values: &[f64], percent, expected| {
            assert_eq!(
                Sample::new(values.iter().copied()).percentile(percent),
                expected,
                "{values:?} p{percent}"
            );
        };
        check(&[], 50, None);
        check(&[7.0], 1, Some(7.0));
        check(&[7.0], 99, Some(7.0));
        check(&[3.0, 1.0, 2.0], 50, Some(2.0));
        check(&[4.0, 3.0, 1.0, 2.0], 50, Some(2.0));
        check(&[4.0, 3.0, 1.0, 2.0], 51, Some(3.0));
        check(&[4.0, 3.0, 1.0, 2.0], 0, Some(1.0));
        check(&[4.0, 3.0, 1.0, 2.0], 255, Some(4.0));
        check(&[f64::NAN, 5.0], 100, Some(5.0));
    }

    #[test]
    fn the_99th_percentile_of_200_leaves_out_two() {
        let sample = Sample::new((1..=200).map(f64::from));
        assert_eq!(sample.count(), 200);
        assert_eq!(sample.p99(), Some(198.0));
        assert_eq!(sample.max(), Some(200.0));
        assert_eq!(sample.above(198.0), 2);
        assert_eq!(sample.above(200.0), 0);
    }

    #[test]
    fn a_slope_needs_two_places() {
        assert_eq!(slope(&[]), None);
        assert_eq!(slope(&[(1.0, 2.0)]), None);
        assert_eq!(slope(&[(1.0, 2.0), (1.0, 9.0)]), None);
        assert_eq!(slope(&[(0.0, 5.0), (10.0, 5.0)]), Some(0.0));
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(2.0));
        // One outlier in the middle of a flat line does not tilt it.
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 4.0), (2.0, 1.0)]), Some(0.0));
    }
}
