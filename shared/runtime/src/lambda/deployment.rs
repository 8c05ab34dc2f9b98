//! Settings that only a deployment has: where its table, its queues and its schedules are.

use outbound::{AwsAddresses, QueueAddress};

use crate::ConfigError;
use crate::config::Environment;

/// Where things are on AWS.
#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    pub(crate) table: String,
    pub(crate) addresses: AwsAddresses,
    /// Where scripts are handed over to be run.
    pub(crate) script_queue_url: String,
    /// Where their reports arrive, and are sent again when they could not be recorded.
    pub(crate) script_results_queue_url: String,
}

impl Deployment {
    /// Reads the variables. Each must be set.
    pub(crate) fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        // The runtime's client panics without it.
        env.required("AWS_LAMBDA_RUNTIME_API")?;
        Ok(Self {
            table: env.required("MEDIC_TABLE")?,
            addresses: AwsAddresses {
                sweep: QueueAddress {
                    url: env.required("MEDIC_SWEEP_QUEUE_URL")?,
                    arn: env.required("MEDIC_SWEEP_QUEUE_ARN")?,
                },
                notify: QueueAddress {
                    url: env.required("MEDIC_NOTIFY_QUEUE_URL")?,
                    arn: env.required("MEDIC_NOTIFY_QUEUE_ARN")?,
                },
                playbook: QueueAddress {
                    url: env.required("MEDIC_PLAYBOOK_QUEUE_URL")?,
                    arn: env.required("MEDIC_PLAYBOOK_QUEUE_ARN")?,
                },
                scheduler_role_arn: env.required("MEDIC_SCHEDULER_ROLE_ARN")?,
            },
            script_queue_url: env.required("MEDIC_SCRIPT_QUEUE_URL")?,
            script_results_queue_url: env.required("MEDIC_SCRIPT_RESULTS_QUEUE_URL")?,
        })
    }
}

/// Where things are for the function that runs scripts.
#[derive(Debug, Clone)]
pub(crate) struct ScriptDeployment {
    pub(crate) results_queue_url: String,
}

impl ScriptDeployment {
    pub(crate) fn read(env: &Environment<'_>) -> Result<Self, ConfigError> {
        // The runtime's client panics without it.
        env.required("AWS_LAMBDA_RUNTIME_API")?;
        Ok(Self { results_queue_url: env.required("MEDIC_SCRIPT_RESULTS_QUEUE_URL")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DEPLOYMENT_VARIABLES;

    #[test]
    fn what_is_missing_is_named() {
        for missing in DEPLOYMENT_VARIABLES {
            let get = |name: &'static str| {
                (DEPLOYMENT_VARIABLES.contains(&name) && name != missing).then(|| "set".to_owned())
            };
            let error = Deployment::read(&Environment::new(&get)).unwrap_err();
            assert_eq!(error.to_string(), format!("{missing} is not set"));
        }
    }
}
