//! Maintenance windows: times in which alerts wait because somebody is at work.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Invalid, Label, Recurrence, Revision, ServiceId, Stage, WindowId, Zone};

/// A stretch of maintenance that lasts longer than this, without any pause, is not followed to its end.
const LOOK_AHEAD: TimeDelta = TimeDelta::days(400);

/// A named span, once or again and again, in which some services open no alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceWindow {
    pub id: WindowId,
    pub name: Label,
    pub times: MaintenanceTimes,
    /// In their order, each once. Empty: every service.
    pub service_ids: Vec<ServiceId>,
    /// Whether its beginning was announced, and its end not yet.
    pub is_announced: bool,
    /// When to check whether it has begun or ended.
    pub due_at: Option<DateTime<Utc>>,
    pub revision: Revision,
}

/// When a window is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceTimes {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
    zone: Zone,
    recurrence: Option<Recurrence>,
}

/// A stretch of maintenance without a pause. Occurrences that overlap, or follow each other at once, make one stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// The first instant of the stretch. The window's very first occurrence stands in for it when the stretch has
    /// lasted for over 400 days.
    pub start: DateTime<Utc>,
    /// The first instant that is outside again; none when no such instant was found within 400 days, as in a window
    /// that recurs daily for 25 hours.
    pub end: Option<DateTime<Utc>>,
}

impl MaintenanceWindow {
    pub const MAX_NAME_CHARS: usize = 128;
    const MAX_SERVICES: usize = 1_000;

    pub fn parse_name(text: impl Into<String>) -> Result<Label, Invalid> {
        Label::parse("name", text, Self::MAX_NAME_CHARS)
    }

    /// Sorts the services and drops repetitions; at most 1,000 may be left.
    pub fn parse_service_ids(mut ids: Vec<ServiceId>) -> Result<Vec<ServiceId>, Invalid> {
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > Self::MAX_SERVICES {
            return Err(Invalid::new("service_ids", "must be at most 1000 services"));
        }
        Ok(ids)
    }

    /// Returns whether the window is for this service.
    pub fn covers(&self, service: ServiceId) -> bool {
        self.service_ids.is_empty() || self.service_ids.contains(&service)
    }

    /// Returns whether the window is on at `at`.
    pub fn is_on(&self, at: DateTime<Utc>) -> bool {
        self.times.are_on(at)
    }

    /// Returns the stretch of maintenance that `at` lies in.
    pub fn occurrence_at(&self, at: DateTime<Utc>) -> Option<Occurrence> {
        self.times.occurrence_at(at)
    }

    /// Returns the window after it was checked at `now`, and what is to be announced.
    pub fn check(&self, now: DateTime<Utc>) -> (Self, Option<Stage>) {
        let on = self.occurrence_at(now);
        let stage = match (on, self.is_announced) {
            (Some(occurrence), false) => Some(Stage::Began { until: occurrence.end }),
            (None, true) => Some(Stage::Ended),
            (Some(_), true) | (None, false) => None,
        };
        let checked = Self { is_announced: on.is_some(), due_at: self.next_change_after(now), ..self.clone() };
        (checked, stage)
    }

    /// Returns when maintenance next begins or ends, later than `at`. None when nothing more comes, or not within 400
    /// days of maintenance without a pause.
    pub fn next_change_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.times.next_change_after(at)
    }
}

/// Returns the window that keeps a service's alerts from opening at `at`: of several, the one whose maintenance ends last.
pub fn in_maintenance(
    windows: &[MaintenanceWindow],
    service: ServiceId,
    at: DateTime<Utc>,
) -> Option<(&MaintenanceWindow, Occurrence)> {
    windows
        .iter()
        .filter(|window| window.covers(service))
        .filter_map(|window| Some((window, window.occurrence_at(at)?)))
        .max_by_key(|(window, occurrence)| {
            let end = occurrence.end.unwrap_or(DateTime::<Utc>::MAX_UTC);
            (end, std::cmp::Reverse(window.id))
        })
}

impl MaintenanceTimes {
    /// What a recurring window may last: a year of 366 days, so that no occurrence older than a year matters.
    const MAX_RECURRING_LENGTH: TimeDelta = TimeDelta::days(366);

    /// Reads the times of a window: `start` is before `end`, and a window that recurs lasts at most a year.
    pub fn parse(
        start: DateTime<Utc>,
        end: DateTime<Utc>,
        zone: Zone,
        recurrence: Option<Recurrence>,
    ) -> Result<Self, Invalid> {
        if start >= end {
            return Err(Invalid::new("end_time", "must be after start_time"));
        }
        if recurrence.is_some() && end - start > Self::MAX_RECURRING_LENGTH {
            return Err(Invalid::new("end_time", "must be at most 366 days after start_time in a recurring window"));
        }
        Ok(Self { start, end, zone, recurrence })
    }

    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }

    pub fn end(&self) -> DateTime<Utc> {
        self.end
    }

    pub fn zone(&self) -> Zone {
        self.zone
    }

    pub fn recurrence(&self) -> Option<&Recurrence> {
        self.recurrence.as_ref()
    }

    fn are_on(&self, at: DateTime<Utc>) -> bool {
        match &self.recurrence {
            None => self.start <= at && at < self.end,
            Some(recurrence) => self.recurring(recurrence).last_covering(at).is_some(),
        }
    }

    fn occurrence_at(&self, at: DateTime<Utc>) -> Option<Occurrence> {
        match &self.recurrence {
            None => self.are_on(at).then_some(Occurrence { start: self.start, end: Some(self.end) }),
            Some(recurrence) => self.recurring(recurrence).stretch_at(at),
        }
    }

    fn next_change_after(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let Some(recurrence) = &self.recurrence else {
            return [self.start, self.end].into_iter().find(|change| *change > at);
        };
        let recurring = self.recurring(recurrence);
        match recurring.last_covering(at) {
            Some(last) => recurring.end(last),
            None => recurrence.at_or_after(self.zone, self.start.max(at)),
        }
    }

    fn recurring<'a>(&self, recurrence: &'a Recurrence) -> Recurring<'a> {
        Recurring { recurrence, zone: self.zone, length: self.end - self.start, not_before: self.start }
    }
}

/// A window that recurs: `length` of elapsed time from each occurrence, none of which is before `not_before`.
struct Recurring<'a> {
    recurrence: &'a Recurrence,
    zone: Zone,
    length: TimeDelta,
    not_before: DateTime<Utc>,
}

impl Recurring<'_> {
    /// Returns the last occurrence that covers `at`.
    fn last_covering(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let last = self.recurrence.last_at_or_before(self.zone, at)?;
        (last >= self.not_before && at < last + self.length).then_some(last)
    }

    fn stretch_at(&self, at: DateTime<Utc>) -> Option<Occurrence> {
        let last = self.last_covering(at)?;
        Some(Occurrence { start: self.begin(last)?, end: self.end(last) })
    }

    /// Returns whether it has no pause from the first occurrence of a day to the last: then a stretch is followed by
    /// days instead of by occurrences, which may be minutes.
    fn fills_its_days(&self) -> bool {
        self.recurrence.longest_pause_in_a_day() <= self.length
    }

    /// Returns the end of the stretch from one occurrence on: as long as another begins before it is over, on to the last.
    fn end(&self, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let by_days = self.fills_its_days();
        let mut last = from;
        while last - from <= LOOK_AHEAD {
            let over = last + self.length;
            let reached = self.recurrence.last_at_or_before(self.zone, over)?;
            if reached <= last {
                return Some(over);
            }
            let last_of_day = by_days.then(|| self.recurrence.last_of_day(self.zone, reached)).flatten();
            last = last_of_day.filter(|end| self.same_clock(*end, reached)).map_or(reached, |end| end.max(reached));
        }
        None
    }

    /// Returns the first occurrence of the stretch, from one occurrence back.
    fn begin(&self, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let by_days = self.fills_its_days();
        let occurrence_from = |at: DateTime<Utc>| self.recurrence.at_or_after(self.zone, at.max(self.not_before));
        let mut first = from;
        while from - first <= LOOK_AHEAD {
            let reached = occurrence_from(first - self.length)?;
            if reached >= first {
                return Some(first);
            }
            let first_of_day = by_days.then(|| self.recurrence.first_of_day(self.zone, reached)).flatten();
            first = match first_of_day.filter(|begin| self.same_clock(*begin, reached)) {
                Some(begin) => occurrence_from(begin.min(reached))?,
                None => reached,
            };
        }
        occurrence_from(self.not_before)
    }

    /// Returns whether the wall clock ran on evenly between two instants of one day.
    fn same_clock(&self, one: DateTime<Utc>, other: DateTime<Utc>) -> bool {
        self.zone.offset(one) == self.zone.offset(other)
    }
}

#[cfg(test)]
mod tests;
