//! A service: something that must report, how often, and its state.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    AlertId, Expectation, HeartbeatName, Invalid, Label, RecentHeartbeats, RunsLook, ScheduleId, ServiceId, Stamp,
    Status, TeamId,
};

/// How often a service must report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub expectation: Expectation,
    /// How much later than expected is still in time.
    pub grace: TimeDelta,
    /// Heartbeats needed within an interval: 1 to 20. With a timetable, 1.
    pub threshold: u32,
}

impl Rule {
    pub const MAX_THRESHOLD: u32 = 20;
    const MAX_GRACE_SECONDS: i64 = 366 * 24 * 3600;

    /// Reads the fields beside the expectation as the API writes them: seconds, a count.
    pub fn parse(expectation: Expectation, grace_period_seconds: i64, threshold: i64) -> Result<Self, Invalid> {
        let threshold = u32::try_from(threshold)
            .ok()
            .filter(|n| (1..=Self::MAX_THRESHOLD).contains(n))
            .ok_or_else(|| Invalid::new("threshold", "must be a whole number from 1 to 20"))?;
        if !(0..=Self::MAX_GRACE_SECONDS).contains(&grace_period_seconds) {
            return Err(Invalid::new("grace_period_seconds", "must be from 0 to 31622400 (a year)"));
        }
        if expectation.timetable().is_some() && threshold != 1 {
            return Err(Invalid::new(
                "threshold",
                "must be 1 with schedule_cron: each expected time needs one heartbeat",
            ));
        }
        Ok(Self { expectation, grace: TimeDelta::seconds(grace_period_seconds), threshold })
    }
}

/// How urgent an outage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Priority {
    P1,
    P2,
    P3,
    P4,
    P5,
}

impl Priority {
    pub const ALL: [Self; 5] = [Self::P1, Self::P2, Self::P3, Self::P4, Self::P5];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "p1",
            Self::P2 => "p2",
            Self::P3 => "p3",
            Self::P4 => "p4",
            Self::P5 => "p5",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| Invalid::new("priority", "must be one of p1, p2, p3, p4, p5"))
    }
}

/// Whether every target is notified, or one after the other until one succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationMode {
    NotifyAll,
    NotifyUntilSuccess,
}

impl NotificationMode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotifyAll => "notify_all",
            Self::NotifyUntilSuccess => "notify_until_success",
        }
    }
}

impl FromStr for NotificationMode {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::NotifyAll, Self::NotifyUntilSuccess]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| Invalid::new("notification_mode", "must be notify_all or notify_until_success"))
    }
}

/// A team's name.
pub type TeamName = Label;

/// What describes a service and changes only when somebody edits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub heartbeat_name: HeartbeatName,
    pub service_name: Label,
    /// The team's name. Where `team_id` is set, the team's own record has the present one.
    pub team: TeamName,
    /// A team that may be gone by now.
    pub team_id: Option<TeamId>,
    pub priority: Priority,
    /// Where the on-call reads what to do; often a link.
    pub runbook: Option<String>,
    /// A schedule that may be gone by now.
    pub schedule_id: Option<ScheduleId>,
    pub notification_mode: NotificationMode,
    pub max_duration_ms: Option<u64>,
    /// A ping registered it, and nobody has edited it since: it starts no playbook.
    pub is_unedited: bool,
    pub date_added: DateTime<Utc>,
    pub date_modified: Option<DateTime<Utc>>,
}

impl Profile {
    /// The team of a service that names none.
    pub const DEFAULT_TEAM: &str = "site-reliability";
    pub const MAX_LABEL_CHARS: usize = 128;
    pub const MAX_RUNBOOK_CHARS: usize = 2_048;

    pub fn parse_service_name(text: impl Into<String>) -> Result<Label, Invalid> {
        Label::parse("service_name", text, Self::MAX_LABEL_CHARS)
    }

    pub fn parse_team(text: impl Into<String>) -> Result<TeamName, Invalid> {
        Label::parse("team", text, Self::MAX_LABEL_CHARS)
    }

    /// Reads a runbook; an empty one counts as none.
    pub fn parse_runbook(text: String) -> Result<Option<String>, Invalid> {
        if text.chars().count() > Self::MAX_RUNBOOK_CHARS {
            return Err(Invalid::new("runbook", "must be at most 2048 characters long"));
        }
        if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
            return Err(Invalid::new("runbook", "must not contain control characters"));
        }
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }

    pub fn parse_max_duration_ms(millis: i64) -> Result<u64, Invalid> {
        const MAX: i64 = 366 * 24 * 3_600_000;
        u64::try_from(millis)
            .ok()
            .filter(|_| (1..=MAX).contains(&millis))
            .ok_or_else(|| Invalid::new("max_duration_ms", "must be from 1 to 31622400000 (a year)"))
    }
}

/// A time without notifications, which somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mute {
    pub since: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

impl Mute {
    const DEFAULT_LENGTH: TimeDelta = TimeDelta::hours(24);

    pub fn starting(now: DateTime<Utc>, until: Option<DateTime<Utc>>) -> Self {
        Self { since: now, until: until.unwrap_or(now + Self::DEFAULT_LENGTH) }
    }
}

/// An event that the next judgement must act on, whatever the heartbeats say by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingEvent {
    /// The service itself reported `DOWN` or `FAILED`.
    Reported(Status),
    /// An operator set `down`.
    SetDown,
    /// An operator cleared `down`.
    SetUp,
    /// An operator switched the service off while it was down; it may be on again by now.
    SwitchedOff,
}

/// The open alert, as far as the judgement needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    pub alert_id: AlertId,
    /// Heartbeats up to this one were known when the alert opened; only later ones count towards recovery.
    pub known: Stamp,
    pub next_reminder_at: DateTime<Utc>,
    /// When the cycle last moved; it moves at most once a second, however short the interval.
    pub cycled_at: DateTime<Utc>,
    /// 1 at the opening, and 1 more for each interval since.
    pub cycle: u32,
    /// Whether anybody was notified. A muted service's alert opens without a notification.
    pub notified: bool,
    /// Somebody acknowledged it: no more reminders.
    pub acknowledged: bool,
    /// When its service's schedule next changes its period, and so perhaps whom it is for.
    pub next_period_at: Option<DateTime<Utc>>,
}

/// The state of a service, which heartbeats and the sweep write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub id: ServiceId,
    pub rule: Rule,
    pub active: bool,
    /// Deleted for its users; the sweep still closes its alert and removes it.
    pub deleted: bool,
    /// From when a service counts that has not yet sent enough heartbeats.
    pub counts_from: DateTime<Utc>,
    pub recent: RecentHeartbeats,
    /// How many heartbeats were recorded: moves with each of them.
    pub heartbeat_count: u64,
    pub pending: Option<PendingEvent>,
    pub outage: Option<Outage>,
    pub mute: Option<Mute>,
    /// When the last notification of this service was created; the next is later, whatever the clocks say.
    pub last_notification_at: Option<DateTime<Utc>>,
    pub runs_look: Option<RunsLook>,
    /// When the row comes due in the index.
    pub due_at: Option<DateTime<Utc>>,
    /// Moves with each operator's change and each transition, not with heartbeats.
    pub version: u64,
}

impl Service {
    /// Creates a service that begins to count now.
    pub fn register(id: ServiceId, rule: Rule, now: DateTime<Utc>) -> Self {
        let threshold = rule.threshold;
        let mut service = Self {
            id,
            rule,
            active: true,
            deleted: false,
            counts_from: now,
            recent: RecentHeartbeats::empty(threshold),
            heartbeat_count: 0,
            pending: None,
            outage: None,
            mute: None,
            last_notification_at: None,
            runs_look: None,
            due_at: None,
            version: 1,
        };
        service.due_at = service.timer();
        service
    }

    /// Returns whether users see it as down: an operator's update counts from when it was made.
    pub fn is_down(&self) -> bool {
        match self.pending {
            Some(PendingEvent::SetDown) => true,
            Some(PendingEvent::SetUp | PendingEvent::SwitchedOff) => false,
            Some(PendingEvent::Reported(_)) | None => self.outage.is_some(),
        }
    }

    /// Returns how many intervals the outage has lasted, as triggers count it: 0 when there is none.
    pub fn consecutive_failures(&self) -> u32 {
        self.outage.as_ref().map_or(0, |outage| outage.cycle)
    }

    /// Returns an instant for the next notification: now, but after the one before it, whatever this machine's clock says.
    pub fn next_notification_at(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        let at = self.last_notification_at.map_or(now, |last| now.max(last + TimeDelta::milliseconds(1)));
        self.last_notification_at = Some(at);
        at
    }

    /// Returns whether notifications are held back at `now`.
    pub fn is_muted(&self, now: DateTime<Utc>) -> bool {
        self.mute.is_some_and(|mute| now < mute.until)
    }

    /// Records a heartbeat. Returns whether the sweep must judge the service at once.
    pub fn record_heartbeat(&mut self, stamp: Stamp, status: Status, now: DateTime<Utc>) -> bool {
        let new = self.recent.record(stamp, status);
        self.heartbeat_count += u64::from(new);
        if new && !status.counts_as_alive() {
            self.pending = match (&self.outage, self.pending) {
                (None, _) => Some(PendingEvent::Reported(status)),
                // The service's own report overrides an operator.
                (Some(_), Some(PendingEvent::SetUp)) => None,
                (Some(_), pending) => pending,
            };
        }
        let judge_now = new && (self.outage.is_some() || self.pending.is_some());
        if judge_now {
            self.due_at = Some(now);
        }
        judge_now
    }

    /// Applies an operator's update.
    pub fn edit(&mut self, patch: &ServicePatch, now: DateTime<Utc>) {
        let ServicePatch { rule, active, mute, down, has_new_maximum } = patch;
        if *has_new_maximum || active.is_some() || mute.is_some() {
            self.runs_look = Some(RunsLook::beginning(now));
        }
        if let Some(rule) = rule {
            let both_intervals = rule.expectation.interval().zip(self.rule.expectation.interval());
            // What was expected until now does not follow from another timetable.
            let is_another = both_intervals.is_none() && rule.expectation != self.rule.expectation;
            if is_another || rule.threshold > self.rule.threshold {
                self.counts_from = now;
            }
            self.recent.resize(rule.threshold);
            if let Some(outage) = &mut self.outage {
                outage.next_reminder_at = match both_intervals {
                    Some((new, old)) => outage.next_reminder_at + (new - old),
                    None => rule.expectation.next_reminder(rule.grace, now),
                };
            }
            self.rule = rule.clone();
        }
        if let Some(active) = *active {
            if active && !self.active {
                self.counts_from = now;
                // What came in as it was switched off no longer matters.
                self.pending = self.pending.filter(|pending| *pending == PendingEvent::SwitchedOff);
            }
            if !active {
                self.pending = self.outage.as_ref().map(|_| PendingEvent::SwitchedOff);
            }
            self.active = active;
        }
        if let Some(mute) = mute {
            self.mute = *mute;
        }
        if let Some(down) = *down
            && self.active
            && down != self.is_down()
        {
            self.pending = match (down, &self.outage) {
                (true, None) => Some(PendingEvent::SetDown),
                (false, Some(_)) => Some(PendingEvent::SetUp),
                // The change that is still pending is taken back.
                (true, Some(_)) | (false, None) => None,
            };
        }
        self.version += 1;
        self.due_at = Some(now);
    }
}

/// An operator's update of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServicePatch {
    pub rule: Option<Rule>,
    pub active: Option<bool>,
    pub mute: Option<Option<Mute>>,
    pub down: Option<bool>,
    /// The maximum duration of its runs has changed.
    pub has_new_maximum: bool,
}
