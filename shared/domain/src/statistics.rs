//! Statistics of the durations of past runs. Pure.

/// Statistics of the last completed runs; all are none when there are too few runs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RunStatistics {
    pub run_count: usize,
    pub average: Option<f64>,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl RunStatistics {
    /// How many runs count at most: the last ones.
    pub const MAX_RUNS: usize = 100;
    /// Fewer are too few.
    pub const MIN_RUNS: usize = 5;

    /// Computes them from durations in milliseconds, in any order.
    pub fn of(durations_ms: &[u64]) -> Self {
        let run_count = durations_ms.len();
        if run_count < Self::MIN_RUNS {
            return Self { run_count, ..Self::default() };
        }
        let mut sorted = durations_ms.to_vec();
        sorted.sort_unstable();
        let percentile = |percent| percentile(&sorted, percent);
        Self {
            run_count,
            average: Some(sorted.iter().copied().map(float).sum::<f64>() / float(run_count as u64)),
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            min: sorted.first().copied().map(float),
            max: sorted.last().copied().map(float),
        }
    }
}

/// Returns a percentile by linear interpolation between the closest ranks: numpy's default.
/// <https://numpy.org/doc/stable/reference/generated/numpy.percentile.html>
fn percentile(sorted: &[u64], percent: usize) -> Option<f64> {
    let rank = percent * sorted.len().checked_sub(1)?;
    let (low, rest) = (rank / 100, rank % 100);
    let below = float(*sorted.get(low)?);
    let above = float(*sorted.get(low + 1).or_else(|| sorted.last())?);
    Some(below + (above - below) * float(rest as u64) / 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "a year of milliseconds is far below 2^53")]
const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_than_five_runs_have_no_statistics() {
        for few in [&[][..], &[7, 7, 7, 7]] {
            assert_eq!(RunStatistics::of(few), RunStatistics { run_count: few.len(), ..RunStatistics::default() });
        }
    }

    /// The figures are numpy's: `numpy.percentile([15, 20, 35, 40, 50], [50, 95, 99])`, and of 1 to 100.
    #[test]
    fn percentiles_are_those_of_numpy() {
        let close = |found: Option<f64>, wanted: f64| assert!((found.unwrap() - wanted).abs() < 1e-9, "{found:?}");
        let five = RunStatistics::of(&[50, 15, 40, 20, 35]);
        for (found, wanted) in [(five.average, 32.0), (five.p50, 35.0), (five.p95, 48.0), (five.p99, 49.6)] {
            close(found, wanted);
        }
        assert_eq!((five.min, five.max, five.run_count), (Some(15.0), Some(50.0), 5));
        let hundred = RunStatistics::of(&(1..=100).collect::<Vec<_>>());
        for (found, wanted) in
            [(hundred.average, 50.5), (hundred.p50, 50.5), (hundred.p95, 95.05), (hundred.p99, 99.01)]
        {
            close(found, wanted);
        }
    }
}
