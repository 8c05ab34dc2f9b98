//! How fast messages may follow one another to a receiver that accepts one a second.

use chrono::{DateTime, TimeDelta, Utc};

/// What a receiver was sent lately: a token bucket that gets one message back each second. Over any span of seconds it is
/// sent no more messages than seconds, and the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub last_at: DateTime<Utc>,
    /// When the bucket will be full again, if nothing more is sent.
    pub full_at: DateTime<Utc>,
}

impl Pace {
    /// The number of messages in a full bucket.
    pub const BUCKET: i32 = 10;
    /// Those of them that follow one another at once.
    const AT_ONCE: i32 = 5;
    /// The span between the others: somewhat less than a second, so that where notifications keep coming, none waits a
    /// whole one for the first half a minute.
    const APART: TimeDelta = TimeDelta::milliseconds(900);

    /// Returns when the next message may be sent.
    pub fn next_at(&self) -> DateTime<Utc> {
        let has_left = |left: i32| self.full_at - TimeDelta::seconds((left - 1).into());
        has_left(Self::AT_ONCE).min(self.last_at + Self::APART).max(has_left(Self::BUCKET))
    }

    /// Returns the pace after one more message, sent at `now`.
    #[must_use]
    pub fn and_one(before: Option<Self>, now: DateTime<Utc>) -> Self {
        let full_at = before.map_or(now, |before| before.full_at.max(now));
        Self { last_at: now, full_at: full_at + TimeDelta::seconds(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    /// Returns when messages are sent, in milliseconds, if there always is one to be sent.
    fn sent(many: usize) -> Vec<i64> {
        let (mut pace, mut now, mut sent) = (None::<Pace>, start(), Vec::new());
        for _ in 0..many {
            now = pace.map_or(now, |pace| pace.next_at().max(now));
            sent.push((now - start()).num_milliseconds());
            pace = Some(Pace::and_one(pace, now));
        }
        sent
    }

    #[test]
    fn a_few_go_at_once_and_then_one_a_second() {
        let sent = sent(100);
        assert_eq!(sent[..7], [0, 0, 0, 0, 0, 900, 1_800]);
        let spans: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(spans[90..], [1_000; 9]);
        assert_eq!(spans.iter().filter(|span| **span == 900).count(), 50);
    }

    #[test]
    fn no_span_has_more_than_its_seconds_and_the_bucket() {
        let sent = sent(200);
        for (n, first) in sent.iter().enumerate() {
            for (more, last) in sent[n..].iter().enumerate() {
                let max = (last - first) / 1_000 + i64::from(Pace::BUCKET);
                assert!(i64::try_from(more).unwrap() < max, "{more} after {first} until {last}");
            }
        }
    }

    #[test]
    fn a_quiet_while_fills_the_bucket_and_no_more() {
        let many = (0..8).fold(None, |pace, _| Some(Pace::and_one(pace, start()))).unwrap();
        let later = start() + TimeDelta::hours(1);
        assert_eq!(Pace::and_one(Some(many), later), Pace::and_one(None, later));
        assert!(many.next_at() > start() && many.next_at() < start() + TimeDelta::seconds(1));
    }
}
