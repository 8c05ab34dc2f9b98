//! A real process that is killed while a playbook runs, at moments that differ from run to run.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

use futures::future::join_all;
use harness::{Process, Receivers};
use serde_json::{Value, json};

/// A step whose worker died is retried within a minute of its own timeout, and there are three such steps.
const PATIENCE: Duration = Duration::from_mins(4);
/// How long an execution takes without a kill, and some more, so that kills come before, in and after each step.
const DURATION: Duration = Duration::from_secs(9);
const KILLS: usize = 30;

fn playbook(hook: &str) -> String {
    format!(
        r#"
name: restart
trigger: {{ service_pattern: "w" }}
steps:
  - {{ name: restart, type: webhook, url: "{hook}", timeout: 20s }}
  - {{ name: settle, type: wait, duration: 1s }}
  - {{ name: clear, type: script, script: clear, timeout: 15s }}
  - {{ name: verify, type: condition, check: heartbeat_received, timeout: 200s }}
"#
    )
}

/// Runs the playbook, with the process killed and started again after so long.
async fn execute(killed_after: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let receivers = Receivers::start().await;
    let mut environment = receivers.environment();
    environment.push(("MEDIC_ALLOW_PRIVATE_HOSTS", "true".to_owned()));
    let process = Process::start(folder.path(), &environment).await;
    let script = json!({"name": "clear", "interpreter": "bash", "content": "echo cleared"});
    assert!(process.post("/v2/scripts", script).await);
    assert!(process.post("/v2/playbooks", json!({"yaml": playbook(&receivers.hook())})).await);
    let register = json!({"heartbeat_name": "w", "service_name": "w", "alert_interval": 60});
    assert!(process.post("/v2/services", register).await);
    assert!(process.post("/heartbeat", json!({"heartbeat_name": "w", "status": "DOWN"})).await);
    #[expect(clippy::disallowed_methods, reason = "the moment of the kill is the input of this test")]
    tokio::time::sleep(killed_after).await;
    process.kill();

    let process = Process::start(folder.path(), &environment).await;
    let end = Instant::now() + PATIENCE;
    let execution = loop {
        // It reports again and again: some heartbeat comes while the last step waits for it, and some after that.
        process.post("/heartbeat", json!({"heartbeat_name": "w", "status": "UP"})).await;
        let page = process.get("/v2/executions").await;
        let items = page["results"]["items"].as_array().unwrap().clone();
        if let [execution] = items.as_slice()
            && execution["completed_at"] != Value::Null
        {
            break execution.clone();
        }
        assert!(items.len() <= 1, "once for an alert and a trigger; killed after {killed_after:?}: {items:?}");
        assert!(Instant::now() < end, "killed after {killed_after:?}, it never ended: {items:?}");
        #[expect(clippy::disallowed_methods, reason = "the process is another one, with a clock of its own")]
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert_eq!(execution["status"], "completed", "killed after {killed_after:?}: {execution}");
    let id = execution["execution_id"].as_str().unwrap();
    let page = process.get(&format!("/v2/audit-logs?execution_id={id}")).await;
    let mut log: Vec<_> = page["results"]["items"].as_array().unwrap().iter().map(entry).collect();
    log.reverse();
    let steps = ["restart", "settle", "clear", "verify"].map(|step| format!("step_completed {step}"));
    let whole = ["execution_started ".to_owned()].into_iter().chain(steps).chain(["execution_completed ".to_owned()]);
    assert_eq!(log, whole.collect::<Vec<_>>(), "killed after {killed_after:?}");
    let keys: Vec<_> = receivers
        .arrivals()
        .iter()
        .filter(|arrival| arrival.receiver == "webhook")
        .map(|arrival| arrival.headers["idempotency-key"].to_str().unwrap().to_owned())
        .collect();
    assert!(!keys.is_empty() && keys.iter().all(|key| *key == format!("{id}-0")), "{keys:?}");
}

fn entry(entry: &Value) -> String {
    let step = entry["details"]["step_name"].as_str().unwrap_or_default();
    format!("{} {step}", entry["action_type"].as_str().unwrap())
}

/// Returns a random moment of the execution.
fn moment() -> Duration {
    let millis = u64::try_from(DURATION.as_millis()).unwrap();
    Duration::from_millis(RandomState::new().build_hasher().finish() % millis)
}

// The receivers answer while a start blocks its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_of_an_execution_records_each_step_once() {
    let moments: Vec<_> = std::iter::repeat_with(moment).take(KILLS).collect();
    join_all(moments.into_iter().map(execute)).await;
}
