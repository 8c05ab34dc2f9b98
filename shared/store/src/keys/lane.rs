//! The lane of a receiver: the partition in which what it is sent waits in order.

use std::fmt;

use domain::{Receiver, TargetKind};

/// The ordered queue of one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane(String);

impl Lane {
    /// Returns the lane of a receiver.
    pub fn of(receiver: &Receiver) -> Self {
        Self(match receiver {
            Receiver::Slack { channel } => format!("lane#slack#{channel}"),
            Receiver::PagerDuty { service_id } => format!("lane#pagerduty#{service_id}"),
            Receiver::Target { kind, service_id, target_id } => {
                format!("lane#target#{}#{service_id}#{target_id}", kind.as_str())
            }
            Receiver::Webhook { webhook_id } => format!("lane#webhook#{webhook_id}"),
        })
    }

    /// Reads a lane as it is written, if its receiver is of a known kind.
    pub fn parse(text: &str) -> Option<Self> {
        Self(text.to_owned()).receiver().map(|_| Self(text.to_owned()))
    }

    /// Returns whose lane it is.
    pub fn receiver(&self) -> Option<Receiver> {
        let (kind, address) = self.0.strip_prefix("lane#")?.split_once('#')?;
        match kind {
            "slack" => Some(Receiver::Slack { channel: address.to_owned() }),
            "pagerduty" => Some(Receiver::PagerDuty { service_id: address.parse().ok()? }),
            "target" => {
                let (kind, ids) = address.split_once('#')?;
                let (service_id, target_id) = ids.split_once('#')?;
                let kind = kind.parse::<TargetKind>().ok()?;
                Some(Receiver::Target {
                    kind,
                    service_id: service_id.parse().ok()?,
                    target_id: target_id.parse().ok()?,
                })
            }
            "webhook" => Some(Receiver::Webhook { webhook_id: address.parse().ok()? }),
            _ => None,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
