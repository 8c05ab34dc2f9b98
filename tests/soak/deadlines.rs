//! When a service or a run is late, by the contract: at the earliest and at the latest, where it is not certain what Medic
//! heard and what it must call a gap. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use crate::facts::Disturbance;
use crate::plan::expected_from;

/// What is to be heard, and by when.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expectation {
    /// Something within this span.
    Within(TimeDelta),
    /// Something for each expected minute, within the grace.
    Cron { minutes: i64, grace: TimeDelta },
}

/// When Medic could not work.
#[derive(Debug)]
pub(crate) struct History {
    /// Stops that are gaps for certain: from the stop until Medic worked again.
    gaps: Vec<Span>,
    /// What may be a gap.
    possible_gaps: Vec<Span>,
    /// All disturbances, joined where they touch.
    disturbed: Vec<Span>,
    stops: Vec<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

/// A row that is older than this proves a gap. It is written every 10 s.
const GAP: TimeDelta = TimeDelta::seconds(30);
const ROW: TimeDelta = TimeDelta::seconds(10);
/// Clocks are read before and after what they time.
const READING: TimeDelta = TimeDelta::seconds(1);
/// How soon after a stop its gap is noted.
const NOTED: TimeDelta = TimeDelta::seconds(5);
/// What an interval and its grace are at most, where a gap renews them, and what gaps postpone a deadline by in all.
const MAX_POSTPONED: TimeDelta = TimeDelta::hours(1);
/// How long Medic may take for what it does within a second, on a machine that is busy.
const ALLOWED: TimeDelta = TimeDelta::seconds(15);
const DATED_WITHIN: TimeDelta = TimeDelta::seconds(1);

impl Expectation {
    /// Returns when what was last heard at `heard` is late, gaps left aside.
    pub(crate) fn due(self, heard: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Within(span) => heard + span,
            // The first expected time whose grace has not passed is the one that it was for.
            Self::Cron { minutes, grace } => {
                expected_from(heard - grace, minutes) + TimeDelta::minutes(minutes) + grace
            }
        }
    }

    /// Returns how long after a gap it may take anew.
    fn renewed(self) -> TimeDelta {
        let whole = match self {
            Self::Within(span) => span,
            Self::Cron { minutes, grace } => TimeDelta::minutes(minutes) + grace,
        };
        whole.min(MAX_POSTPONED)
    }

    fn postponed(self, heard: DateTime<Utc>, gaps: &[Span], is_after: impl Fn(&Span) -> bool) -> DateTime<Utc> {
        let due = self.due(heard);
        let mut late = due;
        for gap in gaps.iter().filter(|gap| is_after(gap)) {
            if gap.from >= late {
                break;
            }
            late = late.max(gap.to + self.renewed()).min(due + MAX_POSTPONED);
        }
        late
    }
}

impl History {
    /// Reads the disturbances, which are in order.
    pub(crate) fn new(disturbances: &[Disturbance]) -> Self {
        let stops = disturbances.iter().filter(|disturbance| disturbance.is_stop());
        let gaps = stops.clone().map(|stop| Span { from: stop.begun, to: stop.back });
        let gaps = gaps.filter(|gap| gap.to - gap.from > GAP + READING).collect();
        let spans = || disturbances.iter().map(|disturbance| Span { from: disturbance.from, to: disturbance.to });
        let possible = joined(spans(), GAP / 2).into_iter().filter(|span| span.to - span.from > GAP - ROW - NOTED);
        Self {
            gaps,
            possible_gaps: possible.map(|span| Span { to: span.to + NOTED, ..span }).collect(),
            disturbed: joined(spans(), TimeDelta::zero()),
            stops: stops.map(|stop| Span { from: stop.from, to: stop.to }).collect(),
        }
    }

    /// Returns when what was last heard at `heard` may be late at the earliest: no sooner may Medic say so.
    pub(crate) fn earliest(&self, expectation: Expectation, heard: DateTime<Utc>) -> DateTime<Utc> {
        expectation.postponed(heard, &self.gaps, |gap| heard < gap.from)
    }

    /// Returns when it is late at the latest.
    pub(crate) fn latest(&self, expectation: Expectation, heard: DateTime<Utc>) -> DateTime<Utc> {
        expectation.postponed(heard, &self.possible_gaps, |gap| heard < gap.to)
    }

    /// Returns by when Medic has done what it must do at an instant: disturbances do not count.
    pub(crate) fn done_by(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        self.undisturbed(at, ALLOWED)
    }

    /// Returns when so much undisturbed time has passed.
    fn undisturbed(&self, at: DateTime<Utc>, span: TimeDelta) -> DateTime<Utc> {
        let mut end = at + span;
        for Span { from, to } in &self.disturbed {
            if *from < end && *to > at {
                end += *to - (*from).max(at);
            }
        }
        end
    }

    /// Returns the last instant of what Medic may date with this one: it reads the clock, and then what to decide on.
    pub(crate) fn dated(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        self.undisturbed(at, DATED_WITHIN)
    }

    /// Returns whether Medic could work undisturbed all the time.
    pub(crate) fn is_calm(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        !self.disturbed.iter().any(|span| span.from <= to && span.to >= from)
    }

    /// Returns whether Medic was stopped then.
    pub(crate) fn was_stopped(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        self.stops.iter().any(|stop| stop.from <= to && stop.to >= from)
    }
}

/// Joins spans, which are ordered by their beginnings, that are no further apart than this.
fn joined(spans: impl Iterator<Item = Span>, apart: TimeDelta) -> Vec<Span> {
    let mut joined: Vec<Span> = Vec::new();
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.from - last.to <= apart => last.to = last.to.max(span.to),
            Some(_) | None => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Cause;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_040 + second, 0).unwrap()
    }

    fn stopped(stops: &[(i64, i64)]) -> History {
        let stop = |(from, to): &(i64, i64)| Disturbance {
            cause: Cause::Killed,
            from: at(*from),
            begun: at(*from),
            back: at(*to),
            to: at(*to),
        };
        History::new(&stops.iter().map(stop).collect::<Vec<_>>())
    }

    fn late(history: &History, span: i64, heard: i64) -> [i64; 2] {
        let expectation = Expectation::Within(TimeDelta::seconds(span));
        [history.earliest(expectation, at(heard)), history.latest(expectation, at(heard))]
            .map(|late| (late - at(0)).num_seconds())
    }

    #[test]
    fn a_gap_gives_a_fresh_interval_to_what_was_not_heard_since_it_began() {
        let history = stopped(&[(100, 175)]);
        assert_eq!(late(&history, 60, 95), [235, 240]);
        assert_eq!(late(&history, 60, 176), [236, 240], "heard while the gap may not yet have been noted");
        assert_eq!(late(&history, 60, 30), [90, 90], "late before the gap");
        assert_eq!(late(&history, 600, 95), [775, 780], "though it was due after the gap");
    }

    #[test]
    fn a_short_stop_is_no_gap_and_one_between_may_be() {
        assert_eq!(late(&stopped(&[(100, 110)]), 60, 95), [155, 155]);
        assert_eq!(late(&stopped(&[(100, 125)]), 60, 95), [155, 190]);
        assert_eq!(late(&stopped(&[(100, 110), (115, 130)]), 60, 95), [155, 195], "the row may not have been written");
    }

    #[test]
    fn gaps_postpone_an_hour_in_all() {
        let stops: Vec<_> = (0..10).map(|n| (1_000 + n * 1_000, 1_900 + n * 1_000)).collect();
        assert_eq!(late(&stopped(&stops), 900, 999), [999 + 900 + 3_600; 2]);
    }

    #[test]
    fn a_timetable_expects_each_minute_what_came_since_the_last_deadline() {
        let expectation = Expectation::Cron { minutes: 1, grace: TimeDelta::seconds(25) };
        let due = |heard| (expectation.due(at(heard)) - at(0)).num_seconds();
        assert_eq!([due(0), due(20), due(25), due(26), due(59)], [85, 85, 85, 145, 145]);
    }

    #[test]
    fn what_must_be_done_has_its_time_of_undisturbed_seconds() {
        let done = |seconds| (stopped(&[(100, 175)]).done_by(at(seconds)) - at(0)).num_seconds();
        assert_eq!([done(50), done(90), done(100), done(170), done(175)], [65, 180, 190, 190, 190]);
    }
}
