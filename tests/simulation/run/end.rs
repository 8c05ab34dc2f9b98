//! Lets a seed end quietly, and checks what came of it.

use chrono::TimeDelta;
use runtime::Clock as _;
use serde_json::{Value, json};

use super::{Outcome, Run};
use crate::check::{self, Check};
use crate::executions::ExecutionEvents;
use crate::observed::{self, Observed};

/// Longer than anything waits.
const DRAIN_TIME: TimeDelta = TimeDelta::days(8);

impl Run {
    pub(super) async fn end(mut self) -> Outcome {
        let end = self.cloud.time.now();
        for place in 0..self.services.len() {
            if !self.services[place].is_deleted() {
                let path = format!("/service/{}", self.services[place].name);
                self.request("POST", &path, json!({"active": 0})).await;
            }
        }
        for window in self.windows.clone() {
            self.request("DELETE", &format!("/v2/maintenance-windows/{window}"), Value::Null).await;
        }
        let later = end + DRAIN_TIME;
        while self.cloud.run_until(later).await.is_some() {}
        let observed = self.observe().await;
        self.cloud.keep_pulse(self.cloud.time.now()).await;
        let early = check::tolerance(self.cloud.seed.fault_level, &self.plan).early;
        let mut wrong = Vec::new();
        for service in &mut self.services {
            service.gaps.clone_from(&self.cloud.gaps);
            let own = || observed.alerts.iter().filter(|alert| alert["heartbeat_name"] == service.name);
            let of_runs: Vec<_> = own().filter(|alert| !alert["run_id"].is_null()).map(observed::job_alert).collect();
            let alerts: Vec<_> = own().filter(|alert| alert["run_id"].is_null()).map(observed::alert).collect();
            wrong.extend(service.learn_resolutions(&alerts, &of_runs, early));
        }
        for alert in &observed.alerts {
            self.trace.observed.push(format!(
                "alert {} of {}: {} to {}, cycle {}: {}",
                alert["alert_id"],
                alert["heartbeat_name"],
                alert["created_date"],
                alert["closed_date"],
                alert["alert_cycle"],
                alert["reason"]
            ));
        }
        for execution in &observed.executions {
            let (id, status) = (&execution.id, &execution.status);
            let line = format!("execution {id} of alert {}: {status} {:?}", execution.alert, execution.steps);
            self.trace.observed.push(line);
        }
        let (calls, attempts) = (self.cloud.receivers.calls(), self.cloud.queues.attempts());
        let events = ExecutionEvents { calls, attempts, commands: self.commands };
        let (plan, services) = (&self.plan, self.services.as_slice());
        let audiences = self.audiences.as_slice();
        let check = Check { cloud: &self.cloud, plan, services, observed: &observed, events: &events, audiences, end };
        wrong.extend(check.problems());
        let record = self.cloud.seed.take_record();
        Outcome { wrong, trace: self.trace, record }
    }

    /// Returns all that Medic shows at the end, oldest first.
    async fn observe(&mut self) -> Observed {
        let alerts = self.all("/v2/alerts?limit=250").await;
        let mut runs = Vec::new();
        for place in 0..self.services.len() {
            let path = format!("/v2/services/{}/runs?limit=250", self.services[place].id);
            let all = if self.services[place].is_deleted() { Vec::new() } else { self.all(&path).await };
            runs.push(all.iter().map(observed::run).collect());
        }
        let mut executions = Vec::new();
        for listed in self.all("/v2/executions?limit=250").await {
            let id = listed["execution_id"].as_str().unwrap();
            let execution = self.request("GET", &format!("/v2/executions/{id}"), Value::Null).await;
            let audited = self.all(&format!("/v2/audit-logs?limit=250&execution_id={id}")).await;
            executions.push(observed::execution(&execution, &audited));
        }
        let deliveries = self.all("/v2/webhook-deliveries?limit=250").await.iter().map(observed::delivery).collect();
        let mut heartbeats = Vec::new();
        for place in 0..self.services.len() {
            let path = format!("/v2/services/{}/heartbeats?limit=250", self.services[place].id);
            let all = if self.services[place].is_deleted() { Vec::new() } else { self.all(&path).await };
            heartbeats.push(all.iter().map(observed::heartbeat).collect());
        }
        Observed { alerts, runs, executions, deliveries, heartbeats }
    }

    /// Returns all pages of a list, oldest first.
    async fn all(&mut self, path: &str) -> Vec<Value> {
        let (mut items, mut page) = (Vec::new(), path.to_owned());
        loop {
            let results = self.request("GET", &page, Value::Null).await;
            items.extend(results["items"].as_array().unwrap().iter().cloned());
            let Some(cursor) = results["next_cursor"].as_str() else { break };
            page = format!("{path}&cursor={cursor}");
        }
        items.reverse();
        items
    }
}
