//! Judges whatever is due: on EventBridge's tick, and on wake-ups from a queue. The only maker of transitions.

use outbound::Wake;
use runtime::sqs::{SqsBatchResponse, SqsEvent};
use runtime::{App, each_record};
use store::Key;

pub use operations::Swept;

/// Handles a tick: looks at the table as of now.
pub async fn tick(app: &App) -> Result<Swept, operations::Error> {
    let began = app.now();
    let swept = app.medic.sweep(began).await;
    let took = app.now() - began;
    metrics::histogram!("medic_worker_cycle_duration_seconds").record(took.as_seconds_f64().max(0.0));
    swept
}

/// Handles wake-ups.
pub async fn wake_ups(app: &App, event: SqsEvent) -> SqsBatchResponse {
    each_record(event, |wake: Wake| async move {
        match wake {
            Wake::Row { pk, sk } => {
                app.medic.handle_row(Key { pk, sk }, app.now()).await;
                Ok(())
            }
            Wake::Shard { shard } => match app.medic.sweep_shard(shard, app.now()).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Wake::Lane { lane } => Err(format!("the lane {lane} is for notify")),
        }
    })
    .await
}
