//! Scripts in the whole system: from the FIFO queue through the sandbox to the results queue.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use harness::System;
use outbound::{ScriptInterpreter, ScriptJob, ScriptReport, Seal, SealedVariables};
use runtime::Clock as _;

const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn job(system: &System, attempt: u32, content: &str) -> ScriptJob {
    ScriptJob {
        execution_id: "execution".to_owned(),
        step_index: 0,
        attempt,
        nonce: format!("nonce {attempt}"),
        playbook_id: 3,
        service_id: None,
        interpreter: ScriptInterpreter::Bash,
        content: content.to_owned(),
        environment: BTreeMap::from([("REGION".to_owned(), "eu".to_owned())]),
        sealed: None,
        timeout_seconds: 20,
        start_by_ms: (system.time.now() + TimeDelta::seconds(60)).timestamp_millis(),
    }
}

async fn reports(system: &System, jobs: &[ScriptJob]) -> Vec<ScriptReport> {
    for job in jobs {
        system.service.script_jobs().send_job(job).await.unwrap();
    }
    system.service.settle().await;
    assert_eq!(system.service.dead_letters().unwrap(), [""; 0]);
    system.service.script_reports()
}

#[tokio::test]
async fn a_script_runs_once_for_each_attempt_and_its_end_is_told_with_the_nonce() {
    let system = System::start().await;
    let first = job(&system, 1, "echo $REGION [$MEDIC_EXECUTION_ID] [$MEDIC_PLAYBOOK_ID] [$MEDIC_SERVICE_ID]");
    let second = job(&system, 2, "exit 3");
    let reports = reports(&system, &[first.clone(), first, second]).await;
    let told: Vec<_> = reports.iter().map(|one| (one.nonce.as_str(), one.exit, one.output.as_str())).collect();
    assert_eq!(told, [("nonce 1", Some(0), "eu [execution] [3] []\n"), ("nonce 2", Some(3), "")]);
}

#[tokio::test]
async fn a_sealed_secret_reaches_the_script_and_not_its_output() {
    let system = System::start_with(&[("MEDIC_SECRETS_KEY", KEY)], None).await;
    let mut job = job(&system, 1, "[ \"$TOKEN\" = 'Bearer hunter2' ] && echo \"$TOKEN\"");
    let variables = SealedVariables {
        environment: BTreeMap::from([("TOKEN".to_owned(), "Bearer hunter2".to_owned())]),
        secrets: vec!["hunter2".to_owned()],
    };
    job.seal(&Seal::new([7; 32]).unwrap(), &variables).unwrap();
    let reports = reports(&system, &[job]).await;
    assert_eq!((reports[0].exit, reports[0].output.as_str()), (Some(0), "Bearer ***\n"));
}

#[tokio::test]
async fn an_attempt_whose_time_has_passed_is_not_begun() {
    let system = System::start().await;
    let mut late = job(&system, 1, "true");
    late.start_by_ms = (system.time.now() - TimeDelta::milliseconds(1)).timestamp_millis();
    assert_eq!(reports(&system, &[late]).await, []);
}
