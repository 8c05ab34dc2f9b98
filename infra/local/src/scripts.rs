//! The queues of scripts, on the stand-in: jobs by attempt, and their reports.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use emulators::Queues;
use outbound::{QueueError, ScriptJob, ScriptJobs, ScriptReport, ScriptReports};

use crate::Time;
use crate::runner::{Agenda, Queue};

/// Sends jobs and reports as AWS would.
#[derive(Debug, Clone)]
pub(crate) struct LocalScripts {
    pub(crate) queues: Queues,
    pub(crate) agenda: Arc<Agenda>,
    pub(crate) time: Arc<dyn Time>,
}

#[async_trait]
impl ScriptJobs for LocalScripts {
    async fn send_job(&self, job: &ScriptJob) -> Result<(), QueueError> {
        let body = serde_json::to_string(job).map_err(failed)?;
        let (queue, group, id) = (Queue::Script.name(), job.message_group(), job.deduplication_id());
        self.queues.send_fifo(queue, &group, &id, &body, self.time.now()).map_err(failed)?;
        self.agenda.changed();
        Ok(())
    }
}

#[async_trait]
impl ScriptReports for LocalScripts {
    async fn send_report(&self, report: &ScriptReport, delay: Duration) -> Result<(), QueueError> {
        let body = serde_json::to_string(report).map_err(failed)?;
        let delay = TimeDelta::from_std(delay).map_err(failed)?;
        self.queues.send(Queue::ScriptResults.name(), &body, delay, self.time.now()).map_err(failed)?;
        self.agenda.changed();
        Ok(())
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(error: E) -> QueueError {
    QueueError(Box::new(error))
}
