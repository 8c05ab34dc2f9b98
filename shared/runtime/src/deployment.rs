//! The names of the settings that only a deployment has. `template.yaml` sets them; Lambda sets the first.

/// What must be set where a function runs on AWS.
pub const DEPLOYMENT_VARIABLES: [&str; 11] = [
    "AWS_LAMBDA_RUNTIME_API",
    "MEDIC_TABLE",
    "MEDIC_SWEEP_QUEUE_URL",
    "MEDIC_SWEEP_QUEUE_ARN",
    "MEDIC_NOTIFY_QUEUE_URL",
    "MEDIC_NOTIFY_QUEUE_ARN",
    "MEDIC_PLAYBOOK_QUEUE_URL",
    "MEDIC_PLAYBOOK_QUEUE_ARN",
    "MEDIC_SCRIPT_QUEUE_URL",
    "MEDIC_SCRIPT_RESULTS_QUEUE_URL",
    "MEDIC_SCHEDULER_ROLE_ARN",
];
