//! What can go wrong around one operation: something happens in its midst, or its wake-ups are lost.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use local::{DynamoDb, Fate, Fates, Lag, Wait};
use outbound::{Wake, WakeError, Wakes};

/// What happens once, and when.
struct Interleaved {
    named: &'static str,
    act: Mutex<Option<Wait>>,
}

impl Fates for Interleaved {
    fn of(&self, _: &str, body: &[u8]) -> Fate {
        let is_named = body.windows(self.named.len()).any(|part| part == self.named.as_bytes());
        let act = is_named.then(|| self.act.lock().unwrap_or_else(PoisonError::into_inner).take()).flatten();
        act.map_or(Fate::Served, Fate::Before)
    }
}

/// Returns the same tables for a client in whose midst `act` happens: before its first call that holds `named`.
pub fn interleaved(
    dynamodb: &DynamoDb,
    named: &'static str,
    act: impl Future<Output = ()> + Send + 'static,
) -> DynamoDb {
    dynamodb.with_fates(Arc::new(Interleaved { named, act: Mutex::new(Some(Box::pin(act))) }))
}

/// Changes of some rows that readers who do not read consistently see late.
struct Stale {
    named: &'static str,
    now: DateTime<Utc>,
}

impl Fates for Stale {
    fn of(&self, _: &str, _: &[u8]) -> Fate {
        Fate::Served
    }

    fn lag(&self, _: &str, sk: &str) -> Option<Lag> {
        sk.contains(self.named).then(|| Lag { until: self.now + TimeDelta::minutes(1), shows_both: false })
    }

    fn now(&self) -> DateTime<Utc> {
        self.now
    }
}

/// Returns the same tables for a client whose changes of rows with `named` in their sort key stay hidden from reads that are
/// not consistent.
pub fn stale(dynamodb: &DynamoDb, named: &'static str, now: DateTime<Utc>) -> DynamoDb {
    dynamodb.with_fates(Arc::new(Stale { named, now }))
}

/// Wake-ups that are all lost.
#[derive(Debug)]
pub struct Lost;

#[async_trait]
impl Wakes for Lost {
    async fn wake(&self, _: Wake, _: DateTime<Utc>) -> Result<(), WakeError> {
        Ok(())
    }

    fn arrival(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at
    }
}
