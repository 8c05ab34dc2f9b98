//! The wake-up port on AWS: SQS messages, and one-time EventBridge schedules for what is further off than those can
//! wait.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_scheduler::error::BuildError;
use aws_sdk_scheduler::operation::create_schedule::CreateScheduleError;
use aws_sdk_scheduler::types::{ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, Target};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};

use super::time_limits::bounded;
use super::{AwsAddresses, QueueAddress};
use crate::{Route, Wake, WakeError, Wakes};

/// Sends wake-ups through SQS and EventBridge Scheduler.
#[derive(Debug)]
pub struct AwsWakes {
    sqs: aws_sdk_sqs::Client,
    scheduler: aws_sdk_scheduler::Client,
    addresses: AwsAddresses,
    now: fn() -> DateTime<Utc>,
}

impl AwsWakes {
    /// Creates the port. `now` reads the time at which a wake-up is sent, from which its delay counts.
    pub fn new(config: &SdkConfig, addresses: AwsAddresses, now: fn() -> DateTime<Utc>) -> Self {
        let config = bounded(config);
        Self {
            sqs: aws_sdk_sqs::Client::new(&config),
            scheduler: aws_sdk_scheduler::Client::new(&config),
            addresses,
            now,
        }
    }

    const fn queue(&self, wake: &Wake) -> &QueueAddress {
        match wake {
            Wake::Row { .. } | Wake::Shard { .. } => &self.addresses.sweep,
            Wake::Lane { .. } => &self.addresses.notify,
            Wake::Execution { .. } | Wake::Start { .. } | Wake::Press { .. } => &self.addresses.playbook,
        }
    }

    /// Creates a schedule that sends one message and is then deleted. One for the same message and instant is the same.
    async fn schedule(&self, queue: &QueueAddress, body: String, at: DateTime<Utc>) -> Result<(), WakeError> {
        let target = Target::builder()
            .arn(&queue.arn)
            .role_arn(&self.addresses.scheduler_role_arn)
            .input(&body)
            .build()
            .map_err(failed::<BuildError>)?;
        let window =
            FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build().map_err(failed::<BuildError>)?;
        let sent = self
            .scheduler
            .create_schedule()
            .name(schedule_name(queue, &body, at))
            .schedule_expression(format!("at({})", at.format("%Y-%m-%dT%H:%M:%S")))
            .flexible_time_window(window)
            .target(target)
            .action_after_completion(ActionAfterCompletion::Delete)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(CreateScheduleError::is_conflict_exception) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

#[async_trait]
impl Wakes for AwsWakes {
    async fn wake(&self, wake: Wake, at: DateTime<Utc>) -> Result<(), WakeError> {
        let now = (self.now)();
        let queue = self.queue(&wake);
        let body = serde_json::to_string(&wake).map_err(failed)?;
        match Route::of(at, now) {
            Route::Message { delay_seconds } => {
                let delay = i32::try_from(delay_seconds).map_err(failed)?;
                let request = self.sqs.send_message().queue_url(&queue.url).message_body(body).delay_seconds(delay);
                request.send().await.map(|_| ()).map_err(failed)
            }
            Route::Schedule => self.schedule(queue, body, whole_second(at)).await,
        }
    }

    fn arrival(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        at.trunc_subsecs(0) + TimeDelta::seconds(1)
    }
}

/// Returns the first whole second that is not before `at`.
fn whole_second(at: DateTime<Utc>) -> DateTime<Utc> {
    let second = at.trunc_subsecs(0);
    if second == at { at } else { second + TimeDelta::seconds(1) }
}

/// Returns the same name for the same message and second, within the 64 characters that a name may have.
/// `template.yaml` lets `notify` create schedules whose names begin like this.
fn schedule_name(queue: &QueueAddress, body: &str, at: DateTime<Utc>) -> String {
    let digest = Sha256::new().chain_update(&queue.arn).chain_update(body).finalize();
    let digest = digest.first_chunk().copied().map(u128::from_be_bytes).unwrap_or_default();
    format!("medic-wake-{}-{digest:032x}", at.timestamp())
}

fn failed<E: std::error::Error + Send + Sync + 'static>(error: E) -> WakeError {
    WakeError(Box::new(error))
}
