//! A type per id, so that one kind cannot be passed for another.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::Invalid;

macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(i64);

        impl $name {
            /// Takes an id as a counter gave it: a whole number from 1.
            pub const fn new(value: i64) -> Self {
                Self(value)
            }

            /// Reads an id that a caller wrote as a number.
            pub fn read(value: i64) -> Result<Self, Invalid> {
                let problem = "must be a whole number from 1 to 9223372036854775807";
                if value > 0 { Ok(Self(value)) } else { Err(Invalid::new($field, problem)) }
            }

            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                // 0 is no id, nor is what is no number.
                Self::read(text.parse().unwrap_or_default())
            }
        }
    };
}

integer_id!(
    /// One thing that must report.
    ServiceId, "service_id"
);
integer_id!(
    /// One outage, from its opening to its close.
    AlertId, "alert_id"
);
integer_id!(
    /// One API key; part of the key itself.
    ApiKeyId, "api_key_id"
);
integer_id!(
    /// One key for pings.
    PingKeyId, "ping_key_id"
);
integer_id!(
    /// One team that owns services.
    TeamId, "team_id"
);
integer_id!(
    /// One week of hours.
    ScheduleId, "schedule_id"
);
integer_id!(
    /// One maintenance window.
    WindowId, "window_id"
);
integer_id!(
    /// One place where a service's alerts go.
    TargetId, "target_id"
);
integer_id!(
    /// One receiver of events.
    WebhookId, "webhook_id"
);
integer_id!(
    /// One playbook, whatever its version.
    PlaybookId, "playbook_id"
);
integer_id!(
    /// One rule that starts a playbook when services fail.
    TriggerId, "trigger_id"
);
integer_id!(
    /// One registered script.
    ScriptId, "script_id"
);
integer_id!(
    /// One secret of playbooks.
    SecretId, "secret_id"
);

/// Whose requests a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyId {
    Api(ApiKeyId),
    Ping(PingKeyId),
    /// All requests from this address.
    Address(IpAddr),
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(id) => id.fmt(f),
            Self::Ping(id) => write!(f, "ping-{id}"),
            Self::Address(address) => write!(f, "address-{address}"),
        }
    }
}

macro_rules! time_sorted_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Creates an id of the instant `at`; ids of one instant differ in random bits (UUID version 7, RFC 9562).
            pub fn at(at: DateTime<Utc>, random: [u8; 10]) -> Self {
                let millis = u64::try_from(at.timestamp_millis()).unwrap_or_default();
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// Returns where the ids of the instant `at` begin: no id of it sorts before this, and each of an earlier
            /// one does.
            pub fn first_of(at: DateTime<Utc>) -> Self {
                let millis = u128::try_from(at.timestamp_millis()).unwrap_or_default();
                Self(Uuid::from_u128(millis << 80))
            }

            /// Returns the greatest that sorts before this.
            #[must_use]
            pub fn just_before(self) -> Self {
                Self(Uuid::from_u128(self.0.as_u128().saturating_sub(1)))
            }

            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// Returns the instant that the id was created from, to the millisecond.
            pub fn time(self) -> DateTime<Utc> {
                // RFC 9562: the first 48 bits are milliseconds.
                let millis = self.0.as_u128() >> 80;
                crate::from_millis(i64::try_from(millis).unwrap_or_default())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Uuid::parse_str(text).map(Self).map_err(|_| Invalid::new($field, "must be a UUID"))
            }
        }
    };
}

time_sorted_id!(
    /// One heartbeat; sorts by the time at which Medic received it.
    HeartbeatId, "heartbeat_id"
);
time_sorted_id!(
    /// One notification; sorts in the order in which receivers must get it.
    NotificationId, "notification_id"
);
time_sorted_id!(
    /// One event on its way to one webhook; sorts by the time at which it happened.
    DeliveryId, "delivery_id"
);
time_sorted_id!(
    /// One run of a playbook; sorts by the time at which it began.
    ExecutionId, "execution_id"
);
time_sorted_id!(
    /// One press of a button in Slack; sorts by the time at which Medic received it.
    PressId, "press_id"
);
time_sorted_id!(
    /// One entry of the audit log; sorts by the time of what it records.
    LogId, "log_id"
);
