//! `/v2/services/{id}/runs` and `/v2/services/{id}/stats`.

use axum::extract::State;
use axum::response::Response;
use domain::{Run, RunStatistics, RunStatus, ServiceId, format_time};
use runtime::{ApiError, App, Envelope, IdPath, Listing, Params, ok};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::pages::PageView;

/// One run of a job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunView {
    run_id: String,
    /// Null when only its end is known.
    started_at: Option<String>,
    completed_at: Option<String>,
    /// In whole milliseconds; 0 when only its end is known, null where no end is.
    duration_ms: Option<u64>,
    /// `STARTED`, `STALE_ALERTED`, `COMPLETED`, `FAILED`, or `SUPERSEDED`: it began by a ping without `rid`, and had not
    /// ended when the next such run began.
    status: &'static str,
}

impl RunView {
    fn of(run: Run) -> Self {
        Self {
            duration_ms: run.duration_ms(),
            status: run.status().as_str(),
            started_at: run.started_at.map(format_time),
            completed_at: run.end.map(|end| format_time(end.at)),
            run_id: run.id.into_label().into_string(),
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunFilter {
    /// `STARTED`, `STALE_ALERTED`, `COMPLETED`, `FAILED` or `SUPERSEDED`. A page may then hold fewer than there are; its
    /// cursor leads on.
    #[param(value_type = Option<String>, pattern = "^(STARTED|STALE_ALERTED|COMPLETED|FAILED|SUPERSEDED)$")]
    status: Option<String>,
}

/// Lists a service's runs, newest first.
///
/// Pages are ordered by the newest signal of each run, and the runs of a page by their start. Runs are kept for 90 days; one
/// that has not ended, until its stale alert would open, if that is later.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}/runs",
    operation_id = "v2_list_runs",
    tag = "runs",
    params(("service_id" = i64, Path, minimum = 1), RunFilter, Listing),
    responses(
        (status = 200, description = "Runs", body = Envelope<PageView<RunView>>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    IdPath(id): IdPath<ServiceId>,
    Params(RunFilter { status }): Params<RunFilter>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let status = status.map(|status| status.parse::<RunStatus>()).transpose()?;
    let after = listing.cursor::<RunCursor>()?.map(|RunCursor(place)| place);
    let page = app.medic.runs(id, status, after, listing.limit()?, app.now()).await?;
    Ok(ok(PageView::of(page, RunView::of)))
}

/// Where a page of runs ends: a time and a digest.
struct RunCursor(String);

impl std::str::FromStr for RunCursor {
    type Err = domain::Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_place = text.split_once('.').filter(|(at, digest)| {
            at.len() == 13
                && digest.len() == 32
                && at.bytes().all(|b| b.is_ascii_digit())
                && digest.bytes().all(|b| b.is_ascii_hexdigit())
        });
        is_place
            .map(|_| Self(text.to_owned()))
            .ok_or_else(|| domain::Invalid::new("cursor", "is not of a list of runs"))
    }
}

/// How long the last completed runs of a service took, in milliseconds; null under 5 runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatisticsView {
    /// At most 100.
    run_count: usize,
    avg_duration_ms: Option<f64>,
    /// Percentiles are interpolated between the closest ranks.
    p50_duration_ms: Option<f64>,
    p95_duration_ms: Option<f64>,
    p99_duration_ms: Option<f64>,
    min_duration_ms: Option<f64>,
    max_duration_ms: Option<f64>,
}

/// Returns how long a service's last 100 completed runs took.
///
/// Failed runs, and runs of which only the end is known, do not count.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}/stats",
    operation_id = "v2_get_run_statistics",
    tag = "runs",
    params(("service_id" = i64, Path, minimum = 1)),
    responses(
        (status = 200, description = "The statistics", body = Envelope<StatisticsView>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
    )
)]
pub(crate) async fn statistics(State(app): State<App>, IdPath(id): IdPath<ServiceId>) -> Result<Response, ApiError> {
    let RunStatistics { run_count, average, p50, p95, p99, min, max } = app.medic.run_statistics(id, app.now()).await?;
    Ok(ok(StatisticsView {
        run_count,
        avg_duration_ms: average,
        p50_duration_ms: p50,
        p95_duration_ms: p95,
        p99_duration_ms: p99,
        min_duration_ms: min,
        max_duration_ms: max,
    }))
}
