//! Scripts whose workers die holding their jobs, and reports that cannot be recorded. Needs `medic-local`.

use harness::System;
use local::{Fault, Queue};
use serde_json::{Value, json};

/// Calls of one write, after which it has failed.
const ATTEMPTS: usize = 5;

/// Starts a playbook of one script, which may take 20 s, and returns its execution.
async fn execute(system: &System) -> String {
    let script = json!({"name": "clear", "interpreter": "bash", "content": "echo cleared"});
    assert_eq!(system.post("/v2/scripts", script).await.status, 201);
    let yaml = "name: repair\nsteps:\n  - { name: clear, type: script, script: clear, timeout: 20s }\n";
    assert_eq!(system.post("/v2/playbooks", json!({"yaml": yaml})).await.status, 201);
    let started = system.post("/v2/playbooks/1/execute", json!({})).await;
    assert_eq!(started.status, 201, "{started}");
    started.results()["execution_id"].as_str().unwrap().to_owned()
}

/// Returns the one step of an execution.
async fn step(system: &System, execution: &str) -> Value {
    system.get(&format!("/v2/executions/{execution}")).await.results()["steps"][0].clone()
}

#[tokio::test]
async fn a_script_whose_worker_died_runs_again_within_a_minute_of_its_timeout() {
    for deaths in [1, 4] {
        let system = System::start_with_scripts(&[]).await;
        system.service.lose_workers(Queue::Script, deaths);
        let execution = execute(&system).await;
        assert_eq!(step(&system, &execution).await["status"], "running");
        system.seconds((20 + 60) * i64::try_from(deaths).unwrap()).await;
        let step = step(&system, &execution).await;
        assert_eq!((&step["status"], &step["output"]), (&json!("completed"), &json!("cleared\n")), "{deaths}: {step}");
    }
}

#[tokio::test]
async fn a_report_that_could_not_be_recorded_is_recorded_within_seconds() {
    for failures in [1, 3] {
        let system = System::start_with_scripts(&[]).await;
        // The result of a step is written with the report, and nothing else writes it.
        system.service.dynamodb().fail_writes_holding("step#00", Fault::Internal, failures * ATTEMPTS);
        let execution = execute(&system).await;
        assert_eq!(step(&system, &execution).await["status"], "running");
        system.seconds(10).await;
        let step = step(&system, &execution).await;
        assert_eq!(
            (&step["status"], &step["output"]),
            (&json!("completed"), &json!("cleared\n")),
            "{failures}: {step}"
        );
    }
}
