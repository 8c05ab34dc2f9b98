//! Drains lanes: sends what receivers are owed. It writes lanes and what became of notifications, and no services.

use chrono::TimeDelta;
use operations::Drained;
use outbound::Wake;
use runtime::sqs::{SqsBatchResponse, SqsEvent};
use runtime::{App, each_record};
use serde_json::Value;
use store::Lane;

/// Sends in one lane for one message; the rest waits for a message of its own, so that one lane holds up no other.
const STEPS: usize = 10;

/// A step may take 20 s when a receiver is slow: no other is begun after this, and the function ends within its 30 s.
const MAX_TIME: TimeDelta = TimeDelta::seconds(8);

/// Handles what Lambda hands over.
pub async fn handle(app: App, event: Value) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    Ok(serde_json::to_value(wake_ups(&app, serde_json::from_value(event)?).await)?)
}

/// Handles wake-ups.
pub async fn wake_ups(app: &App, event: SqsEvent) -> SqsBatchResponse {
    each_record(event, |wake: Wake| async move {
        let Wake::Lane { lane } = wake else {
            return Err("the message is not for notify".to_owned());
        };
        let Some(lane) = Lane::parse(&lane) else {
            return Err(format!("there is no lane {lane}"));
        };
        drain(app, &lane).await.map_err(|error| error.to_string())
    })
    .await
}

async fn drain(app: &App, lane: &Lane) -> Result<(), operations::Error> {
    let began = app.now();
    for _ in 0..STEPS {
        if app.now() - began > MAX_TIME {
            break;
        }
        if app.medic.drain(lane, &|| app.now()).await? == Drained::Done {
            return Ok(());
        }
    }
    app.medic.drain_later(lane, app.now()).await;
    Ok(())
}
