//! Runs playbooks: one step of one execution for each message, and the reports of scripts. It writes executions and
//! their results, and no services.

use domain::{AlertId, ExecutionId, PressId, TriggerId};
use outbound::{ScriptReport, Wake};
use runtime::sqs::SqsEvent;
use runtime::{App, Handling, each_record};
use serde::Deserialize;
use serde_json::Value;

/// A message of either queue.
#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Wake(Wake),
    Report(ScriptReport),
}

/// Handles an event that Lambda hands over.
pub async fn handle(app: App, event: Value) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    Ok(serde_json::to_value(messages(&app, serde_json::from_value(event)?).await)?)
}

/// Handles wake-ups, and reports of scripts.
pub fn messages(app: &App, event: SqsEvent) -> Handling<'_> {
    each_record(event, move |message: Message| async move {
        match message {
            Message::Wake(wake) => wake_up(app, wake).await,
            Message::Report(report) => {
                app.medic.record_report(report, app.now()).await.map_err(|error| error.to_string())
            }
        }
    })
}

async fn wake_up(app: &App, wake: Wake) -> Result<(), String> {
    let done = match wake {
        Wake::Execution { execution_id } => {
            let id = execution_id.parse::<ExecutionId>().map_err(|error| error.to_string())?;
            app.medic.work_on(id, &|| app.now()).await
        }
        Wake::Start { alert_id, trigger_id } => {
            let (alert, trigger) = (AlertId::new(alert_id), TriggerId::new(trigger_id));
            app.medic.start_triggered(alert, trigger, app.now()).await
        }
        Wake::Press { execution_id, press_id } => {
            let execution = execution_id.parse::<ExecutionId>().map_err(|error| error.to_string())?;
            let press = press_id.parse::<PressId>().map_err(|error| error.to_string())?;
            app.medic.settle_press(execution, press, app.now()).await
        }
        other @ (Wake::Row { .. } | Wake::Shard { .. } | Wake::Lane { .. }) => {
            return Err(format!("{other:?} is not for playbook"));
        }
    };
    done.map_err(|error| error.to_string())
}
