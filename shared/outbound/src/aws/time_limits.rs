//! How long calls to SQS and to EventBridge Scheduler may take.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;

/// SQS responds within some 20 ms, and the Scheduler within 200; what takes this long is lost.
const ATTEMPT: Duration = Duration::from_secs(1);
/// A call with all its attempts. Functions make many within their 15 or 30 s, and what could not be sent is in the table.
const OPERATION: Duration = Duration::from_secs(2);
/// Attempts of one call, the first one included.
const ATTEMPTS: u32 = 3;
/// The longest first wait; it doubles, and each wait is a random part of that.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Returns the configuration for clients of the two.
pub(super) fn bounded(config: &SdkConfig) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(ATTEMPT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_WAIT);
    config.to_builder().timeout_config(timeouts).retry_config(retries).build()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
    use aws_smithy_runtime_api::client::http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    };
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
    use chrono::{DateTime, TimeDelta};

    use crate::{AwsAddresses, AwsScriptQueue, AwsWakes, QueueAddress, ScriptReport, ScriptReports, Wake, Wakes};

    use super::*;

    /// AWS that never responds.
    #[derive(Debug, Clone)]
    struct Silent;

    impl HttpConnector for Silent {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::new(std::future::pending())
        }
    }

    impl HttpClient for Silent {
        fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
            SharedHttpConnector::new(self.clone())
        }
    }

    fn silent_aws() -> SdkConfig {
        let credentials = Credentials::new("id", "secret", None, None, "test");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(Silent)
            .build()
    }

    fn address() -> QueueAddress {
        QueueAddress { url: "https://sqs.example/queue".to_owned(), arn: "arn:aws:sqs:eu-west-1:1:queue".to_owned() }
    }

    /// Runs calls that must fail at their time limit, long before a function's time is up.
    async fn fails_in_time<T, E>(call: impl Future<Output = Result<T, E>>) {
        let began = Instant::now();
        let failed = tokio::time::timeout(Duration::from_secs(10), call).await.expect("an end");
        assert!(failed.is_err());
        assert!(began.elapsed() >= OPERATION);
    }

    #[tokio::test]
    async fn a_wake_up_is_given_up_when_aws_does_not_respond() {
        let (addresses, now) = (
            AwsAddresses {
                sweep: address(),
                notify: address(),
                playbook: address(),
                scheduler_role_arn: "arn:aws:iam::1:role/r".to_owned(),
            },
            DateTime::UNIX_EPOCH,
        );
        let wakes = AwsWakes::new(&silent_aws(), addresses, || DateTime::UNIX_EPOCH);
        let wake = || Wake::Shard { shard: 1, until_ms: 0 };
        tokio::join!(
            fails_in_time(wakes.wake(wake(), now)),
            // This one is a schedule.
            fails_in_time(wakes.wake(wake(), now + TimeDelta::hours(1))),
        );
    }

    #[tokio::test]
    async fn a_report_of_a_script_is_given_up_when_aws_does_not_respond() {
        let queue = AwsScriptQueue::new(&silent_aws(), address().url);
        let report = ScriptReport {
            execution_id: "1".to_owned(),
            step_index: 0,
            attempt: 1,
            nonce: "nonce".to_owned(),
            exit: Some(0),
            output: String::new(),
            error: None,
            duration_ms: 1,
            failures: 0,
        };
        fails_in_time(queue.send_report(&report, Duration::ZERO)).await;
    }
}
