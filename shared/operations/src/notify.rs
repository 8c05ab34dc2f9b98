//! Drains a lane: sends what one receiver is owed, in order, one sender at a time.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{GIVE_UP_AFTER, Notice, NoticeKind, Outcome, Receiver, retry_delay};
use outbound::{Delivery, Slack, Wake};
use store::{Commit, Lane, LaneEntry};

use crate::medic::SlackDelivery;
use crate::{Error, Medic};

/// What one step in a lane came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing is left, or somebody else holds the lane.
    Done,
    /// There may be more.
    More,
}

/// A sender that dies frees its lane after this; longer than a send can take.
const LEASE: TimeDelta = TimeDelta::seconds(30);
/// The most notices in one Slack message.
const GROUP: i32 = 10;
/// Slack takes about one message a second for each channel. <https://docs.slack.dev/apis/web-api/rate-limits>
const SLACK_PACE: TimeDelta = TimeDelta::seconds(1);

impl Medic {
    /// Sends what comes next in a lane.
    pub async fn drain(&self, lane: &Lane, now: DateTime<Utc>) -> Result<Drained, Error> {
        let Some(receiver) = lane.receiver() else {
            return Err(Error::NotFound(format!("No receiver has the lane {lane}")));
        };
        let entries = self.table.lane(lane, GROUP).await?;
        let Some(first) = entries.first() else {
            return Ok(Drained::Done);
        };
        if first.held_until.is_some_and(|until| until > now) {
            return Ok(Drained::Done);
        }
        let lease = now + LEASE;
        if self.table.hold(lane, first, now, lease).await? == Commit::Refused {
            return Ok(Drained::Done);
        }
        let group = match receiver {
            Receiver::Slack { .. } => entries.as_slice(),
            Receiver::PagerDuty { .. } => &entries[..1],
        };
        let notices = self.still_owed(lane, &receiver, group, now).await?;
        if notices.is_empty() {
            return Ok(Drained::More);
        }
        let delivery = self.send(&receiver, &notices, now).await?;
        if let Delivery::Retry { error, after } = &delivery {
            let expired = now - notices[0].at >= GIVE_UP_AFTER;
            if !expired {
                self.try_again(lane, first, lease, now, *after).await?;
                tracing::warn!(%lane, attempts = first.attempts + 1, %error, "a notice was not taken; it is tried again");
                return Ok(Drained::Done);
            }
        }
        self.settle(lane, &receiver, &notices, &delivery, now).await?;
        let more = i32::try_from(entries.len()).unwrap_or(GROUP) == GROUP;
        if more && matches!(receiver, Receiver::Slack { .. }) {
            self.pace(lane, now).await?;
            return Ok(Drained::Done);
        }
        Ok(Drained::More)
    }

    /// Leaves the rest of a lane to another message.
    pub async fn drain_later(&self, lane: &Lane, now: DateTime<Utc>) {
        self.wake(Wake::Lane { lane: lane.to_string() }, now).await;
    }

    /// The notices of these entries that are still to be sent; the others leave the lane.
    async fn still_owed(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        entries: &[LaneEntry],
        now: DateTime<Utc>,
    ) -> Result<Vec<Notice>, Error> {
        let mut owed = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(notice) = self.table.notice(entry.alert_id, entry.notice_id).await? else {
                tracing::error!(%lane, alert.id = %entry.alert_id, "a lane names a notice that is gone");
                self.table.leave_lane(lane, entry.notice_id).await?;
                continue;
            };
            let sent = notice.outcomes.iter().any(|outcome| outcome.receiver == *receiver && outcome.at.is_some());
            if sent {
                self.table.leave_lane(lane, entry.notice_id).await?;
            } else if self.is_overtaken(&notice).await? {
                let error = Some("overtaken by what came after it".to_owned());
                let outcome = Outcome { receiver: receiver.clone(), at: Some(now), error };
                self.finish(lane, &notice, &outcome).await?;
            } else {
                owed.push(notice);
            }
        }
        Ok(owed)
    }

    /// Whether a notice of passing interest is of none any more.
    async fn is_overtaken(&self, notice: &Notice) -> Result<bool, Error> {
        if !notice.kind.is_passing() {
            return Ok(false);
        }
        let Some(alert) = self.table.alert(notice.alert.id).await? else {
            return Ok(true);
        };
        let newer = notice.kind == NoticeKind::Reminder
            && (alert.cycle > notice.alert.cycle || alert.acknowledged_at.is_some());
        Ok(!alert.is_open() || newer)
    }

    async fn send(&self, receiver: &Receiver, notices: &[Notice], now: DateTime<Utc>) -> Result<Delivery, Error> {
        let base_url = self.settings.base_url.as_deref();
        match (receiver, &self.slack, &self.pagerduty) {
            (Receiver::Slack { channel }, SlackDelivery::Post(slack), _) => {
                let delivery = slack.post(channel, notices, base_url).await;
                metrics::counter!("medic_slack_requests_total", "status" => delivery.label()).increment(1);
                Ok(delivery)
            }
            (Receiver::Slack { .. }, SlackDelivery::Print { keep }, _) => {
                for notice in notices {
                    let line = Slack::line(notice);
                    tracing::info!(alert.id = %notice.alert.id, "notice: {line}");
                    if *keep {
                        self.table.print(notice.id, &line, now + TimeDelta::days(30)).await?;
                    }
                }
                Ok(Delivery::Accepted)
            }
            (Receiver::PagerDuty { .. }, _, Some(pagerduty)) => {
                let mut delivery = Delivery::Accepted;
                for notice in notices {
                    delivery = pagerduty.send(notice, base_url).await;
                    metrics::counter!("medic_pagerduty_requests_total", "status" => delivery.label()).increment(1);
                }
                Ok(delivery)
            }
            (Receiver::PagerDuty { .. }, _, None) => {
                Ok(Delivery::Refused { error: "PagerDuty is not set up".to_owned() })
            }
        }
    }

    async fn try_again(
        &self,
        lane: &Lane,
        first: &LaneEntry,
        lease: DateTime<Utc>,
        now: DateTime<Utc>,
        after: Option<TimeDelta>,
    ) -> Result<(), Error> {
        let attempts = first.attempts.saturating_add(1);
        let at = now + retry_delay(attempts).max(after.unwrap_or_default());
        // Refused, the lease ran out and somebody else has the lane.
        if self.table.back_off(lane, first, lease, at, attempts).await? == Commit::Done {
            self.wake(Wake::Lane { lane: lane.to_string() }, at).await;
        }
        Ok(())
    }

    async fn settle(
        &self,
        lane: &Lane,
        receiver: &Receiver,
        notices: &[Notice],
        delivery: &Delivery,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let error = match delivery {
            Delivery::Accepted => None,
            Delivery::Refused { error } => Some(error.clone()),
            Delivery::Retry { error, .. } => Some(format!("given up after 24 hours: {error}")),
        };
        for notice in notices {
            if let Some(error) = &error {
                metrics::counter!("medic_notices_failed_total", "receiver" => receiver.kind()).increment(1);
                tracing::error!(%lane, alert.id = %notice.alert.id, %error, "a notice was not delivered");
            }
            let outcome = Outcome { receiver: receiver.clone(), at: Some(now), error: error.clone() };
            self.finish(lane, notice, &outcome).await?;
        }
        Ok(())
    }

    /// Records an outcome, and then takes the entry out of its lane: a crash between the two is seen by the next sender.
    async fn finish(&self, lane: &Lane, notice: &Notice, outcome: &Outcome) -> Result<(), Error> {
        // Refused, it was recorded before.
        let _recorded: Commit = self.table.settle(notice, outcome).await?;
        self.table.leave_lane(lane, notice.id).await?;
        Ok(())
    }

    /// Keeps a lane with more to send at its receiver's pace.
    async fn pace(&self, lane: &Lane, now: DateTime<Utc>) -> Result<(), Error> {
        let at = now + SLACK_PACE;
        if let Some(next) = self.table.lane(lane, 1).await?.first()
            && self.table.hold(lane, next, now, at).await? == Commit::Done
        {
            self.wake(Wake::Lane { lane: lane.to_string() }, at).await;
        }
        Ok(())
    }
}
