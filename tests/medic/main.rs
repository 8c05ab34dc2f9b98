//! Black-box tests: they come in by the front door, over HTTP, and see what receivers see.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end where it stands")]
#![expect(clippy::too_many_lines, reason = "whole responses as snapshots and tables of cases are long")]

mod access;
mod alerts;
mod audit;
mod bad_input;
mod bad_receivers;
mod costs;
mod deliveries;
mod examples;
mod executions;
mod expectations;
mod faults;
mod gaps;
mod jobs;
mod killed_executions;
mod largest;
mod lost_workers;
mod maintenance;
mod maintenance_alerts;
mod monitoring;
mod notifications;
mod open_runs;
mod openapi;
mod outage;
mod pace;
mod periods;
mod pings;
mod playbooks;
mod presses;
mod processes;
mod profiles;
mod prometheus;
mod rate_limits;
mod routing;
mod schedules;
mod slack;
mod structure;
mod sweeps;
mod targets;
mod teams;
mod unnamed_runs;
mod unnotified;
mod version_1;
mod version_2;
mod webhooks;
