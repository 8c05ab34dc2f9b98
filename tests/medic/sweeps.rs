//! A sweep among calls that hang, a queue that fails, and an index that lags: nothing waits for what it does not need, and
//! what was not done is done later.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use domain::ServiceId;
use harness::{System, start_of_time};
use local::{Fate, Fates, Lag};
use operations::{Medic, Swept};
use outbound::{Wake, WakeError, Wakes};
use serde_json::json;
use store::Key;
use tokio::sync::watch;

/// Wake-ups that were sent, and how many of the next ones cannot be.
#[derive(Debug)]
struct SentWakes {
    sent: watch::Sender<Vec<Wake>>,
    failing: AtomicUsize,
}

impl SentWakes {
    fn new(failing: usize) -> Arc<Self> {
        Arc::new(Self { sent: watch::Sender::default(), failing: AtomicUsize::new(failing) })
    }

    fn take(&self) -> Vec<Wake> {
        self.sent.send_replace(Vec::new())
    }

    async fn until_a_lane_is_woken(&self) {
        let is_lane = |wake: &Wake| matches!(wake, Wake::Lane { .. });
        drop(self.sent.subscribe().wait_for(|sent| sent.iter().any(is_lane)).await.unwrap());
    }
}

#[async_trait]
impl Wakes for SentWakes {
    async fn wake(&self, wake: Wake, _: DateTime<Utc>) -> Result<(), WakeError> {
        let left = self.failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() {
            return Err(WakeError("no answer".into()));
        }
        self.sent.send_modify(|sent| sent.push(wake));
        Ok(())
    }

    /// As on AWS.
    fn arrival(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.trunc_subsecs(0) + TimeDelta::seconds(1)
    }
}

/// A table whose transactions hang that name a text, until they are let go.
struct Hanging {
    text: String,
    let_go: watch::Receiver<bool>,
}

impl Fates for Hanging {
    fn of(&self, operation: &str, body: &[u8]) -> Fate {
        let is_it = operation == "TransactWriteItems" && String::from_utf8_lossy(body).contains(&self.text);
        let mut let_go = self.let_go.clone();
        if !is_it {
            return Fate::Served;
        }
        Fate::Before(Box::pin(async move { drop(let_go.wait_for(|go| *go).await) }))
    }
}

/// A table whose indexes show what was moved at both places, for as long as the clock stands.
struct Lagging(Mutex<Vec<String>>);

impl Fates for Lagging {
    fn of(&self, _: &str, _: &[u8]) -> Fate {
        Fate::Served
    }

    fn lag(&self, pk: &str, _: &str) -> Option<Lag> {
        self.0.lock().unwrap().push(pk.to_owned());
        Some(Lag { until: start_of_time() + TimeDelta::hours(1), shows_both: true })
    }

    fn now(&self) -> DateTime<Utc> {
        start_of_time()
    }
}

/// Registers services until so many are in one shard, and returns that shard. Those must report every minute.
async fn services_in_one_shard(system: &System, many: usize) -> u8 {
    let shard_of = |id| Key::service(ServiceId::new(id)).shard();
    let shard = shard_of(1);
    let mut found = 0;
    for id in 1.. {
        let seconds = if shard_of(id) == shard { 60.0 } else { 86_400.0 };
        assert_eq!(system.register(&format!("w-{id}"), seconds, json!({})).await, id);
        found += usize::from(shard_of(id) == shard);
        if found == many {
            break;
        }
    }
    shard
}

/// Sweeps a shard as of some seconds from the start, until when Medic heard.
async fn sweep_at(system: &System, medic: &Medic, shard: u8, seconds: i64) -> Swept {
    let at = start_of_time() + TimeDelta::seconds(seconds);
    system.keep_pulse(at).await;
    medic.sweep_part(shard, &|| at).await.unwrap()
}

#[tokio::test]
async fn who_is_notified_of_a_row_does_not_wait_for_a_row_that_hangs() {
    let system = System::start().await;
    let shard = services_in_one_shard(&system, 2).await;
    let (go, let_go) = watch::channel(false);
    let hanging = Hanging { text: "w-1\"".to_owned(), let_go };
    let wakes = SentWakes::new(0);
    let dynamodb = system.service.dynamodb().with_fates(Arc::new(hanging));
    let medic = system.instance_with(&dynamodb, Arc::clone(&wakes) as Arc<dyn Wakes>);
    let sweeping = sweep_at(&system, &medic, shard, 61);
    let woken = tokio::time::timeout(Duration::from_secs(20), wakes.until_a_lane_is_woken());
    let mut sweeping = std::pin::pin!(sweeping);
    tokio::select! {
        swept = &mut sweeping => panic!("the sweep did not wait: {swept:?}"),
        woken = woken => woken.expect("a wake-up while the other row hangs"),
    }
    go.send_replace(true);
    let swept = sweeping.await;
    assert_eq!((swept.handled, swept.failed), (2, 0));
}

#[tokio::test]
async fn a_wake_up_that_could_not_be_sent_is_sent_by_the_next_tick_and_then_no_more() {
    let system = System::start().await;
    let shard = services_in_one_shard(&system, 1).await;
    let wakes = SentWakes::new(1);
    let medic = system.instance_with(system.service.dynamodb(), Arc::clone(&wakes) as Arc<dyn Wakes>);
    let mut sent = Vec::new();
    for seconds in 0..3 {
        sweep_at(&system, &medic, shard, seconds).await;
        sent.push(wakes.take());
    }
    let at = start_of_time() + TimeDelta::seconds(61);
    let wake = Wake::Shard { shard, until_ms: at.timestamp_millis() };
    assert_eq!(sent, [vec![], vec![wake], vec![]]);
}

#[tokio::test]
async fn a_wake_up_that_comes_early_by_a_slow_clock_is_sent_again() {
    let system = System::start().await;
    let shard = services_in_one_shard(&system, 1).await;
    let wakes = SentWakes::new(0);
    let medic = system.instance_with(system.service.dynamodb(), Arc::clone(&wakes) as Arc<dyn Wakes>);
    sweep_at(&system, &medic, shard, 0).await;
    let sent = wakes.take();
    let at = start_of_time() + TimeDelta::seconds(61);
    let slow = || at - TimeDelta::seconds(2);
    assert_eq!(medic.sweep_shard(shard, at, &slow).await.unwrap().handled, 0);
    assert_eq!((sent.len(), wakes.take()), (1, sent));
    assert_eq!(medic.sweep_shard(shard, at, &|| at).await.unwrap().handled, 1);
}

#[tokio::test]
async fn a_sweep_whose_time_is_up_leaves_the_rest_to_another_one() {
    let system = System::start().await;
    let shard = services_in_one_shard(&system, 5).await;
    let wakes = SentWakes::new(0);
    let medic = system.instance_with(system.service.dynamodb(), Arc::clone(&wakes) as Arc<dyn Wakes>);
    let began = start_of_time() + TimeDelta::seconds(61);
    system.keep_pulse(began + TimeDelta::minutes(5)).await;
    // Each look at the clock takes 4 s.
    let looks = AtomicI64::new(0);
    let slow = || began + TimeDelta::seconds(4 * looks.fetch_add(1, Ordering::Relaxed));
    let rest_from = || {
        wakes.take().into_iter().find_map(|wake| {
            let Wake::Shard { shard: of, until_ms } = wake else { return None };
            DateTime::from_timestamp_millis(until_ms).filter(|_| of == shard)
        })
    };
    let swept = medic.sweep_part(shard, &slow).await.unwrap();
    assert_eq!((swept.handled, swept.failed, system.open_alerts().await), (2, 0, 2));
    for alerts in [4, 5] {
        let until = rest_from().expect("a wake-up for the rest");
        assert_eq!(medic.sweep_shard(shard, until, &slow).await.unwrap().failed, 0);
        assert_eq!(system.open_alerts().await, alerts);
    }
}

#[tokio::test]
async fn a_row_that_the_index_shows_at_its_old_place_and_at_its_new_one_is_counted_once() {
    let system = System::start().await;
    let shard = services_in_one_shard(&system, 2).await;
    let lagging = Arc::new(Lagging(Mutex::default()));
    let dynamodb = system.service.dynamodb().with_fates(Arc::clone(&lagging) as Arc<dyn Fates>);
    let wakes = SentWakes::new(0);
    let medic = system.instance_with(&dynamodb, wakes as Arc<dyn Wakes>);
    // Their alerts open, and the rows move to when they are counted again.
    assert_eq!(sweep_at(&system, &medic, shard, 61).await.handled, 2);
    assert!(lagging.0.lock().unwrap().contains(&"service#1".to_owned()));
    // By then the index shows both places of each row.
    assert_eq!(sweep_at(&system, &medic, shard, 122).await.failed, 0);
    let alerts = system.get("/v2/alerts").await;
    let alerts = alerts.results()["items"].as_array().unwrap().iter();
    assert_eq!(alerts.map(|alert| alert["alert_cycle"].as_i64().unwrap()).collect::<Vec<_>>(), [2, 2]);
}
