//! What the senders of all kinds of lanes have in common.

use chrono::TimeDelta;
use domain::{Notification, Receiver};
use store::Lane;

/// What one step in a lane came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Nothing is left to do now.
    Done,
    /// There may be more.
    More,
}

/// A lane and the receiver whose it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiverLane<'a> {
    pub(super) lane: &'a Lane,
    pub(super) receiver: &'a Receiver,
}

/// Where another target waits for its turn, one that is to be tried again only after this has failed: by the delays of
/// `retry_delay` that is at the fourth attempt, some seven seconds and what each attempt takes after the first.
pub(super) const TOO_LONG_FOR_THE_NEXT: TimeDelta = TimeDelta::seconds(8);
/// The most notifications in one Slack message. Of more than a few it says their number and the first names.
pub(super) const GROUP: usize = 2_000;

/// Returns how many notifications a receiver takes in one message.
pub(super) const fn max_at_once(receiver: &Receiver) -> usize {
    if matches!(receiver, Receiver::Slack { .. }) { GROUP } else { 1 }
}

/// Returns whether nothing came of a notification at a receiver yet. A read may still show a turn as waiting that has come.
pub(super) fn is_pending(notification: &Notification, receiver: &Receiver) -> bool {
    notification.outcome(receiver).is_some_and(|outcome| outcome.at.is_none())
}
