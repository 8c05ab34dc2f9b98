//! The playbooks of a seed.

use serde_json::json;

use crate::dice::Dice;

/// A playbook that alerts start.
#[derive(Debug, Clone)]
pub(crate) struct Playbook {
    /// From so many failures on.
    pub(crate) failures: i64,
    pub(crate) approval: Approval,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Approval {
    None,
    Required,
    /// Minutes, and whether the execution then goes on by itself.
    Timeout(i64, bool),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Webhook,
    /// Seconds.
    Wait(i64),
    /// Its timeout in seconds.
    Script(i64),
    Condition {
        timeout_seconds: i64,
        on_failure: &'static str,
    },
}

/// Timeout of a webhook step.
pub(crate) const CALL_SECONDS: i64 = 10;

impl Playbook {
    /// Creates one for the first failure, or for a later one, or both.
    pub(crate) fn some(dice: &mut Dice) -> Vec<Self> {
        let failures = dice.of(&[&[1][..], &[1], &[2], &[1, 2], &[1, 3]]);
        failures.iter().map(|failures| Self::of(dice, *failures)).collect()
    }

    /// Creates one for each of so many failures.
    pub(crate) fn for_each_failure(dice: &mut Dice, failures: i64) -> Vec<Self> {
        (1..=failures).map(|failures| Self::of(dice, failures)).collect()
    }

    fn of(dice: &mut Dice, failures: i64) -> Self {
        let minutes = dice.of(&[1, 5, 15]);
        let approval = dice.of(&[
            Approval::None,
            Approval::None,
            Approval::Required,
            Approval::Timeout(minutes, true),
            Approval::Timeout(minutes, false),
        ]);
        let steps = (0..dice.between(1, 5)).map(|_| match dice.between(0, 4) {
            0 | 1 => Step::Webhook,
            2 => Step::Wait(dice.of(&[1, 30, 300, 1_200])),
            3 => Step::Script(dice.of(&[5, 20, 60])),
            _ => Step::Condition {
                timeout_seconds: dice.of(&[12, 60, 300]),
                on_failure: dice.of(&["fail", "continue", "escalate"]),
            },
        });
        Self { failures, approval, steps: steps.collect() }
    }

    /// Returns its document. JSON is YAML.
    pub(crate) fn yaml(&self, place: usize, address: &str) -> String {
        let steps = self.steps.iter().enumerate().map(|(n, step)| {
            let name = format!("step-{n}");
            match step {
                Step::Webhook => json!({
                    "name": name, "type": "webhook", "url": format!("{address}/step"), "timeout": CALL_SECONDS,
                    "body": {"alert": "${ALERT_ID}", "execution": "${EXECUTION_ID}"},
                }),
                Step::Wait(seconds) => json!({"name": name, "type": "wait", "duration": seconds}),
                Step::Script(seconds) => {
                    json!({"name": name, "type": "script", "script": "mend", "timeout": seconds})
                }
                Step::Condition { timeout_seconds, on_failure } => json!({
                    "name": name, "type": "condition", "check": "heartbeat_received", "timeout": timeout_seconds,
                    "parameters": {"min_count": 1}, "on_failure": on_failure,
                }),
            }
        });
        let mut playbook = json!({
            "name": format!("playbook-{place}"),
            "trigger": {"service_pattern": "service-*", "consecutive_failures": self.failures},
            "steps": steps.collect::<Vec<_>>(),
        });
        match self.approval {
            Approval::None => {}
            Approval::Required => playbook["approval"] = json!("required"),
            Approval::Timeout(minutes, proceeds) => {
                playbook["approval"] = json!(format!("timeout:{minutes}m"));
                if !proceeds {
                    playbook["approval_on_timeout"] = json!("cancel");
                }
            }
        }
        playbook.to_string()
    }
}
