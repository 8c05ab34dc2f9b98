//! Plans what goes wrong, by the seed: with Medic's process and its disk, and with each receiver.

use chrono::TimeDelta;

use crate::dice::Dice;

/// What is done to Medic's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MedicFault {
    /// Killed, and started again after this. A start may be killed as well, before the one that is left alone.
    Kill { down: TimeDelta, kills_start_after: Option<TimeDelta> },
    /// Ended by `SIGTERM`, and started again after this.
    Terminate { down: TimeDelta },
    /// Stopped by `SIGSTOP`, as a suspended laptop is.
    Freeze { length: TimeDelta },
    /// As on a slow disk: it stands still again and again for tenths of a second, while another writer syncs large files.
    SlowDisk { length: TimeDelta },
}

/// How a receiver responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Well,
    /// After some seconds, with success.
    Slow(TimeDelta),
    /// Never, and does nothing.
    Hangs,
    /// Never, though it did what was asked.
    AcceptsAndHangs,
    Status(u16),
    /// With 429 and `Retry-After`.
    Limits(u32),
    /// There is nobody.
    RefusesConnections,
}

/// A fault, `at` after the beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned<F> {
    pub(crate) at: TimeDelta,
    pub(crate) fault: F,
}

/// How a receiver responds for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spell {
    pub(crate) mode: Mode,
    pub(crate) length: TimeDelta,
}

/// Short soaks have shorter pauses between faults.
fn pause(dice: &mut Dice, from: i64, to: i64, total: TimeDelta) -> TimeDelta {
    let percent = i32::try_from(total.num_seconds() / 9).unwrap_or(100).clamp(35, 100);
    dice.between(TimeDelta::seconds(from), TimeDelta::seconds(to)) * percent / 100
}

/// Plans what is done to Medic's process. A stop is either shorter than what Medic may call a gap, or longer.
pub(crate) fn medic_faults(seed: u64, warm_up: TimeDelta, total: TimeDelta) -> Vec<Planned<MedicFault>> {
    let dice = &mut Dice::new(seed, "medic");
    let seconds = TimeDelta::seconds;
    let longest = seconds(45) + (total / 10).min(seconds(135));
    let mut faults = Vec::new();
    let mut at = warm_up + pause(dice, 10, 60, total);
    loop {
        let is_long = dice.in_percent(30);
        let stop = if is_long { dice.between(seconds(40), longest) } else { dice.between(seconds(0), seconds(12)) };
        let fault = match dice.weighted(&[(40, 0), (10, 1), (30, 2), (20, 3)]) {
            0 => {
                let kills_start = dice.in_percent(30);
                let after = dice.between(TimeDelta::milliseconds(5), TimeDelta::milliseconds(400));
                MedicFault::Kill { down: stop, kills_start_after: kills_start.then_some(after) }
            }
            1 => MedicFault::Terminate { down: stop },
            2 => MedicFault::Freeze { length: stop.max(TimeDelta::milliseconds(500)) },
            _ => MedicFault::SlowDisk { length: dice.between(seconds(6), seconds(14)) },
        };
        if at + fault.length() > total - seconds(10) {
            return faults;
        }
        faults.push(Planned { at, fault });
        at += fault.length() + pause(dice, 25, 90, total);
    }
}

impl MedicFault {
    const fn length(self) -> TimeDelta {
        match self {
            Self::Kill { down: length, .. }
            | Self::Terminate { down: length }
            | Self::Freeze { length }
            | Self::SlowDisk { length } => length,
        }
    }
}

/// Plans how a receiver responds. Spells end before `longest`: who makes four attempts only must outlast them.
pub(crate) fn spells(seed: u64, receiver: &str, longest: TimeDelta, total: TimeDelta) -> Vec<Planned<Spell>> {
    let dice = &mut Dice::new(seed, receiver);
    let seconds = TimeDelta::seconds;
    let mut spells = Vec::new();
    let mut at = pause(dice, 30, 150, total);
    loop {
        let mode = dice.weighted(&[
            (15, Mode::Hangs),
            (20, Mode::AcceptsAndHangs),
            (10, Mode::Slow(seconds(2))),
            (5, Mode::Slow(seconds(6))),
            (10, Mode::Status(500)),
            (10, Mode::Status(503)),
            (10, Mode::Limits(5)),
            (20, Mode::RefusesConnections),
        ]);
        let length = dice.between(seconds(5), longest);
        if at + length > total - seconds(10) {
            return spells;
        }
        spells.push(Planned { at, fault: Spell { mode, length } });
        at += length + pause(dice, 70, 200, total).max(seconds(50));
    }
}
