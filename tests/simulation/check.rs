//! Compares what Medic did with the model, and looks at what is left.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::cloud::Cloud;
use crate::fate::Weather;
use crate::model::{Alert, Service, Slack};
use crate::receivers::Taken;

/// How late Medic may be in a weather: without messages a row waits for the tick; and where ticks die and rows are put off,
/// for some of them.
fn slack(weather: Weather) -> Slack {
    match weather {
        Weather::Calm => Slack { late: TimeDelta::seconds(2), early: TimeDelta::zero() },
        Weather::Lossy => Slack { late: TimeDelta::seconds(62), early: TimeDelta::zero() },
        Weather::Stormy => Slack { late: TimeDelta::minutes(5), early: TimeDelta::seconds(60) },
    }
}

pub(crate) fn check(cloud: &Cloud, services: &[Service], alerts: &[Value], end: DateTime<Utc>) -> Vec<String> {
    let slack = slack(cloud.seed.weather);
    let mut wrong = Vec::new();
    for service in services {
        let own = alerts.iter().filter(|alert| alert["heartbeat_name"] == service.name);
        let own: Vec<_> = own.map(read).collect();
        wrong.extend(service.judge(&own, end, slack));
        wrong.extend(notices(cloud, service, &own));
    }
    wrong.extend(webhooks(&cloud.receivers.taken("webhook")));
    wrong.extend(cloud.left());
    wrong.extend(cloud.due_rows().into_iter().map(|(at, row)| format!("{row} is still due at {at}")));
    wrong
}

fn read(alert: &Value) -> Alert {
    let at = |name: &str| alert[name].as_str().map(|text| text.parse().unwrap());
    Alert {
        id: alert["alert_id"].as_i64().unwrap(),
        opened: at("created_date").unwrap(),
        closed: at("closed_date"),
        cycle: alert["alert_cycle"].as_i64().unwrap(),
    }
}

/// Whether each receiver took what it was owed.
fn notices(cloud: &Cloud, service: &Service, alerts: &[Alert]) -> Vec<String> {
    let mut wrong = Vec::new();
    // Where nobody dies or hears wrong, nothing is said twice.
    let is_exact = !cloud.is_stormy();
    let pagerduty = cloud.receivers.taken("pagerduty");
    let webhook = cloud.receivers.taken("webhook");
    for alert in alerts {
        let key = format!("medic-{}-{}", service.name, alert.id);
        let told: Vec<_> = pagerduty.iter().filter(|taken| taken.body["dedup_key"] == key.as_str()).collect();
        let actions: Vec<_> = told.iter().map(|taken| taken.body["event_action"].as_str().unwrap()).collect();
        let is_in_order = actions.first() == Some(&"trigger") && actions.last() == Some(&"resolve");
        if !is_in_order || actions.windows(2).any(|pair| pair == ["resolve", "trigger"]) {
            wrong.push(format!("PagerDuty took {actions:?} of alert {}", alert.id));
        }
        if is_exact && actions.len() != 2 {
            wrong.push(format!("PagerDuty was told twice of alert {}: {actions:?}", alert.id));
        }
        for event in ["alert.opened", "alert.resolved"] {
            let of_this = |taken: &&Taken| taken.body["type"] == event && taken.body["data"]["alert_id"] == alert.id;
            let taken = webhook.iter().filter(of_this).count();
            if is_exact && taken != 1 {
                wrong.push(format!("the webhook took {event} of alert {} {taken} times", alert.id));
            }
            let ids: BTreeSet<_> = webhook.iter().filter(of_this).map(|taken| taken.id.as_str()).collect();
            if ids.len() != 1 && !(cloud.is_stormy() && ids.is_empty()) {
                wrong.push(format!("the webhook took {event} of alert {} under the ids {ids:?}", alert.id));
            }
        }
    }
    let lines: Vec<_> = cloud
        .receivers
        .taken("slack")
        .iter()
        .filter_map(|taken| taken.body["text"].as_str().map(str::to_owned))
        .collect();
    for (what, owed) in
        [(format!("{} is down", service.name), alerts.len()), (format!("{} has recovered", service.name), alerts.len())]
    {
        let told = lines.iter().map(|text| text.matches(&what).count()).sum::<usize>();
        if told < owed || (is_exact && told != owed) {
            wrong.push(format!("Slack heard {told} times that {what}, and was owed {owed}"));
        }
    }
    wrong
}

/// Whether each id stands for one event.
fn webhooks(taken: &[Taken]) -> Vec<String> {
    let mut bodies: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for taken in taken {
        bodies.entry(taken.id.as_str()).or_default().insert(taken.body["data"].to_string());
    }
    let twice = bodies.into_iter().filter(|(_, bodies)| bodies.len() > 1);
    twice.map(|(id, bodies)| format!("the webhook took {id} for {bodies:?}")).collect()
}
