//! Takes pings: heartbeats as clients of Healthchecks send them.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Entry, Expectation, HeartbeatName, Label, NotificationMode, PingKind, Priority, Profile, Rule, Status};
use store::Heartbeat;

use crate::{Error, Medic, Named, Registered, Registration, Report, TeamChoice};

/// One ping as it was sent.
#[derive(Debug, Clone)]
pub struct Ping {
    pub slug: HeartbeatName,
    pub kind: PingKind,
    /// The run that it belongs to.
    pub run_id: Option<Label>,
    /// Whether a service that is not there is registered.
    pub create: bool,
    /// What came with it, already cut.
    pub body: Vec<u8>,
}

/// What became of a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinged {
    Taken,
    /// Its service was registered by it.
    Registered,
}

/// How often a service reports that a ping registers, and how late it may be.
const INTERVAL: TimeDelta = TimeDelta::days(1);
const GRACE: TimeDelta = TimeDelta::hours(1);

impl Medic {
    /// Takes a ping. That of a service that is not watched is acknowledged, and nothing is kept of it.
    pub async fn ping(&self, ping: Ping, now: DateTime<Utc>) -> Result<Pinged, Error> {
        let mut pinged = Pinged::Taken;
        let taken = match self.take(&ping, now).await {
            Err(Error::NotFound(_)) if ping.create => {
                if let Registered::Now(_) = self.register(registration(&ping.slug, now)?, now).await? {
                    pinged = Pinged::Registered;
                }
                self.take(&ping, now).await
            }
            taken => taken,
        };
        match taken {
            Ok(heartbeat) if !ping.body.is_empty() => self.table.keep_ping_body(&heartbeat, ping.body).await?,
            Ok(_) | Err(Error::Inactive(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(pinged)
    }

    async fn take(&self, ping: &Ping, now: DateTime<Utc>) -> Result<Heartbeat, Error> {
        let named = Named::Name(ping.slug.clone());
        match ping.kind.status() {
            Some(status) => self.take_heartbeat(ping, named, status, now).await,
            None => self.keep_log(&named, ping.run_id.as_ref(), now).await,
        }
    }

    async fn take_heartbeat(
        &self,
        ping: &Ping,
        service: Named,
        status: Status,
        now: DateTime<Utc>,
    ) -> Result<Heartbeat, Error> {
        let report = Report { service, status, run_id: ping.run_id.clone(), idempotency_key: None };
        self.report_and_keep(report, now).await
    }

    /// Keeps a note among a service's heartbeats, which changes nothing else.
    async fn keep_log(&self, service: &Named, run_id: Option<&Label>, now: DateTime<Utc>) -> Result<Heartbeat, Error> {
        let service_id = self.active_service(service).await?;
        let id = self.heartbeat_ids.next(now)?;
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

/// What a ping registers that finds no service.
fn registration(slug: &HeartbeatName, now: DateTime<Utc>) -> Result<Registration, Error> {
    let team = Profile::parse_team(Profile::DEFAULT_TEAM)?;
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
            date_added: now,
            date_modified: None,
        },
        team: TeamChoice { name: Some(team), id: None },
        rule: Rule { expectation: Expectation::Interval(INTERVAL), grace: GRACE, threshold: 1 },
        active: true,
        muted: None,
    })
}
