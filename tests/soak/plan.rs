//! Plans what services do, by the seed: how often each reports, when it is silent, fails or overruns, and for how long.

use chrono::{DateTime, TimeDelta, Utc};

use crate::dice::Dice;

/// What a service is expected to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rhythm {
    /// To report every `interval`.
    Every { interval: TimeDelta },
    /// To report at each minute of the clock that `minutes` divides.
    Cron { minutes: i64 },
    /// To report every `interval`, by runs of at most `max`.
    Job { interval: TimeDelta, max: TimeDelta },
}

/// What happens to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// It sends nothing, then a heartbeat.
    Silence,
    /// It reports `FAILED`, and then `UP`.
    Failure,
    /// A run of it does not end.
    Overrun,
}

/// Something that happens to a service, `at` after the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Episode {
    pub(crate) at: TimeDelta,
    pub(crate) length: TimeDelta,
    pub(crate) what: What,
}

/// A service and its life.
#[derive(Debug)]
pub(crate) struct ServicePlan {
    pub(crate) name: String,
    pub(crate) rhythm: Rhythm,
    pub(crate) grace: TimeDelta,
    /// How often it reports while it is well.
    pub(crate) period: TimeDelta,
    /// Whether it has notification targets of its own.
    pub(crate) has_targets: bool,
    pub(crate) team: usize,
    pub(crate) episodes: Vec<Episode>,
}

/// Services of a team, which has a Slack channel of its own: messages there list each service by name.
const TEAM_SIZE: usize = 50;
/// A run of a job that is well takes this long at most.
pub(crate) const MAX_RUN: TimeDelta = TimeDelta::seconds(8);
const MAX_EPISODES: i32 = 3;
const MIN_FOR_SLOW: TimeDelta = TimeDelta::minutes(6);

impl Rhythm {
    /// Returns the span between two expected reports.
    pub(crate) fn interval(self) -> TimeDelta {
        match self {
            Self::Every { interval } | Self::Job { interval, max: _ } => interval,
            Self::Cron { minutes } => TimeDelta::minutes(minutes),
        }
    }

    /// Returns the longest run of a job.
    pub(crate) const fn max(self) -> Option<TimeDelta> {
        match self {
            Self::Job { interval: _, max } => Some(max),
            Self::Every { .. } | Self::Cron { .. } => None,
        }
    }
}

impl ServicePlan {
    /// Plans the `n`th service of a soak of this length. The grace of each outlasts a stop of some seconds: a service is late
    /// when it is silent, and not because Medic restarted.
    pub(crate) fn new(seed: u64, n: usize, warm_up: TimeDelta, total: TimeDelta) -> Self {
        let dice = &mut Dice::new(seed, &format!("service {n}"));
        let seconds = TimeDelta::seconds;
        let every = |interval| Rhythm::Every { interval: seconds(interval) };
        // In a short soak only what is late soon can be silent for long enough.
        let quick = if total < MIN_FOR_SLOW { 60 } else { 0 };
        let (rhythm, grace, period) = dice.weighted(&[
            (quick, (every(12), 18, 5)),
            (25, (every(30), 20, 10)),
            (30, (every(60), 15, 24)),
            (20, (every(120), 10, 48)),
            (10, (every(300), 0, 100)),
            (8, (Rhythm::Cron { minutes: 1 }, 25, 60)),
            (7, (Rhythm::Job { interval: seconds(90), max: seconds(20) }, 15, 30)),
        ]);
        let mut plan = Self {
            name: format!("soak-{n:04}"),
            rhythm,
            grace: seconds(grace),
            period: seconds(period),
            has_targets: dice.in_percent(5),
            team: n / TEAM_SIZE,
            episodes: Vec::new(),
        };
        // The others are well all the time.
        if dice.in_percent(70) {
            plan.plan_episodes(dice, warm_up, total);
        }
        plan
    }

    fn plan_episodes(&mut self, dice: &mut Dice, warm_up: TimeDelta, total: TimeDelta) {
        let pause = (total - warm_up) / MAX_EPISODES;
        let mut at = warm_up + dice.between(TimeDelta::zero(), pause);
        for _ in 0..MAX_EPISODES {
            let (what, length) = self.plan_episode(dice);
            if at + length > total - TimeDelta::seconds(5) {
                return;
            }
            self.episodes.push(Episode { at, length, what });
            at += length + self.until_late() + dice.between(pause / 4, pause);
        }
    }

    fn plan_episode(&self, dice: &mut Dice) -> (What, TimeDelta) {
        let what = match self.rhythm {
            Rhythm::Job { .. } => dice.weighted(&[(35, What::Silence), (25, What::Failure), (40, What::Overrun)]),
            Rhythm::Every { .. } | Rhythm::Cron { .. } => dice.weighted(&[(75, What::Silence), (25, What::Failure)]),
        };
        let (late, seconds) = (self.until_late(), TimeDelta::seconds);
        let length = match what {
            // Some end before they count.
            What::Silence if dice.in_percent(20) => dice.between(late / 5, late - self.period),
            What::Silence => dice.between(late * 6 / 5, late * 2) + dice.between(seconds(15), seconds(45)),
            What::Failure => dice.between(seconds(3), seconds(60)),
            What::Overrun => self.rhythm.max().unwrap_or_default() + dice.between(seconds(20), seconds(60)),
        };
        (what, length)
    }

    /// Returns how long after a report the service is late, at most.
    pub(crate) fn until_late(&self) -> TimeDelta {
        let another =
            if matches!(self.rhythm, Rhythm::Cron { .. }) { self.rhythm.interval() } else { TimeDelta::zero() };
        self.rhythm.interval() + another + self.grace
    }

    pub(crate) fn channel(&self) -> String {
        if self.has_targets { format!("C9TARGET{}", self.team) } else { format!("C0TEAM{}", self.team) }
    }

    pub(crate) fn routing_key(&self) -> &'static str {
        if self.has_targets { "targets-key" } else { "R0UTING" }
    }
}

/// Returns the first minute of the clock at or after `at` that `minutes` divides.
pub(crate) fn expected_from(at: DateTime<Utc>, minutes: i64) -> DateTime<Utc> {
    let step = minutes * 60_000;
    let steps = (at.timestamp_millis() + step - 1).div_euclid(step);
    DateTime::from_timestamp_millis(steps * step).unwrap_or(at)
}
