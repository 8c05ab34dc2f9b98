//! What queries cost by the number of services that exist: it may depend on what they return, and not on what exists.

use std::time::Instant;

use futures::stream::{self, StreamExt as _};
use harness::System;
use serde_json::json;

use crate::figure::Figure;
use crate::scale::Copies;

const DAY: f64 = 86_400.0;
/// How often each query is timed.
const REPETITIONS: u32 = 20;

const QUERIES: [(&str, &str); 7] = [
    ("a page of services", "/v2/services?limit=50"),
    ("a service", "/v2/services/1"),
    ("its statistics", "/v2/services/1/stats"),
    ("its heartbeats", "/v2/services/1/heartbeats?limit=50"),
    ("a page of alerts", "/v2/alerts?limit=50"),
    ("a page of the audit log", "/v2/audit-logs?limit=50"),
    ("the audit log of a service", "/v2/audit-logs?service_id=1&limit=50"),
];

pub(crate) async fn figures() -> Vec<Figure> {
    let system = System::start().await;
    system.register("service", DAY, json!({})).await;
    for n in 0..100 {
        system.heartbeat("service", "UP").await;
        system.post("/v2/heartbeat/1/complete", json!({"run_id": format!("r{n}")})).await;
        system.patch("/v2/services/1", json!({"runbook": format!("https://runbooks.example/{n}")})).await;
    }
    for n in 0..60 {
        system.register(&format!("first-{n}"), DAY, json!({})).await;
        system.heartbeat(&format!("first-{n}"), "DOWN").await;
    }
    let copies = Copies::of(&system).await;
    let mut figures = Vec::new();
    let mut first: Vec<f64> = Vec::new();
    let mut existing = 61;
    for services in [1_000, 10_000, 100_000] {
        stream::iter(existing + 1..=services).for_each(|id| copies.create(id)).await;
        existing = services;
        for (n, (what, path)) in QUERIES.into_iter().enumerate() {
            system.service.dynamodb().measure();
            assert_eq!(system.get(path).await.status, 200, "{path}");
            let units = system.service.dynamodb().units();
            let began = Instant::now();
            for _ in 0..REPETITIONS {
                system.get(path).await;
            }
            let took = (began.elapsed() / REPETITIONS).as_secs_f64() * 1e3;
            if first.len() <= n {
                first.push(units.read);
            }
            let name = format!("{what}, {services} services");
            figures.push(Figure::new(&name, units.read, "read units").at_most(first[n]));
            figures.push(Figure::new(&name, took, "ms"));
        }
    }
    figures
}
