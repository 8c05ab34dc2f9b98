//! What is sent about an execution: in Slack that it started, awaits approval, and how it ended; to webhooks its start and
//! its end; to the on-call when it needs somebody.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{
    Advance, AlertCopy, ApprovalRequest, Audited, CircuitOf, Decided, Delivery, Effect, Execution, ExecutionStage,
    ExecutionStatus, Notification, NotificationId, NotificationOwner, OpenCircuit, Origin, Outcome, PlaybookEvent,
    PlaybookNotification, Receiver, Routing, ServiceId, ShownPlan, SlackUser, StepStatus, Subject, TargetKind, Verdict,
    VerdictKind, format_time, shorten,
};
use serde_json::{Value, json};
use store::CircuitLimit;

use crate::notifications::NewEvent;
use crate::outbox::Outbox;
use crate::{Error, Medic};

/// Slack's text for a reason is bounded, and names stand beside it.
const MAX_REASON: usize = PlaybookNotification::MAX_REASON_CHARS;
/// Notifications of one execution arrive in their order: each is of a later instant than the one before.
const MOMENT: TimeDelta = TimeDelta::milliseconds(1);

/// The service of an execution, as far as it matters to who is notified.
struct Scene {
    service: Option<AlertCopy>,
    is_muted: bool,
    routing: Option<Routing>,
}

impl Medic {
    /// Returns what the effects of a change of an execution send. The execution is as it is after the change.
    pub(super) async fn execution_outbox(&self, advance: &Advance, now: DateTime<Utc>) -> Result<Outbox, Error> {
        let Advance { execution, effects } = advance;
        let mut outbox = Outbox::default();
        if !effects.iter().any(Effect::notifies) {
            return Ok(outbox);
        }
        let scene = self.scene(execution.plan.service_id, now).await?;
        let earlier = self.table.notifications(NotificationOwner::Execution(execution.id)).await?;
        let mut at = earlier.iter().map(|notification| notification.at + MOMENT).chain([now]).max().unwrap_or(now);
        if earlier.is_empty() && matches!(execution.origin, Origin::Alert { .. }) {
            // Behind the alert that started it.
            at += MOMENT;
        }
        for effect in effects {
            if let Some(notification) = self.notification_of_effect(effect, advance, &scene, now).await? {
                let outcomes = match &notification.event {
                    PlaybookEvent::Decided(_) => asked_receivers(&earlier),
                    PlaybookEvent::Started { .. }
                    | PlaybookEvent::ApprovalRequested(_)
                    | PlaybookEvent::Completed { .. }
                    | PlaybookEvent::Failed { .. }
                    | PlaybookEvent::Cancelled { .. }
                    | PlaybookEvent::Escalated { .. } => self.receivers_of(&scene, &notification, now),
                };
                if !outcomes.is_empty() {
                    let subject = Subject::Playbook(Box::new(notification));
                    let id = NotificationId::at(at, self.random()?);
                    outbox.notifications.push(Notification { id, at, subject, outcomes });
                    at += MOMENT;
                }
            }
            outbox.deliveries.extend(self.deliveries_of_effect(effect, execution, &scene, now).await?);
        }
        Ok(outbox)
    }

    /// Returns the notification of an effect, if people are notified of it.
    async fn notification_of_effect(
        &self,
        effect: &Effect,
        advance: &Advance,
        scene: &Scene,
        now: DateTime<Utc>,
    ) -> Result<Option<PlaybookNotification>, Error> {
        let Advance { execution, effects } = advance;
        let event = match effect {
            Effect::RequestApproval => self.approval_request(execution).await?.map(PlaybookEvent::ApprovalRequested),
            Effect::NotifyDecision => Some(PlaybookEvent::Decided(verdict(execution, effects, now))),
            Effect::NotifyStarted => Some(PlaybookEvent::Started { why: self.why(execution).await? }),
            Effect::NotifyFinished => finished(execution, effects),
            Effect::Escalate { step } => Some(escalated(execution, *step, now)),
            Effect::Perform { .. } | Effect::LookForReport { .. } | Effect::Audit(_) => None,
        };
        let notification = event.map(|event| notification_of(execution, scene, event));
        // While its service is muted, only an approval is asked for.
        Ok(notification.filter(|notification| !scene.is_muted || notification.stands_alone()))
    }

    /// Returns the deliveries of an effect, if webhooks are notified of it.
    async fn deliveries_of_effect(
        &self,
        effect: &Effect,
        execution: &Execution,
        scene: &Scene,
        now: DateTime<Utc>,
    ) -> Result<Vec<Delivery>, Error> {
        let event_type = match effect {
            Effect::NotifyStarted => "playbook.started",
            Effect::NotifyFinished => "playbook.finished",
            Effect::RequestApproval
            | Effect::NotifyDecision
            | Effect::Escalate { .. }
            | Effect::Perform { .. }
            | Effect::LookForReport { .. }
            | Effect::Audit(_) => return Ok(Vec::new()),
        };
        if scene.is_muted {
            return Ok(Vec::new());
        }
        let data = event_data(execution, scene.service.as_ref()).to_string();
        let service_id = execution.plan.service_id;
        let webhooks = match service_id {
            Some(id) => self.webhooks_for(id, now).await?,
            None => self.webhooks_for_all(now).await?,
        };
        self.new_deliveries(&webhooks, NewEvent { event_type, data: &data, service_id }, now)
    }

    /// Returns the notification that a circuit has opened, which is sent once, in Slack.
    pub(super) async fn circuit_outbox(&self, of: CircuitOf, now: DateTime<Utc>) -> Result<Outbox, Error> {
        let scene = self.scene(of.service(), now).await?;
        if scene.is_muted {
            return Ok(Outbox::default());
        }
        let outcomes = match &scene.routing {
            Some(routing) => routing.outcomes_in_slack(now),
            None => self.default_channel(),
        };
        if outcomes.is_empty() {
            return Ok(Outbox::default());
        }
        let heartbeat_name = scene.service.map(|service| service.heartbeat_name);
        let CircuitLimit { max, window } = self.circuit_limit(of);
        let subject = Subject::Circuit(OpenCircuit { of, heartbeat_name, max, window });
        let at = now + MOMENT;
        Ok(Outbox::of(Some(Notification { id: NotificationId::at(at, self.random()?), at, subject, outcomes })))
    }

    async fn scene(&self, service_id: Option<ServiceId>, now: DateTime<Utc>) -> Result<Scene, Error> {
        let found = match service_id {
            Some(id) => self.table.service_and_targets(id).await?,
            None => None,
        };
        let Some((record, targets)) = found else {
            return Ok(Scene { service: None, is_muted: false, routing: None });
        };
        let is_muted = record.snapshot.service.mute.is_some();
        let service = self.routed(record.snapshot.service.id, record.profile, targets).await?;
        let copy = AlertCopy::of(&service.profile);
        Ok(Scene { service: Some(copy), is_muted, routing: Some(self.routing(service, now).await?) })
    }

    fn receivers_of(&self, scene: &Scene, notification: &PlaybookNotification, now: DateTime<Utc>) -> Vec<Outcome> {
        if let Some(routing) = &scene.routing {
            return routing.outcomes_of_playbook(notification, now);
        }
        let mut outcomes = self.default_channel();
        if let Some(service_id) = notification.service_id.filter(|_| self.pagerduty.has_routing_key()) {
            let pagerduty = Outcome::to(Receiver::PagerDuty { service_id }, None);
            outcomes.extend(notification.is_for(TargetKind::PagerDuty).then_some(pagerduty));
        }
        outcomes
    }

    fn default_channel(&self) -> Vec<Outcome> {
        let channel = self.settings.slack_channel.clone();
        channel.map(|channel| Outcome::to(Receiver::Slack { channel }, None)).into_iter().collect()
    }

    /// Returns the plan that is to be approved, cut to what a message can show.
    async fn approval_request(&self, execution: &Execution) -> Result<Option<ApprovalRequest>, Error> {
        let ExecutionStage::Approval { until, proceeds } = execution.stage else { return Ok(None) };
        Ok(Some(ApprovalRequest {
            why: self.why(execution).await?,
            version: execution.plan.version,
            digest: execution.plan.digest(),
            until,
            proceeds,
            shown: ShownPlan::of(&execution.plan),
        }))
    }

    /// Returns why an execution was started, for people.
    async fn why(&self, execution: &Execution) -> Result<String, Error> {
        let began = match &execution.origin {
            Origin::Key { name } => format!("started by {name}"),
            Origin::Webhook => "started through the trigger route".to_owned(),
            Origin::Alert { alert_id, .. } => match self.table.alert(*alert_id).await? {
                Some(alert) => format!("alert {alert_id}, {}", alert.reason),
                None => format!("alert {alert_id}"),
            },
        };
        let why = match &execution.decision {
            Some(Decided { by: Some(by), .. }) => format!("{began}, approved by {}", SlackUser::plain_name(by)),
            Some(Decided { by: None, .. }) => format!("{began}, approved by timeout"),
            None => began,
        };
        Ok(shorten(&why, MAX_REASON))
    }
}

fn notification_of(execution: &Execution, scene: &Scene, event: PlaybookEvent) -> PlaybookNotification {
    let needs_runbook = matches!(event, PlaybookEvent::Escalated { .. });
    let service = scene
        .service
        .clone()
        .map(|service| AlertCopy { runbook: service.runbook.filter(|_| needs_runbook), ..service });
    PlaybookNotification {
        execution_id: execution.id,
        playbook_name: execution.playbook_name.clone(),
        service_id: execution.plan.service_id,
        service,
        event,
    }
}

/// Returns where approval was requested or may still be: the decision goes there.
fn asked_receivers(earlier: &[Notification]) -> Vec<Outcome> {
    let mut asked: Vec<Outcome> = Vec::new();
    let is_request = |event: &PlaybookEvent| matches!(event, PlaybookEvent::ApprovalRequested(_));
    let requests = earlier.iter().filter(|one| one.playbook().is_some_and(|playbook| is_request(&playbook.event)));
    for request in requests {
        for outcome in request.outcomes.iter().filter(|outcome| outcome.error.is_none()) {
            if !asked.iter().any(|known| known.receiver == outcome.receiver) {
                asked.push(outcome.to_same_receiver());
            }
        }
    }
    asked
}

/// Returns what was decided, as the effects beside it say.
fn verdict(execution: &Execution, effects: &[Effect], now: DateTime<Utc>) -> Verdict {
    let found = effects.iter().filter_map(Effect::audited).find_map(|audited| match audited {
        Audited::Approved(decided) => Some((VerdictKind::Approved, decided)),
        Audited::Rejected(decided) => Some((VerdictKind::Rejected, decided)),
        Audited::Cancelled(decided) => Some((VerdictKind::Cancelled, decided)),
        Audited::Started
        | Audited::ApprovalRequested
        | Audited::StepCompleted { .. }
        | Audited::StepFailed { .. }
        | Audited::Completed
        | Audited::Failed => None,
    });
    let (kind, decided) = found.map_or((VerdictKind::Cancelled, None), |(kind, decided)| (kind, Some(decided)));
    let decided = decided.or(execution.decision.as_ref());
    Verdict {
        kind,
        by: decided.and_then(|decided| decided.by.clone()),
        reason: decided.and_then(|decided| short(decided.reason.as_deref())),
        at: decided.map_or(now, |decided| decided.at),
    }
}

/// Returns how it ended. Where somebody did not let it begin, the decision says all.
fn finished(execution: &Execution, effects: &[Effect]) -> Option<PlaybookEvent> {
    match execution.status {
        ExecutionStatus::Failed => {
            let failed = execution.steps.iter().position(|step| step.status == StepStatus::Failed);
            let step = failed.map(|n| step_name(execution, n)).unwrap_or_default();
            let error = failed.and_then(|n| execution.steps.get(n)?.error_message.as_deref()).unwrap_or_default();
            Some(PlaybookEvent::Failed { step, error: shorten(error, MAX_REASON) })
        }
        ExecutionStatus::Cancelled => {
            let decided = execution.cancelled_by.as_ref();
            let by = decided.and_then(|decided| decided.by.clone());
            if by.is_some() && effects.contains(&Effect::NotifyDecision) {
                return None;
            }
            let reason = decided.and_then(|decided| short(decided.reason.as_deref()));
            Some(PlaybookEvent::Cancelled { by, reason })
        }
        ExecutionStatus::Completed
        | ExecutionStatus::PendingApproval
        | ExecutionStatus::Running
        | ExecutionStatus::Waiting => {
            // Without the time that it awaited approval.
            let began = execution.decision.as_ref().map_or(execution.started_at, |decided| decided.at);
            Some(PlaybookEvent::Completed { took: execution.completed_at.unwrap_or(began) - began })
        }
    }
}

fn escalated(execution: &Execution, step: usize, now: DateTime<Utc>) -> PlaybookEvent {
    let output = execution.steps.get(step).map_or("", |step| step.output.as_str());
    let problem = shorten(output.strip_prefix("[ESCALATE] ").unwrap_or(output), MAX_REASON);
    PlaybookEvent::Escalated { step: step_name(execution, step), problem, at: now }
}

fn step_name(execution: &Execution, step: usize) -> String {
    execution.plan.steps.get(step).map(|step| step.name.to_string()).unwrap_or_default()
}

fn short(reason: Option<&str>) -> Option<String> {
    reason.filter(|reason| !reason.is_empty()).map(|reason| shorten(reason, MAX_REASON))
}

/// Returns what an event says of its execution. Outputs are not in it: whoever may read executions finds them there.
fn event_data(execution: &Execution, service: Option<&AlertCopy>) -> Value {
    let steps: Vec<_> = execution
        .plan
        .steps
        .iter()
        .zip(&execution.steps)
        .map(|(step, record)| json!({"step_name": step.name.as_str(), "status": record.status.as_str()}))
        .collect();
    let alert_id = match &execution.origin {
        Origin::Alert { alert_id, .. } => Some(alert_id.get()),
        Origin::Key { .. } | Origin::Webhook => None,
    };
    json!({
        "execution_id": execution.id.to_string(),
        "playbook_id": execution.plan.playbook_id.get(),
        "playbook_name": execution.playbook_name,
        "version": execution.plan.version,
        "service_id": execution.plan.service_id.map(ServiceId::get),
        "heartbeat_name": service.map(|service| &service.heartbeat_name),
        "service_name": service.map(|service| &service.service_name),
        "alert_id": alert_id,
        "status": execution.status.as_str(),
        "steps": steps,
        "started_at": format_time(execution.started_at),
        "completed_at": execution.completed_at.map(format_time),
    })
}
