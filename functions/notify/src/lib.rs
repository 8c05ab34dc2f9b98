//! Drains lanes: sends pending notifications. It writes lanes and the outcomes of notifications, and no services.

use chrono::TimeDelta;
use operations::Drained;
use outbound::Wake;
use runtime::sqs::SqsEvent;
use runtime::{App, Handling, each_record};
use serde_json::Value;
use store::Lane;

/// How often one message sends in its lane; the rest waits for a message of its own, so that no lane holds up another.
const MAX_STEPS: usize = 10;

/// A step may take 20 s when a receiver is slow: none is started after this time, so that the function ends within its
/// 30 s.
const MAX_TIME: TimeDelta = TimeDelta::seconds(8);

/// Handles an event that Lambda hands over.
pub async fn handle(app: App, event: Value) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    Ok(serde_json::to_value(wake_ups(&app, serde_json::from_value(event)?).await)?)
}

/// Handles wake-ups.
pub fn wake_ups(app: &App, event: SqsEvent) -> Handling<'_> {
    each_record(event, move |wake: Wake| async move {
        let Wake::Lane { lane } = wake else {
            return Err("the message is not for notify".to_owned());
        };
        let Some(lane) = Lane::parse(&lane) else {
            return Err(format!("there is no lane {lane}"));
        };
        drain(app, &lane).await.map_err(|error| error.to_string())
    })
}

async fn drain(app: &App, lane: &Lane) -> Result<(), operations::Error> {
    let began = app.now();
    for _ in 0..MAX_STEPS {
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
