//! What a sweep costs when nothing is due, by the number of services that exist: it must always be the same.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use domain::ServiceId;
use futures::stream::{self, StreamExt as _};
use harness::{System, start_of_time};
use serde_json::json;
use store::{DueRow, Key};

use crate::figure::Figure;

/// One query for each shard of the due index.
const QUERIES: f64 = 16.0;
const DAY: f64 = 86_400.0;

pub(crate) async fn figures() -> Vec<Figure> {
    let system = System::start().await;
    system.register("service", DAY, json!({})).await;
    let copies = Copies::of(&system).await;
    let mut figures = Vec::new();
    let mut existing = 1;
    let mut first_read = None;
    for services in [100, 10_000, 100_000] {
        stream::iter(existing + 1..=services).for_each(|id| copies.create(id)).await;
        existing = services;
        system.service.settle().await;
        system.service.dynamodb().measure();
        let swept = system.service.medic().sweep(&start_of_time).await.expect("a sweep");
        assert_eq!((swept.handled, swept.failed), (0, 0), "nothing is due");
        let units = system.service.dynamodb().units();
        let requests = u32::try_from(units.requests).map(f64::from).expect("a few");
        let name = format!("sweep with nothing due, {services} services");
        let same = *first_read.get_or_insert(units.read);
        figures.push(Figure::new(&name, requests, "requests").at_most(QUERIES));
        figures.push(Figure::new(&name, units.read, "read units").at_most(same));
        figures.push(Figure::new(&name, units.write, "write units").at_most(0.0));
    }
    // All of them are in the index: a day later each is found.
    let due = system
        .service
        .medic()
        .table
        .due(0, start_of_time() + TimeDelta::days(2), None, Some(1_000))
        .await
        .expect("rows")
        .rows;
    assert_eq!(due.len(), 1_000, "the due index holds them");
    figures
}

/// The table's name in the local system.
const TABLE: &str = "medic";

type Item = HashMap<String, AttributeValue>;

fn attributes(key: Key) -> [(String, AttributeValue); 2] {
    [("pk", key.pk), ("sk", key.sk)].map(|(name, text)| (name.to_owned(), AttributeValue::S(text)))
}

/// The row that people edit, beside a service's state.
fn profile_key(id: ServiceId) -> Key {
    Key { sk: "profile".to_owned(), ..Key::service(id) }
}

async fn read(client: &Client, key: Key) -> Item {
    let output = client.get_item().table_name(TABLE).set_key(Some(attributes(key).into())).send().await;
    output.expect("a response").item.expect("a row")
}

/// Creates services like the first of a system.
pub(crate) struct Copies {
    client: Client,
    state: Item,
    profile: Item,
}

impl Copies {
    pub(crate) async fn of(system: &System) -> Self {
        let client = Client::from_conf(system.service.dynamodb().config().build());
        let first = ServiceId::new(1);
        let (state, profile) = (read(&client, Key::service(first)).await, read(&client, profile_key(first)).await);
        Self { client, state, profile }
    }

    pub(crate) async fn create(&self, id: i64) {
        copy(&self.client, &self.state, &self.profile, ServiceId::new(id)).await;
    }
}

/// Writes the rows of a service like the first, which is quicker than registering it.
async fn copy(client: &Client, state: &Item, profile: &Item, id: ServiceId) {
    let due = DueRow { key: Key::service(id), due_at: start_of_time() };
    let shard = AttributeValue::S(due.key.shard().to_string());
    for (item, key) in [(state, due.key), (profile, profile_key(id))] {
        let mut item = item.clone();
        item.extend(attributes(key));
        item.insert("list_sk".to_owned(), AttributeValue::S(format!("{id:0>19}")));
        item.entry("due_shard".to_owned()).and_modify(|old| *old = shard.clone());
        client.put_item().table_name(TABLE).set_item(Some(item)).send().await.expect("a write");
    }
}
