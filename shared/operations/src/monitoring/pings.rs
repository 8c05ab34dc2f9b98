//! Records pings: heartbeats as clients of Healthchecks send them.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Entry, Expectation, HeartbeatId, HeartbeatName, Invalid, NotificationMode, PingKey, PingKeyId, PingKind, Priority,
    Profile, Rule, RunId, ServiceId, SignalKind,
};
use store::Heartbeat;

use super::{Named, Report, Signal};
use crate::{Actor, Error, Medic, Registered, Registration, TeamChoice};

/// One ping as it was sent.
#[derive(Debug, Clone)]
pub struct Ping {
    pub slug: HeartbeatName,
    pub kind: PingKind,
    /// The run that it belongs to.
    pub run_id: Option<RunId>,
    /// Whether a service that is not there is registered.
    pub create: bool,
    /// What came with it, already cut.
    pub body: Vec<u8>,
    /// The key that it came with.
    pub key: PingKeyId,
}

/// The outcome of a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinged {
    Recorded,
    /// It registered its service, too.
    Registered,
}

/// How often a service must report that a ping registers, and how late it may be.
const INTERVAL: TimeDelta = TimeDelta::days(1);
const GRACE: TimeDelta = TimeDelta::hours(1);

/// How many signals of a run, log entries among them, are read to find the one that a repetition repeats.
const SIGNALS_OF_A_RUN: usize = 100;

impl Medic {
    /// Records a ping. One for a service that is not active is acknowledged, and nothing is kept of it.
    pub async fn ping(&self, ping: Ping, now: DateTime<Utc>) -> Result<Pinged, Error> {
        let mut pinged = Pinged::Recorded;
        let recorded = match self.record_ping(&ping, now).await {
            Err(Error::NotFound(_)) if ping.create => {
                let key: Option<PingKey> = self.table.find(ping.key).await?;
                let actor = Actor { name: key.map(|key| key.name.into_string()), at: now };
                if let Registered::New(_) = self.register(registration(&ping.slug, now)?, &actor).await? {
                    pinged = Pinged::Registered;
                }
                self.record_ping(&ping, now).await
            }
            recorded => recorded,
        };
        match recorded {
            Ok(heartbeat) if !ping.body.is_empty() => self.table.keep_ping_body(&heartbeat, ping.body).await?,
            Ok(_) | Err(Error::Inactive(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(pinged)
    }

    /// Records a ping, and returns what it leaves among its service's heartbeats.
    async fn record_ping(&self, ping: &Ping, now: DateTime<Utc>) -> Result<Heartbeat, Error> {
        let Ping { slug, kind, run_id, .. } = ping;
        let service = Named::Name(slug.clone());
        let Some(kind) = kind.signal() else {
            return self.keep_log(&service, run_id.as_ref(), now).await;
        };
        let run = match run_id {
            Some(run) => Some(run.clone()),
            None if kind.is_end() => {
                let service_id = self.active_service(&service).await?;
                self.run_to_end(service_id, now).await?
            }
            None => Some(self.begin_unnamed_run(&service, now).await?),
        };
        let Some(run) = run else {
            let report = Report { service, status: kind.status(), run_id: None, idempotency_key: None };
            return self.report_and_keep(report, now).await;
        };
        let signal = Signal { service, kind, run: Some(run.clone()), idempotency_key: None };
        let receipt = self.signal(signal, now).await?;
        let id = match receipt.heartbeat {
            Some(id) => Some(id),
            None => self.heartbeat_of(receipt.service_id, &run, kind, now).await?,
        };
        let id = id.map_or_else(|| self.next_heartbeat_id(now), Ok)?;
        let (service_id, at) = (receipt.service_id, id.time());
        Ok(Heartbeat {
            id,
            service_id,
            at,
            status: Entry::Reported(kind.status()),
            run_id: Some(run.to_string()),
            expires_at: at + self.settings.heartbeat_retention,
        })
    }

    /// Returns the heartbeat that a signal was when it came first.
    async fn heartbeat_of(
        &self,
        service: ServiceId,
        run: &RunId,
        kind: SignalKind,
        now: DateTime<Utc>,
    ) -> Result<Option<HeartbeatId>, Error> {
        let page = self.table.heartbeats(service, Some(run.as_str()), None, SIGNALS_OF_A_RUN, now).await?;
        let reported = Entry::Reported(kind.status());
        Ok(page.items.iter().find(|heartbeat| heartbeat.status == reported).map(|heartbeat| heartbeat.id))
    }

    /// Keeps a log entry among a service's heartbeats, which changes nothing else.
    async fn keep_log(&self, service: &Named, run_id: Option<&RunId>, now: DateTime<Utc>) -> Result<Heartbeat, Error> {
        let service_id = self.active_service(service).await?;
        let id = self.next_heartbeat_id(now)?;
        let at = id.time();
        let heartbeat = Heartbeat {
            id,
            service_id,
            at,
            status: Entry::Log,
            run_id: run_id.map(ToString::to_string),
            expires_at: at + self.settings.heartbeat_retention,
        };
        self.table.keep_heartbeat(&heartbeat).await?;
        Ok(heartbeat)
    }
}

/// Returns what a ping registers that finds no service.
fn registration(slug: &HeartbeatName, now: DateTime<Utc>) -> Result<Registration, Error> {
    let team = Profile::parse_team(Profile::DEFAULT_TEAM)?;
    if !is_slug(slug.as_str()) {
        return Err(Invalid::new("slug", "must be of a-z, 0-9, - and _ to be registered").into());
    }
    Ok(Registration {
        profile: Profile {
            heartbeat_name: slug.clone(),
            service_name: Profile::parse_service_name(slug.as_str())?,
            team: team.clone(),
            team_id: None,
            priority: Priority::P3,
            runbook: None,
            schedule_id: None,
            notification_mode: NotificationMode::NotifyAll,
            max_duration_ms: None,
            is_unedited: true,
            date_added: now,
            date_modified: None,
        },
        team: TeamChoice { name: Some(team), id: None },
        rule: Rule { expectation: Expectation::Interval(INTERVAL), grace: GRACE, threshold: 1 },
        active: true,
        muted: None,
    })
}

/// Returns whether a name has the letters alone that Healthchecks gives to slugs.
fn is_slug(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}
