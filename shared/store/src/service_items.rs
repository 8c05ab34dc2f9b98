//! A service's two rows as DynamoDB holds them, and back.

use chrono::TimeDelta;
use domain::{
    AlertId, Expectation, HeartbeatName, Label, Mute, NotificationMode, Outage, PendingEvent, Priority, Profile,
    RecentHeartbeats, Rule, RunsLook, ScheduleId, Service, ServiceId, Stamp, Status, TeamId, Timetable, from_millis,
    to_millis,
};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::item::{self, Item, number};
use crate::keys::{Collection, Key, LIST_PK, LIST_SK};

/// The `state` row but for its stamps (`h1` … `h20`), its key and the due index.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an attribute")]
pub(crate) struct StateItem {
    active: bool,
    down: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    /// This, or `cron` and `zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    grace_ms: i64,
    pub(crate) threshold: u32,
    counts_from: i64,
    failed: i64,
    heartbeat_count: u64,
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pending: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    muted_since: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    muted_until: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_notification_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runs_look_at: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    runs_look_last: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runs_look_from: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outage: Option<OutageItem>,
    #[serde(default, skip_serializing)]
    due_at: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OutageItem {
    alert_id: i64,
    known: i64,
    next_reminder_at: i64,
    cycled_at: i64,
    cycle: u32,
    notified: bool,
    acknowledged: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_period_at: Option<i64>,
}

impl StateItem {
    pub(crate) fn into_service(self, id: ServiceId, stamps: Vec<Stamp>) -> Result<Service, domain::Invalid> {
        let Self {
            active,
            down: _,
            deleted,
            interval_ms,
            cron,
            zone,
            grace_ms,
            threshold,
            counts_from,
            failed,
            heartbeat_count,
            version,
            last_status,
            pending,
            muted_since,
            muted_until,
            last_notification_at,
            runs_look_at,
            runs_look_last,
            runs_look_from,
            outage,
            due_at,
        } = self;
        let last_status = last_status.map(|text| text.parse::<Status>()).transpose()?;
        let expectation = match cron {
            Some(cron) => Expectation::Timetable(Timetable::parse(&cron, zone.as_deref())?),
            None => Expectation::Interval(TimeDelta::milliseconds(interval_ms.unwrap_or_default())),
        };
        Ok(Service {
            id,
            rule: Rule { expectation, grace: TimeDelta::milliseconds(grace_ms), threshold },
            active,
            deleted,
            counts_from: from_millis(counts_from),
            recent: RecentHeartbeats { stamps, failed: Stamp::from_raw(failed), last_status },
            heartbeat_count,
            pending: pending.map(|text| read_pending(&text)).transpose()?,
            outage: outage.map(OutageItem::into_outage),
            mute: muted_since
                .zip(muted_until)
                .map(|(since, until)| Mute { since: from_millis(since), until: from_millis(until) }),
            last_notification_at: last_notification_at.map(from_millis),
            runs_look: runs_look_at.map(|at| RunsLook {
                at: from_millis(at),
                last: runs_look_last,
                from: runs_look_from.map(Stamp::from_raw),
            }),
            due_at: due_at.map(from_millis),
            version,
        })
    }
}

impl OutageItem {
    fn into_outage(self) -> Outage {
        let Self { alert_id, known, next_reminder_at, cycled_at, cycle, notified, acknowledged, next_period_at } = self;
        Outage {
            alert_id: AlertId::new(alert_id),
            known: Stamp::from_raw(known),
            next_reminder_at: from_millis(next_reminder_at),
            cycled_at: from_millis(cycled_at),
            cycle,
            notified,
            acknowledged,
            next_period_at: next_period_at.map(from_millis),
        }
    }

    fn of(outage: &Outage) -> Self {
        let Outage { alert_id, known, next_reminder_at, cycled_at, cycle, notified, acknowledged, next_period_at } =
            outage;
        Self {
            alert_id: alert_id.get(),
            known: known.raw(),
            next_reminder_at: to_millis(*next_reminder_at),
            cycled_at: to_millis(*cycled_at),
            cycle: *cycle,
            notified: *notified,
            acknowledged: *acknowledged,
            next_period_at: next_period_at.map(to_millis),
        }
    }
}

const SET_DOWN: &str = "SET_DOWN";
const SET_UP: &str = "SET_UP";
const SWITCHED_OFF: &str = "SWITCHED_OFF";

fn read_pending(text: &str) -> Result<PendingEvent, domain::Invalid> {
    Ok(match text {
        SET_DOWN => PendingEvent::SetDown,
        SET_UP => PendingEvent::SetUp,
        SWITCHED_OFF => PendingEvent::SwitchedOff,
        status => PendingEvent::Reported(status.parse()?),
    })
}

fn write_pending(pending: PendingEvent) -> &'static str {
    match pending {
        PendingEvent::Reported(status) => status.as_str(),
        PendingEvent::SetDown => SET_DOWN,
        PendingEvent::SetUp => SET_UP,
        PendingEvent::SwitchedOff => SWITCHED_OFF,
    }
}

/// Writes the whole `state` row, with its place among the services of one `service_name`.
pub(crate) fn state_item(service: &Service, service_name: &str) -> Result<Item, Error> {
    let mut item = state_attributes(service)?;
    item.insert(LIST_PK.to_owned(), item::text(Collection::ServicesNamed(service_name).pk()));
    item.insert(LIST_SK.to_owned(), item::text(Collection::sk(service.id.get())));
    Ok(item)
}

pub(crate) fn state_attributes(service: &Service) -> Result<Item, Error> {
    let Service {
        id,
        rule,
        active,
        deleted,
        counts_from,
        recent,
        heartbeat_count,
        pending,
        outage,
        mute,
        last_notification_at,
        runs_look,
        due_at,
        version,
    } = service;
    let key = Key::service(*id);
    let Rule { expectation, grace, threshold } = rule;
    let timetable = expectation.timetable();
    let state = StateItem {
        active: *active,
        down: outage.is_some(),
        deleted: *deleted,
        interval_ms: expectation.interval().map(|interval| interval.num_milliseconds()),
        cron: timetable.map(|timetable| timetable.cron.as_str().to_owned()),
        zone: timetable.map(|timetable| timetable.zone.as_str().to_owned()),
        grace_ms: grace.num_milliseconds(),
        threshold: *threshold,
        counts_from: to_millis(*counts_from),
        failed: recent.failed.raw(),
        heartbeat_count: *heartbeat_count,
        version: *version,
        last_status: recent.last_status.map(|status| status.as_str().to_owned()),
        pending: pending.map(|pending| write_pending(pending).to_owned()),
        muted_since: mute.map(|mute| to_millis(mute.since)),
        muted_until: mute.map(|mute| to_millis(mute.until)),
        last_notification_at: last_notification_at.map(to_millis),
        runs_look_at: runs_look.map(|look| to_millis(look.at)),
        runs_look_last: runs_look.is_some_and(|look| look.last),
        runs_look_from: runs_look.and_then(|look| look.from).map(Stamp::raw),
        outage: outage.as_ref().map(OutageItem::of),
        due_at: None,
    };
    let mut item = item::write(&key, &state)?;
    for (n, stamp) in (1..).zip(&recent.stamps) {
        item.insert(format!("h{n}"), number(stamp.raw()));
    }
    item::set_due(&mut item, &key, due_at.map(to_millis));
    Ok(item)
}

/// The `profile` row.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProfileItem {
    heartbeat_name: String,
    service_name: String,
    team: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    team_id: Option<i64>,
    priority: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runbook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schedule_id: Option<i64>,
    notification_mode: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_duration_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unedited: bool,
    date_added: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date_modified: Option<i64>,
    list_pk: String,
    list_sk: String,
}

pub(crate) fn profile_item(id: ServiceId, profile: &Profile) -> Result<Item, Error> {
    let Profile {
        heartbeat_name,
        service_name,
        team,
        team_id,
        priority,
        runbook,
        schedule_id,
        notification_mode,
        max_duration_ms,
        is_unedited,
        date_added,
        date_modified,
    } = profile;
    let body = ProfileItem {
        heartbeat_name: heartbeat_name.as_str().to_owned(),
        service_name: service_name.as_str().to_owned(),
        team: team.as_str().to_owned(),
        team_id: team_id.map(TeamId::get),
        priority: priority.as_str().to_owned(),
        runbook: runbook.clone(),
        schedule_id: schedule_id.map(ScheduleId::get),
        notification_mode: notification_mode.as_str().to_owned(),
        max_duration_ms: *max_duration_ms,
        unedited: *is_unedited,
        date_added: to_millis(*date_added),
        date_modified: date_modified.map(to_millis),
        list_pk: Collection::Services.pk(),
        list_sk: Collection::sk(id.get()),
    };
    item::write(&Key::profile(id), &body)
}

impl ProfileItem {
    pub(crate) fn into_profile(self) -> Result<Profile, domain::Invalid> {
        let Self {
            heartbeat_name,
            service_name,
            team,
            team_id,
            priority,
            runbook,
            schedule_id,
            notification_mode,
            max_duration_ms,
            unedited,
            date_added,
            date_modified,
            list_pk: _,
            list_sk: _,
        } = self;
        Ok(Profile {
            heartbeat_name: HeartbeatName::parse(heartbeat_name)?,
            service_name: Label::parse("service_name", service_name, Profile::MAX_LABEL_CHARS)?,
            team: Label::parse("team", team, Profile::MAX_LABEL_CHARS)?,
            team_id: team_id.map(TeamId::new),
            priority: priority.parse::<Priority>()?,
            runbook,
            schedule_id: schedule_id.map(ScheduleId::new),
            notification_mode: notification_mode.parse::<NotificationMode>()?,
            max_duration_ms,
            is_unedited: unedited,
            date_added: from_millis(date_added),
            date_modified: date_modified.map(from_millis),
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;

    /// An attribute value's size as DynamoDB counts it.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
    fn size(value: &AttributeValue) -> usize {
        if let Ok(text) = value.as_s() {
            return text.len();
        }
        if let Ok(digits) = value.as_n() {
            return digits.len().div_ceil(2) + 1;
        }
        let fields = value.as_m().into_iter().flatten();
        1 + fields.map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>() + 2
    }

    #[test]
    fn the_largest_state_row_costs_one_unit() {
        let minutes = (0..256).map(|n| if n % 2 == 0 { '1' } else { ',' });
        let cron = format!("{} 2 * * *", minutes.take(247).collect::<String>());
        assert_eq!(cron.len(), 255);
        let timetable = Expectation::parse(None, Some(&cron), Some("America/Argentina/ComodRivadavia")).unwrap();
        check(Rule::parse(Expectation::parse(Some(527_040.0), None, None).unwrap(), 31_622_400, 20).unwrap());
        check(Rule::parse(timetable, 31_622_400, 1).unwrap());
    }

    fn check(rule: Rule) {
        let far = from_millis(9_999_999_999_999);
        let max = i64::MAX;
        let mut service = Service::register(ServiceId::new(max), rule, far);
        service.recent.stamps.fill(Stamp::from_raw(max));
        service.recent.failed = Stamp::from_raw(max);
        service.recent.last_status = Some(Status::Completed);
        service.pending = Some(PendingEvent::SwitchedOff);
        service.mute = Some(Mute { since: far, until: far });
        service.last_notification_at = Some(far);
        service.runs_look = Some(RunsLook { at: far, last: true, from: Some(Stamp::from_raw(max)) });
        (service.heartbeat_count, service.version, service.deleted) = (u64::MAX, u64::MAX, true);
        service.outage = Some(Outage {
            alert_id: AlertId::new(max),
            known: Stamp::from_raw(max),
            next_reminder_at: far,
            cycled_at: far,
            cycle: u32::MAX,
            notified: true,
            acknowledged: true,
            next_period_at: Some(far),
        });
        let item = state_item(&service, "worker").unwrap();
        let bytes: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
        assert!(bytes <= 1_024, "{bytes} bytes");
    }
}
