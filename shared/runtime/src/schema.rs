//! What bodies say of their texts in the OpenAPI document, said once: `#[schema(value_type = Option<schema::Label>)]`. The
//! rules themselves are the domain's, which reads what is sent.

use utoipa::ToSchema;

/// 1 to 128 characters, not all blank, with no control characters.
#[derive(Debug, ToSchema)]
#[schema(
    min_length = 1,
    max_length = 128,
    pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
)]
pub struct Label(pub String);

/// 1 to 128 characters, not all blank, with no `/` and no control characters.
#[derive(Debug, ToSchema)]
#[schema(
    min_length = 1,
    max_length = 128,
    pattern = r"^[^/\x00-\x1f\x7f-\x9f]*[^\s/\x00-\x1f\x7f-\x9f][^/\x00-\x1f\x7f-\x9f]*$"
)]
pub struct HeartbeatName(pub String);

/// `UP`, `DOWN`, `STARTED`, `COMPLETED` or `FAILED`, in any case.
#[derive(Debug, ToSchema)]
#[schema(
    pattern = "^([Uu][Pp]|[Dd][Oo][Ww][Nn]|[Ss][Tt][Aa][Rr][Tt][Ee][Dd]|[Cc][Oo][Mm][Pp][Ll][Ee][Tt][Ee][Dd]|[Ff][Aa][Ii][Ll][Ee][Dd])$"
)]
pub struct Status(pub String);

/// `p1`, the most urgent, to `p5`, in any case.
#[derive(Debug, ToSchema)]
#[schema(pattern = "^[Pp][1-5]$")]
pub struct Priority(pub String);

/// At most 2048 characters, with no control characters.
#[derive(Debug, ToSchema)]
#[schema(max_length = 2048, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
pub struct Runbook(pub String);

/// An http or https address.
#[derive(Debug, ToSchema)]
#[schema(pattern = "^[Hh][Tt][Tt][Pp][Ss]?://[^ ]+$")]
pub struct HttpUrl(pub String);

/// What a Slack channel is addressed by, such as `C0ALERTS`; empty counts as none.
#[derive(Debug, ToSchema)]
#[schema(pattern = r"^[^\s\x00-\x1f\x7f-\x9f]{0,80}$")]
pub struct SlackChannel(pub String);
