//! Settings from the environment: the same names on Lambda and locally.

use std::cell::Cell;
use std::env::VarError;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::TimeDelta;
use outbound::{AllowedHosts, Seal};
use tracing_subscriber::filter::Targets;

/// A variable whose value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct ConfigError {
    pub name: &'static str,
    pub problem: String,
}

/// What the environment sets. An empty value counts as none.
#[derive(Clone)]
pub struct Config {
    pub slack_api_token: Option<String>,
    pub slack_channel_id: Option<String>,
    pub slack_signing_secret: Option<String>,
    /// Slack user ids that may decide; anybody who can press, when empty.
    pub slack_approvers: Vec<String>,
    /// Whether whoever started an execution may approve it; only locally, when none.
    pub allow_self_approval: Option<bool>,
    pub slack_api_url: String,
    pub pagerduty_routing_key: Option<String>,
    pub pagerduty_url: String,
    pub webhook_secret: Option<String>,
    pub base_url: Option<String>,
    /// Requests a minute for a key.
    pub rate_limit_heartbeats: u32,
    pub rate_limit_management: u32,
    pub rate_limit_executions: u32,
    pub circuit_max_executions: u32,
    pub circuit_max_executions_all: u32,
    pub circuit_window: TimeDelta,
    pub allow_private_hosts: bool,
    /// Hosts that users may set.
    pub allowed_hosts: AllowedHosts,
    pub heartbeat_retention: TimeDelta,
    pub audit_retention: TimeDelta,
    /// What secrets are sealed with.
    pub seal: Option<Arc<Seal>>,
    /// What is logged, by targets and levels.
    pub log_filter: Targets,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        from_env(Self::read_from)
    }

    /// Reads variables from `get`.
    pub fn read(get: impl Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::read_from(&Environment::new(&get))
    }

    pub(crate) fn read_from(env: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            slack_api_token: env.token("SLACK_API_TOKEN")?,
            slack_channel_id: env.text("SLACK_CHANNEL_ID"),
            slack_signing_secret: env.text("SLACK_SIGNING_SECRET"),
            slack_approvers: env.list("MEDIC_SLACK_APPROVERS"),
            allow_self_approval: env.optional_flag("MEDIC_ALLOW_SELF_APPROVAL")?,
            slack_api_url: env.url("MEDIC_SLACK_API_URL")?.unwrap_or_else(|| "https://slack.com/api".to_owned()),
            pagerduty_routing_key: env.text("PAGERDUTY_ROUTING_KEY"),
            pagerduty_url: env
                .url("MEDIC_PAGERDUTY_URL")?
                .unwrap_or_else(|| "https://events.pagerduty.com/v2/enqueue".to_owned()),
            webhook_secret: env.secret("MEDIC_WEBHOOK_SECRET")?,
            base_url: env.url("MEDIC_BASE_URL")?,
            rate_limit_heartbeats: env.number("MEDIC_RATE_LIMIT_HEARTBEATS", 100)?,
            rate_limit_management: env.number("MEDIC_RATE_LIMIT_MANAGEMENT", 20)?,
            rate_limit_executions: env.number("MEDIC_RATE_LIMIT_EXECUTIONS", 10)?,
            circuit_max_executions: env.number("MEDIC_CIRCUIT_MAX_EXECUTIONS", 5)?,
            circuit_max_executions_all: env.number("MEDIC_CIRCUIT_MAX_EXECUTIONS_ALL", 50)?,
            circuit_window: TimeDelta::seconds(env.number("MEDIC_CIRCUIT_WINDOW_SECONDS", 3_600)?.into()),
            allow_private_hosts: env.flag("MEDIC_ALLOW_PRIVATE_HOSTS")?,
            allowed_hosts: env.hosts("MEDIC_ALLOWED_HOSTS")?,
            heartbeat_retention: TimeDelta::days(env.number("MEDIC_HEARTBEAT_RETENTION_DAYS", 30)?.into()),
            audit_retention: TimeDelta::days(env.number("MEDIC_AUDIT_RETENTION_DAYS", 90)?.into()),
            seal: env.seal("MEDIC_SECRETS_KEY")?,
            log_filter: env.filter("RUST_LOG")?,
        })
    }
}

/// Reads settings from the process's environment.
pub(crate) fn from_env<T>(read: impl FnOnce(&Environment<'_>) -> Result<T, ConfigError>) -> Result<T, ConfigError> {
    let unreadable = Cell::new(None);
    let get = |name| {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let value = std::env::var(name);
        if matches!(value, Err(VarError::NotUnicode(_))) {
            unreadable.set(Some(name));
        }
        value.ok()
    };
    let settings = read(&Environment::new(&get));
    unreadable.get().map_or(settings, |name| Err(error(name, "must be UTF-8")))
}

/// Variables by name, and how their values are read.
pub(crate) struct Environment<'a>(&'a dyn Fn(&'static str) -> Option<String>);

impl<'a> Environment<'a> {
    pub(crate) fn new(get: &'a dyn Fn(&'static str) -> Option<String>) -> Self {
        Self(get)
    }

    #[cfg(feature = "lambda")]
    pub(crate) fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        self.text(name).ok_or_else(|| error(name, "is not set"))
    }

    fn text(&self, name: &'static str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn token(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let token = self.text(name);
        let is_token = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        if token.as_ref().is_none_or(is_token) {
            Ok(token)
        } else {
            Err(error(name, "must be visible ASCII characters"))
        }
    }

    /// Reads a secret that people may try to guess.
    fn secret(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        const MIN_CHARS: usize = 16;
        let secret = self.text(name);
        if secret.as_ref().is_none_or(|secret| secret.chars().count() >= MIN_CHARS) {
            Ok(secret)
        } else {
            Err(error(name, "must be at least 16 characters long"))
        }
    }

    fn list(&self, name: &'static str) -> Vec<String> {
        let split = |text: String| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>();
        self.text(name).map(split).unwrap_or_default().into_iter().filter(|part| !part.is_empty()).collect()
    }

    fn hosts(&self, name: &'static str) -> Result<AllowedHosts, ConfigError> {
        let text = self.text(name).unwrap_or_default();
        AllowedHosts::parse(name, &text).map_err(|invalid| error(name, &invalid.problem))
    }

    fn url(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let is_http = value.parse::<http::Uri>().is_ok_and(|uri| {
            uri.authority().is_some() && uri.query().is_none() && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        if is_http {
            Ok(Some(value.trim_end_matches('/').to_owned()))
        } else {
            Err(error(name, "must be an http or https address"))
        }
    }

    fn number(&self, name: &'static str, default: u32) -> Result<u32, ConfigError> {
        const MAX: u32 = 1_000_000;
        let Some(value) = self.text(name) else { return Ok(default) };
        value
            .parse()
            .ok()
            .filter(|number| (1..=MAX).contains(number))
            .ok_or_else(|| error(name, "must be a whole number from 1 to 1000000"))
    }

    fn flag(&self, name: &'static str) -> Result<bool, ConfigError> {
        Ok(self.optional_flag(name)?.unwrap_or(false))
    }

    fn optional_flag(&self, name: &'static str) -> Result<Option<bool>, ConfigError> {
        match self.text(name).map(|value| value.to_lowercase()).as_deref() {
            None => Ok(None),
            Some("false" | "0") => Ok(Some(false)),
            Some("true" | "1") => Ok(Some(true)),
            Some(_) => Err(error(name, "must be true or false")),
        }
    }

    fn seal(&self, name: &'static str) -> Result<Option<Arc<Seal>>, ConfigError> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let bytes = BASE64_STANDARD.decode(value).ok().and_then(|bytes| bytes.try_into().ok());
        let seal = bytes.and_then(|bytes| Seal::new(bytes).ok()).map(Arc::new);
        seal.map(Some).ok_or_else(|| error(name, "must be 32 bytes in base64"))
    }

    fn filter(&self, name: &'static str) -> Result<Targets, ConfigError> {
        let value = self.text(name).unwrap_or_else(|| "info".to_owned()).replace(' ', "");
        value.parse().map_err(|_| error(name, "must be a filter such as info or info,operations=debug"))
    }
}

fn error(name: &'static str, problem: &str) -> ConfigError {
    ConfigError { name, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &'static str) -> Result<Config, ConfigError> {
        Config::read(|wanted| (wanted == name).then(|| value.to_owned()))
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (name, value) in [
            ("MEDIC_RATE_LIMIT_HEARTBEATS", "many"),
            ("MEDIC_RATE_LIMIT_MANAGEMENT", "0"),
            ("MEDIC_HEARTBEAT_RETENTION_DAYS", "-1"),
            ("SLACK_API_TOKEN", "xoxb-1\u{7f}2"),
            ("MEDIC_SLACK_API_URL", "slack.com/api"),
            ("MEDIC_PAGERDUTY_URL", "ftp://events.example.com"),
            ("MEDIC_BASE_URL", "https://"),
            ("MEDIC_ALLOW_PRIVATE_HOSTS", "perhaps"),
            ("MEDIC_ALLOW_SELF_APPROVAL", "sometimes"),
            ("MEDIC_ALLOWED_HOSTS", "example.com, https://example.org"),
            ("MEDIC_WEBHOOK_SECRET", "fifteen-letters"),
            ("MEDIC_SECRETS_KEY", "c2hvcnQ="),
            ("RUST_LOG", "info=debug=trace"),
        ] {
            assert_eq!(read(name, value).unwrap_err().name, name);
        }
    }

    #[test]
    fn an_empty_value_counts_as_none() {
        let config = read("SLACK_CHANNEL_ID", "  ").unwrap();
        assert_eq!(config.slack_channel_id, None);
        assert_eq!(config.rate_limit_heartbeats, 100);
    }
}
