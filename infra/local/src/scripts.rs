//! The queues of scripts, on the stand-in: jobs by attempt, and reports of what became of them.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::TimeDelta;
use emulators::Queues;
use outbound::{QueueError, ScriptJob, ScriptJobs, ScriptReport, ScriptReports};
use runtime::each_record;
use runtime::sqs::{SqsBatchResponse, SqsEvent};

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
        let (queue, group, id) = (Queue::Script.name(), &job.execution_id, job.deduplication_id());
        self.queues.send_fifo(queue, group, &id, &body, self.time.now()).map_err(failed)?;
        self.agenda.changed();
        Ok(())
    }
}

#[async_trait]
impl ScriptReports for LocalScripts {
    async fn send_report(&self, report: &ScriptReport) -> Result<(), QueueError> {
        let body = serde_json::to_string(report).map_err(failed)?;
        let queue = Queue::ScriptResults.name();
        self.queues.send(queue, &body, TimeDelta::zero(), self.time.now()).map_err(failed)?;
        self.agenda.changed();
        Ok(())
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(error: E) -> QueueError {
    QueueError(Box::new(error))
}

/// What came on the results queue. No function waits for it yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports(Arc<Mutex<Vec<ScriptReport>>>);

impl Reports {
    /// More than these are forgotten, the oldest first.
    const MOST: usize = 100;

    pub(crate) async fn take(&self, event: SqsEvent) -> SqsBatchResponse {
        each_record(event, |report: ScriptReport| async {
            let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if reports.len() == Self::MOST {
                reports.remove(0);
            }
            reports.push(report);
            Ok::<_, QueueError>(())
        })
        .await
    }

    pub(crate) fn all(&self) -> Vec<ScriptReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
