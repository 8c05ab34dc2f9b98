//! `/v2/audit-logs`.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use domain::{
    AuditAction, AuditDetails, AuditEntry, AuditedChange, AuditedThing, AuditedValue, ExecutionId, Invalid, LogId,
    ServiceId, format_time, parse_time,
};
use operations::{AuditBounds, AuditFilter};
use runtime::{ApiError, App, Envelope, Listing, Params, bytes_in_response, ok};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::csv::push_row;
use crate::pages::{MAX_BYTES, PageView, number};

/// What was done, by whom, and with what outcome.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditLogView {
    log_id: String,
    execution_id: Option<String>,
    /// The service that it is about; it stays when the service is deleted.
    service_id: Option<i64>,
    /// `execution_started`, `step_completed`, `step_failed`, `approval_requested`, `approved`, `rejected`,
    /// `execution_completed`, `execution_failed` or `execution_cancelled`; for configuration `created`, `updated` or
    /// `deleted`; for an alert `acknowledged` or `resolved`; for a notification target `tested`, and for a webhook
    /// `redelivered`.
    action_type: &'static str,
    /// The name of a key or a Slack user; null for what Medic did by itself.
    actor: Option<String>,
    timestamp: String,
    details: DetailsView,
}

/// Details; those that do not apply are left out.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DetailsView {
    #[serde(skip_serializing_if = "Option::is_none")]
    playbook_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// At most 8,192 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    /// At most 4,096 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What was configured, or the alert that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    thing: Option<ThingView>,
    /// What changed of it. Secrets, keys and the values of headers are `…`; documents are shown as their length and
    /// SHA-256, and other texts are cut after 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<ChangeView>>,
    /// What an execution was started with: what is always there and what its caller gave. Values are cut after 1,024
    /// bytes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ThingView {
    /// `service`, `team`, `schedule`, `maintenance_window`, `notification_target`, `webhook`, `playbook`, `trigger`,
    /// `script`, `secret`, `api_key`, `ping_key` or `alert`.
    kind: &'static str,
    id: i64,
    name: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeView {
    field: String,
    /// Null for a thing that was created.
    old: Value,
    /// Null for a thing that was deleted.
    new: Value,
}

fn value(value: AuditedValue) -> Value {
    match value {
        AuditedValue::Null => Value::Null,
        AuditedValue::Flag(flag) => flag.into(),
        AuditedValue::Whole(whole) => whole.into(),
        AuditedValue::Fraction(fraction) => number(fraction).into(),
        AuditedValue::Text(text) => text.into(),
        AuditedValue::List(values) => values.into_iter().map(self::value).collect(),
        AuditedValue::Map(values) => values.into_iter().map(|(name, of)| (name, self::value(of))).collect(),
    }
}

impl AuditLogView {
    fn of(entry: AuditEntry) -> Self {
        let AuditEntry { id, at, action, actor, execution_id, service_id, details } = entry;
        Self {
            log_id: id.to_string(),
            execution_id: execution_id.map(|id| id.to_string()),
            service_id: service_id.map(ServiceId::get),
            action_type: action.as_str(),
            actor,
            timestamp: format_time(at),
            details: DetailsView::of(details),
        }
    }
}

impl DetailsView {
    fn of(details: AuditDetails) -> Self {
        let AuditDetails {
            playbook_name,
            service_name,
            step_name,
            step_type,
            duration_ms,
            output,
            error_message,
            reason,
            thing,
            changes,
            variables,
        } = details;
        let change = |AuditedChange { field, old, new }| ChangeView { field, old: value(old), new: value(new) };
        Self {
            playbook_name,
            service_name,
            step_name,
            step_type,
            duration_ms,
            output,
            error_message,
            reason,
            changes: (!changes.is_empty()).then(|| changes.into_iter().map(change).collect()),
            thing: thing.map(|AuditedThing { kind, id, name }| ThingView { kind: kind.as_str(), id, name }),
            variables,
        }
    }
}

/// Filters; an entry must match all of them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    #[param(format = "uuid")]
    execution_id: Option<String>,
    #[param(value_type = Option<i64>, minimum = 1)]
    service_id: Option<String>,
    #[param(
        pattern = "^(execution_started|step_completed|step_failed|approval_requested|approved|rejected|execution_completed|execution_failed|execution_cancelled|created|updated|deleted|acknowledged|resolved|tested|redelivered)$"
    )]
    action_type: Option<String>,
    /// The name of a key or a Slack user, as it is written.
    #[param(min_length = 1)]
    actor: Option<String>,
    /// From this time on, or from the beginning of this day (UTC).
    #[param(pattern = r"^\d{4}-\d\d-\d\d([Tt ].+)?$")]
    start_date: Option<String>,
    /// Up to this time, or to the end of this day (UTC).
    #[param(pattern = r"^\d{4}-\d\d-\d\d([Tt ].+)?$")]
    end_date: Option<String>,
}

impl Filter {
    fn parse(self) -> Result<AuditFilter, Invalid> {
        let Self { execution_id, service_id, action_type, actor, start_date, end_date } = self;
        if actor.as_ref().is_some_and(String::is_empty) {
            return Err(Invalid::new("actor", "must not be empty"));
        }
        let from = start_date.map(|text| instants("start_date", &text)).transpose()?.map(|(first, _)| first);
        let until = end_date.map(|text| instants("end_date", &text)).transpose()?.map(|(_, until)| until);
        if from.zip(until).is_some_and(|(from, until)| until <= from) {
            return Err(Invalid::new("end_date", "must not be before start_date"));
        }
        Ok(AuditFilter {
            execution_id: execution_id.map(|id| id.parse::<ExecutionId>()).transpose()?,
            service_id: service_id.map(|id| id.parse::<ServiceId>()).transpose()?,
            action: action_type.map(|action| action.parse::<AuditAction>()).transpose()?,
            actor,
            from,
            until,
        })
    }
}

/// Returns the first instant of a day or a millisecond, and the first after it.
fn instants(field: &str, text: &str) -> Result<(DateTime<Utc>, DateTime<Utc>), Invalid> {
    let begins = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    if let Some((day, next)) = day.and_then(|day| Some((day, day.checked_add_days(Days::new(1))?))) {
        // Its year is checked as that of a time is.
        parse_time(field, &format_time(begins(day)))?;
        return Ok((begins(day), begins(next)));
    }
    let at = parse_time(field, text)?;
    Ok((at, at + TimeDelta::milliseconds(1)))
}

/// Entries that are read for a page, however few the filters leave.
const LOOKED_AT: usize = 1_000;

/// Lists entries of the audit log, newest first.
///
/// They are kept for 90 days, unless `MEDIC_AUDIT_RETENTION_DAYS` says otherwise. With filters, or where entries are
/// long, a page may hold fewer than there are; its cursor leads on. With `Accept: text/csv` the response is a CSV file:
/// as many rows as `limit` says, and without it up to 5,000 rows or 2 MB; if there are more, the header `X-Next-Cursor`
/// holds the `cursor` of the next file. A cell that a spreadsheet would run as a formula begins with `'`.
#[utoipa::path(
    get,
    path = "/v2/audit-logs",
    operation_id = "v2_list_audit_logs",
    tag = "audit",
    params(Filter, Listing),
    responses(
        (status = 200, description = "Entries", content(
            (Envelope<PageView<AuditLogView>> = "application/json"),
            (String = "text/csv"),
        )),
        (status = 400, description = "A filter is not valid", body = Envelope<String>),
    )
)]
pub(crate) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    Params(filter): Params<Filter>,
    Params(listing): Params<Listing>,
) -> Result<Response, ApiError> {
    let (filter, before, limit) = (filter.parse()?, listing.cursor::<LogId>()?, listing.limit()?);
    let mut response = if wants_csv(&headers) {
        let rows = if listing.limit.is_some() { limit } else { MAX_ROWS };
        download(&app, &filter, before, rows).await?
    } else {
        let bounds = AuditBounds { limit, looked_at: LOOKED_AT };
        let page = app.medic.audit_log(&filter, before, bounds, app.now()).await?;
        ok(PageView::fitting(page, AuditLogView::of, |entry| entry.log_id.clone()))
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Returns whether a request prefers CSV to JSON: it names that type, and does not rule it out.
fn wants_csv(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_csv = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("text/csv"));
        let is_refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        is_csv && !is_refused
    })
}

const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");

/// Rows of a file, where the request does not say how many.
const MAX_ROWS: usize = 5_000;
/// Pages that are read for a file, however few entries the filters leave of each.
const MAX_PAGES: usize = 20;
const ROWS_OF_A_PAGE: usize = 250;

const COLUMNS: [&str; 19] = [
    "log_id",
    "timestamp",
    "action_type",
    "actor",
    "execution_id",
    "service_id",
    "playbook_name",
    "service_name",
    "step_name",
    "step_type",
    "duration_ms",
    "output",
    "error_message",
    "reason",
    "thing_kind",
    "thing_id",
    "thing_name",
    "changes",
    "variables",
];

/// Returns a file of entries. It is bounded, because Lambda sends a response in one piece.
async fn download(
    app: &App,
    filter: &AuditFilter,
    mut before: Option<LogId>,
    max_rows: usize,
) -> Result<Response, ApiError> {
    let (mut text, mut rows, mut bytes, mut next) = (String::new(), 0, 0, None);
    push_row(&mut text, COLUMNS);
    'file: for _ in 0..MAX_PAGES {
        let limit = ROWS_OF_A_PAGE.min(max_rows - rows);
        let bounds = AuditBounds { limit, looked_at: LOOKED_AT };
        let page = app.medic.audit_log(filter, before, bounds, app.now()).await?;
        let mut entries = page.items.into_iter();
        while let Some(entry) = entries.next() {
            let id = entry.id.to_string();
            let begin = text.len();
            push_entry(&mut text, entry);
            rows += 1;
            bytes += bytes_in_response(&text.as_bytes()[begin..]);
            if bytes >= MAX_BYTES && (page.next.is_some() || entries.len() > 0) {
                next = Some(id);
                break 'file;
            }
        }
        next = page.next;
        before = next.as_deref().and_then(|next| next.parse().ok());
        if before.is_none() || rows >= max_rows {
            break;
        }
    }
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"audit-log.csv\""),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let mut response = (headers, text).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
        response.headers_mut().insert(NEXT_CURSOR, next);
    }
    Ok(response)
}

fn push_entry(text: &mut String, entry: AuditEntry) {
    let AuditLogView { log_id, execution_id, service_id, action_type, actor, timestamp, details } =
        AuditLogView::of(entry);
    let DetailsView {
        playbook_name,
        service_name,
        step_name,
        step_type,
        duration_ms,
        output,
        error_message,
        reason,
        thing,
        changes,
        variables,
    } = details;
    let variables = (!variables.is_empty()).then(|| serde_json::to_string(&variables).unwrap_or_default());
    let (kind, id, name) = match thing {
        Some(ThingView { kind, id, name }) => (kind, id.to_string(), name),
        None => ("", String::new(), None),
    };
    let changes = changes.map(|changes| serde_json::to_string(&changes).unwrap_or_default());
    let cell = |text: Option<String>| text.unwrap_or_default();
    let cells: [String; 19] = [
        log_id,
        timestamp,
        action_type.to_owned(),
        cell(actor),
        cell(execution_id),
        cell(service_id.map(|id| id.to_string())),
        cell(playbook_name),
        cell(service_name),
        cell(step_name),
        cell(step_type),
        cell(duration_ms.map(|millis| millis.to_string())),
        cell(output),
        cell(error_message),
        cell(reason),
        kind.to_owned(),
        id,
        cell(name),
        cell(changes),
        cell(variables),
    ];
    push_row(text, cells.iter().map(String::as_str));
}
