//! The script runner's two queues on SQS: jobs, and reports.

use std::time::Duration;

use async_trait::async_trait;

use super::time_limits::bounded;
use crate::{QueueError, ScriptJob, ScriptJobs, ScriptReport, ScriptReports};

/// One of the two queues.
#[derive(Debug, Clone)]
pub struct AwsScriptQueue {
    sqs: aws_sdk_sqs::Client,
    url: String,
}

impl AwsScriptQueue {
    pub fn new(config: &aws_config::SdkConfig, url: String) -> Self {
        Self { sqs: aws_sdk_sqs::Client::new(&bounded(config)), url }
    }
}

#[async_trait]
impl ScriptJobs for AwsScriptQueue {
    async fn send_job(&self, job: &ScriptJob) -> Result<(), QueueError> {
        let body = serde_json::to_string(job).map_err(failed)?;
        let request = self.sqs.send_message().queue_url(&self.url).message_body(body);
        let request = request.message_group_id(job.message_group()).message_deduplication_id(job.deduplication_id());
        request.send().await.map(|_| ()).map_err(failed)
    }
}

#[async_trait]
impl ScriptReports for AwsScriptQueue {
    async fn send_report(&self, report: &ScriptReport, delay: Duration) -> Result<(), QueueError> {
        let body = serde_json::to_string(report).map_err(failed)?;
        let delay = i32::try_from(delay.as_secs()).map_err(failed)?;
        let request = self.sqs.send_message().queue_url(&self.url).message_body(body).delay_seconds(delay);
        request.send().await.map(|_| ()).map_err(failed)
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(error: E) -> QueueError {
    QueueError(Box::new(error))
}
