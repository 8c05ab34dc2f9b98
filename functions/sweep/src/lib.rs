//! Judges whatever is due: on EventBridge's tick, and on wake-ups from a queue. Only it makes transitions.

use std::pin::Pin;

use domain::from_millis;
use outbound::Wake;
use runtime::sqs::SqsEvent;
use runtime::{App, Handling, each_record};
use serde_json::{Value, json};
use store::Key;

pub use operations::Swept;

/// The sweep of one shard.
pub type Part = Pin<Box<dyn Future<Output = Result<Swept, operations::Error>> + Send>>;

/// Handles an event that Lambda hands over: messages, or the tick that EventBridge Scheduler sends each minute.
pub async fn handle(app: App, event: Value) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    if event.get("Records").is_some() {
        return Ok(serde_json::to_value(wake_ups(&app, serde_json::from_value(event)?).await)?);
    }
    if event != json!({"sweep": "tick"}) {
        return Err("the event is neither a tick nor messages".into());
    }
    tick(&app).await?;
    match app.medic.refresh_stats(app.now()).await {
        Ok(stats) => runtime::record_gauges(&stats),
        Err(error) => tracing::warn!(%error, "the gauges were not brought up to date"),
    }
    Ok(Value::Null)
}

/// Handles a tick: looks at the table as of now.
pub async fn tick(app: &App) -> Result<Swept, operations::Error> {
    renew_pulse(app).await;
    timed(app, app.medic.sweep(&|| app.now())).await
}

/// Renews the proof that Medic hears. Whoever finds it old before an alert opens does the same, so that a failure only
/// makes a gap longer.
pub async fn renew_pulse(app: &App) {
    if let Err(error) = app.medic.renew_pulse(app.now()).await {
        tracing::error!(%error, "the pulse was not renewed");
    }
}

/// Sweeps one shard as of now: a part of a tick, for whoever gives each shard a task of its own. Boxed as `Handling` is.
pub fn part(app: App, shard: u8) -> Part {
    Box::pin(async move { app.medic.sweep_part(shard, &|| app.now()).await })
}

/// Does the work of a tick, and records how long it took.
pub async fn timed<T>(app: &App, work: impl Future<Output = T>) -> T {
    let began = app.now();
    let done = work.await;
    let took = app.now() - began;
    metrics::histogram!("medic_worker_cycle_duration_seconds").record(took.as_seconds_f64().max(0.0));
    done
}

/// Handles wake-ups.
pub fn wake_ups(app: &App, event: SqsEvent) -> Handling<'_> {
    each_record(event, move |wake: Wake| async move {
        match wake {
            Wake::Row { pk, sk } => {
                app.medic.handle_row(Key { pk, sk }, app.now()).await;
                Ok(())
            }
            Wake::Shard { shard, until_ms } => {
                let swept = app.medic.sweep_shard(shard, from_millis(until_ms), &|| app.now()).await;
                swept.map(|_| ()).map_err(|error| error.to_string())
            }
            other @ (Wake::Lane { .. } | Wake::Execution { .. } | Wake::Start { .. } | Wake::Press { .. }) => {
                Err(format!("{other:?} is not for sweep"))
            }
        }
    })
}
