//! Configuration entities as the audit log shows them: field by field, and no secret.

use chrono::{DateTime, Utc};

use crate::{
    ApiKey, AuditedField, AuditedThing, AuditedValue, Destination, Endpoint, Hours, MaintenanceWindow, PingKey,
    Playbook, Profile, RateLimits, Rule, Schedule, ScheduleId, Scope, Script, Secret, SecretUses, Service, ServiceId,
    Target, Team, TeamId, ThingKind, Trigger, TriggerTerms, Webhook, WebhookSecrets, format_time, minutes_of,
};

/// A configuration entity as the audit log shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Configured {
    pub thing: AuditedThing,
    /// The service that it is, or that it belongs to.
    pub service_id: Option<ServiceId>,
    /// Of a service.
    pub service_name: Option<String>,
    pub fields: Vec<AuditedField>,
}

/// What the audit log can show.
pub trait Configurable {
    fn configured(&self) -> Configured;
}

fn thing(kind: ThingKind, id: i64, name: Option<&str>, fields: Vec<AuditedField>) -> Configured {
    let thing = AuditedThing { kind, id, name: name.map(ToOwned::to_owned) };
    Configured { thing, service_id: None, service_name: None, fields }
}

fn time(at: Option<DateTime<Utc>>) -> AuditedValue {
    AuditedValue::optional(at.map(format_time))
}

impl Profile {
    /// Returns how the audit log shows the service of this profile.
    pub fn configured(&self, service: &Service, now: DateTime<Utc>) -> Configured {
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
            date_added: _,
            is_unedited: _,
            date_modified: _,
        } = self;
        let Rule { expectation, grace, threshold } = &service.rule;
        let mute = service.mute.filter(|_| service.is_muted(now));
        let interval = expectation.interval().map(|interval| AuditedValue::Fraction(minutes_of(interval)));
        let timetable = expectation.timetable();
        let fields = vec![
            AuditedField::new("heartbeat_name", AuditedValue::text(heartbeat_name)),
            AuditedField::new("service_name", AuditedValue::text(service_name)),
            AuditedField::new("active", service.active),
            AuditedField::new("alert_interval", interval.unwrap_or(AuditedValue::Null)),
            AuditedField::new("schedule_cron", AuditedValue::optional(timetable.map(|timetable| &timetable.cron))),
            AuditedField::new("timezone", AuditedValue::optional(timetable.map(|timetable| timetable.zone.as_str()))),
            AuditedField::new("threshold", *threshold),
            AuditedField::new("grace_period_seconds", grace.num_seconds()),
            AuditedField::new("max_duration_ms", *max_duration_ms),
            AuditedField::new("team", AuditedValue::text(team)),
            AuditedField::new("team_id", team_id.map(TeamId::get)),
            AuditedField::new("priority", AuditedValue::text(priority)),
            AuditedField::new("runbook", AuditedValue::optional(runbook.as_ref())),
            AuditedField::new("schedule_id", schedule_id.map(ScheduleId::get)),
            AuditedField::new("notification_mode", AuditedValue::text(notification_mode.as_str())),
            AuditedField::new("muted", mute.is_some()),
            AuditedField::new("muted_until", time(mute.map(|mute| mute.until))),
            AuditedField::new("down", service.is_down()),
        ];
        Configured {
            service_id: Some(service.id),
            service_name: Some(service_name.to_string()),
            ..thing(ThingKind::Service, service.id.get(), Some(heartbeat_name.as_str()), fields)
        }
    }
}

impl Configurable for ApiKey {
    fn configured(&self) -> Configured {
        let Self { id, name, scopes, limits, expires_at, rotated_at: _, digest: _, hash, revision: _ } = self;
        let RateLimits { heartbeats, management } = limits;
        let fields = vec![
            AuditedField::new("name", AuditedValue::text(name)),
            AuditedField::new("scopes", AuditedValue::list(scopes.iter().map(Scope::as_str))),
            AuditedField::new("rate_limit_heartbeats", *heartbeats),
            AuditedField::new("rate_limit_management", *management),
            AuditedField::new("expires_at", time(*expires_at)),
            AuditedField::secret("key", hash.as_bytes()),
        ];
        thing(ThingKind::ApiKey, id.get(), Some(name.as_str()), fields)
    }
}

impl Configurable for PingKey {
    fn configured(&self) -> Configured {
        let Self { id, name, digest: _, hash, revision: _ } = self;
        let fields =
            vec![AuditedField::new("name", AuditedValue::text(name)), AuditedField::secret("key", hash.as_bytes())];
        thing(ThingKind::PingKey, id.get(), Some(name.as_str()), fields)
    }
}

impl Configurable for Team {
    fn configured(&self) -> Configured {
        let Self { id, name, slack_channel_id, revision: _ } = self;
        let fields = vec![
            AuditedField::new("name", AuditedValue::text(name)),
            AuditedField::new("slack_channel_id", AuditedValue::optional(slack_channel_id.as_ref())),
        ];
        thing(ThingKind::Team, id.get(), Some(name.as_str()), fields)
    }
}

impl Configurable for Schedule {
    fn configured(&self) -> Configured {
        let Self { id, name, zone, hours, revision: _ } = self;
        let fields = vec![
            AuditedField::new("name", AuditedValue::text(name)),
            AuditedField::new("timezone", AuditedValue::text(zone.as_str())),
            AuditedField::new("hours", week(hours)),
        ];
        thing(ThingKind::Schedule, id.get(), Some(name.as_str()), fields)
    }
}

/// Writes the ranges of each day, such as `09:00-17:00`.
fn week(hours: &Hours) -> AuditedValue {
    let day = |(day, ranges): (&str, Vec<(String, String)>)| {
        let ranges = ranges.into_iter().map(|(start, end)| format!("{start}-{end}"));
        (day.to_owned(), AuditedValue::list(ranges))
    };
    AuditedValue::Map(hours.days().map(day).collect())
}

impl Configurable for MaintenanceWindow {
    fn configured(&self) -> Configured {
        let Self { id, name, times, service_ids, is_announced: _, due_at: _, revision: _ } = self;
        let services: Vec<i64> = service_ids.iter().map(|id| id.get()).collect();
        let fields = vec![
            AuditedField::new("name", AuditedValue::text(name)),
            AuditedField::new("start_time", time(Some(times.start()))),
            AuditedField::new("end_time", time(Some(times.end()))),
            AuditedField::new("timezone", AuditedValue::text(times.zone().as_str())),
            AuditedField::new("recurrence", AuditedValue::optional(times.recurrence())),
            AuditedField::new("service_ids", services),
        ];
        thing(ThingKind::MaintenanceWindow, id.get(), Some(name.as_str()), fields)
    }
}

impl Configurable for Target {
    fn configured(&self) -> Configured {
        let Self { id, service_id, destination, priority, enabled, period, revision: _ } = self;
        let mut fields = vec![
            AuditedField::new("type", AuditedValue::text(destination.kind().as_str())),
            AuditedField::new("priority", *priority),
            AuditedField::new("enabled", *enabled),
            AuditedField::new("period", AuditedValue::text(period.as_str())),
        ];
        match destination {
            Destination::Slack { channel_id } => {
                fields.push(AuditedField::new("config.channel_id", AuditedValue::text(channel_id)));
            }
            Destination::PagerDuty { service_key } => {
                fields.push(AuditedField::secret("config.service_key", service_key.reveal().as_bytes()));
            }
            Destination::Webhook(Endpoint { url, headers }) => fields.extend([
                AuditedField::new("config.url", AuditedValue::text(url)),
                AuditedField::headers("config.headers", headers),
            ]),
        }
        Configured { service_id: Some(*service_id), ..thing(ThingKind::NotificationTarget, id.get(), None, fields) }
    }
}

impl Configurable for Webhook {
    fn configured(&self) -> Configured {
        let Self { id, endpoint, enabled, service_id, attempts, secrets, revision: _ } = self;
        let Endpoint { url, headers } = endpoint;
        let WebhookSecrets { current, previous: _ } = secrets;
        let fields = vec![
            AuditedField::new("url", AuditedValue::text(url)),
            AuditedField::headers("headers", headers),
            AuditedField::new("enabled", *enabled),
            AuditedField::new("service_id", service_id.map(ServiceId::get)),
            AuditedField::new("max_attempts", attempts.max),
            AuditedField::new("retry_delays_seconds", attempts.delays_seconds().to_vec()),
            AuditedField::secret("secret", current.reveal().as_bytes()),
        ];
        Configured { service_id: *service_id, ..thing(ThingKind::Webhook, id.get(), None, fields) }
    }
}

impl Configurable for Playbook {
    fn configured(&self) -> Configured {
        let Self { id, name, description, yaml, trigger, revision } = self;
        let terms = trigger.as_ref().map(|(_, terms)| terms);
        let fields = vec![
            AuditedField::new("name", AuditedValue::text(name)),
            AuditedField::new("description", AuditedValue::optional(description.as_ref())),
            AuditedField::new("version", revision.version),
            AuditedField::document("yaml", yaml),
            AuditedField::new(
                "trigger.service_pattern",
                AuditedValue::optional(terms.map(|terms| &terms.service_pattern)),
            ),
            AuditedField::new("trigger.consecutive_failures", terms.map(|terms| terms.consecutive_failures)),
        ];
        thing(ThingKind::Playbook, id.get(), Some(name.as_str()), fields)
    }
}

impl Configurable for Trigger {
    fn configured(&self) -> Configured {
        let Self { id, playbook_id, terms, enabled, revision: _ } = self;
        let TriggerTerms { service_pattern, consecutive_failures } = terms;
        let fields = vec![
            AuditedField::new("playbook_id", playbook_id.get()),
            AuditedField::new("service_pattern", AuditedValue::text(service_pattern)),
            AuditedField::new("consecutive_failures", *consecutive_failures),
            AuditedField::new("enabled", *enabled),
        ];
        thing(ThingKind::Trigger, id.get(), None, fields)
    }
}

impl Configurable for Script {
    fn configured(&self) -> Configured {
        let Self { id, name, content, interpreter, timeout_seconds, revision: _ } = self;
        let fields = vec![
            AuditedField::new("name", AuditedValue::text(name)),
            AuditedField::document("content", content),
            AuditedField::new("interpreter", AuditedValue::text(interpreter.as_str())),
            AuditedField::new("timeout_seconds", *timeout_seconds),
        ];
        thing(ThingKind::Script, id.get(), Some(name.as_str()), fields)
    }
}

impl Configurable for Secret {
    fn configured(&self) -> Configured {
        let Self { id, name, description, uses: SecretUses { hosts, scripts }, sealed, revision: _ } = self;
        let fields = vec![
            AuditedField::new("name", AuditedValue::text(name)),
            AuditedField::new("description", AuditedValue::optional(description.as_ref())),
            AuditedField::new("allowed_hosts", AuditedValue::list(hosts)),
            AuditedField::new("allowed_scripts", AuditedValue::list(scripts)),
            AuditedField::secret("value", sealed.bytes()),
        ];
        thing(ThingKind::Secret, id.get(), Some(name.as_str()), fields)
    }
}
