//! `/v2/services/{id}/expectations`: the times at which a service with a schedule must report.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Invalid, ServiceId, format_time, parse_time};
use operations::Error;
use runtime::{ApiError, App, Envelope, IdPath, Listing, Params, ok};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::pages::PageView;

/// The span of time to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Span {
    /// From this time on: now, unless given.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Before this time: at most 366 days after `from`, and 7 days unless given.
    #[param(format = DateTime)]
    to: Option<String>,
}

const USUAL_SPAN: TimeDelta = TimeDelta::days(7);
const MAX_SPAN: TimeDelta = TimeDelta::days(366);

impl Span {
    fn parse(&self, now: DateTime<Utc>) -> Result<(DateTime<Utc>, DateTime<Utc>), Invalid> {
        let from = self.from.as_deref().map_or(Ok(now), |text| parse_time("from", text))?;
        let to = self.to.as_deref().map_or(Ok(from + USUAL_SPAN), |text| parse_time("to", text))?;
        if to <= from {
            return Err(Invalid::new("to", "must be after from"));
        }
        if to - from > MAX_SPAN {
            return Err(Invalid::new("to", "must be at most 366 days after from"));
        }
        Ok((from, to))
    }
}

/// Lists the times at which a service is expected to report, earliest first.
///
/// The service is overdue when its grace period after such a time has passed and it has not reported since the time
/// before. A time that the zone's clock skips is expected at the jump; one that it shows twice is expected once for a
/// fixed hour, and each time where the minutes or hours are wildcards.
#[utoipa::path(
    get,
    path = "/v2/services/{service_id}/expectations",
    operation_id = "v2_list_expectations",
    tag = "services",
    params(("service_id" = i64, Path, minimum = 1), Span, Listing),
    responses(
        (status = 200, description = "Times", body = Envelope<PageView<String>>),
        (status = 400, description = "A time is not valid, or the span is too long", body = Envelope<String>),
        (status = 404, description = "There is no such service", body = Envelope<String>),
        (status = 409, description = "The service has an alert_interval instead", body = Envelope<String>),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    IdPath(id): IdPath<ServiceId>,
    Params(span): Params<Span>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let (from, to) = span.parse(app.now())?;
    let limit = listing.limit()?;
    let after = listing.cursor::<Cursor>()?.map(|Cursor(last)| last + TimeDelta::milliseconds(1));
    let record = app.medic.service(id).await?;
    let Some(timetable) = record.snapshot.service.rule.expectation.timetable() else {
        return Err(Error::Conflict(format!("service {id} has an alert_interval and no schedule_cron")).into());
    };
    let begin = after.map_or(from, |after| after.max(from));
    let mut times: Vec<_> = timetable.times(begin).take_while(|time| *time < to).take(limit + 1).collect();
    let more = times.len() > limit;
    times.truncate(limit);
    let next = times.last().filter(|_| more).map(|last| format_time(*last));
    Ok(ok(PageView::of(store::Page { items: times, next }, format_time)))
}

/// The last time of the page before.
struct Cursor(DateTime<Utc>);

impl std::str::FromStr for Cursor {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        parse_time("cursor", text).map(Self)
    }
}
