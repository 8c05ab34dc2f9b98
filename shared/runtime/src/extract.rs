//! Reads requests: each error names the field at fault.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer};
use utoipa::IntoParams;

use domain::Invalid;

use crate::ApiError;

/// A JSON body, whatever the request says of its type.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| ApiError::unreadable(&rejection))?;
        read_body(&bytes).map(Self)
    }
}

/// A JSON body, or none, or null: then it is the default.
#[derive(Debug)]
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| ApiError::unreadable(&rejection))?;
        if matches!(bytes.trim_ascii(), b"" | b"null") { Ok(Self(T::default())) } else { read_body(&bytes).map(Self) }
    }
}

/// A body as it came.
#[derive(Debug)]
pub struct WholeBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for WholeBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await;
        bytes.map(Self).map_err(|rejection| ApiError::unreadable(&rejection))
    }
}

/// A body as text, whatever the request's content type.
#[derive(Debug)]
pub struct TextBody(pub String);

impl<S: Send + Sync> FromRequest<S> for TextBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| ApiError::unreadable(&rejection))?;
        let text = String::from_utf8(bytes.to_vec());
        text.map(Self).map_err(|_| ApiError::BadRequest("The body is not UTF-8".to_owned()))
    }
}

/// Reads a JSON body; the error names the field at fault.
pub fn read_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ApiError::BadRequest("The body is not UTF-8".to_owned()))?;
    // A list would pass for an object whose fields come in order.
    if text.trim_start().starts_with('[') {
        return Err(ApiError::BadRequest("The body must be a JSON object".to_owned()));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let body = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        ApiError::BadRequest(refusal(&path, &error.into_inner()))
    })?;
    json.end().map_err(|error| ApiError::BadRequest(format!("The body is not JSON: {error}")))?;
    Ok(body)
}

/// Returns what is wrong with a body, in words that name the field.
fn refusal(path: &str, error: &serde_json::Error) -> String {
    let field = if matches!(path, "." | "?") { String::new() } else { format!("{path}: ") };
    if !error.is_data() {
        return format!("The body is not JSON: {field}{error}");
    }
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    match what.rsplit_once("expected ") {
        // The names of types say nothing to a caller.
        Some((what, kind)) if kind.starts_with("struct ") || kind == "a map" => {
            format!("{field}{what}expected an object")
        }
        Some((what, "f64")) => format!("{field}{what}expected a number"),
        Some((what, "i64")) => format!("{field}{what}expected a whole number"),
        _ => format!("{field}{what}"),
    }
}

/// Query parameters.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let text = rejection.body_text();
                let what = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(ApiError::BadRequest(format!("The query is not readable: {what}")))
            }
        }
    }
}

/// A client's key for its request, which then counts once, however often it is sent within a day. The draft standard's
/// header, as Stripe and others read it.
/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IdempotencyKey {
    /// The client's key for this request
    #[param(rename = "Idempotency-Key", pattern = "^[!-~]([ -~]{0,253}[!-~])?$")]
    pub key: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(key) = parts.headers.get("idempotency-key") else { return Ok(Self { key: None }) };
        let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
        let key = key.ok_or_else(|| Invalid::new("Idempotency-Key", "must be 1 to 255 visible characters"))?;
        Ok(Self { key: Some(key.to_owned()) })
    }
}

/// An id in the path.
#[derive(Debug)]
pub struct IdPath<T>(pub T);

impl<T, S> FromRequestParts<S> for IdPath<T>
where
    T: FromStr<Err = Invalid>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let NamePath(text) = NamePath::from_request_parts(parts, state).await?;
        Ok(Self(text.parse::<T>()?))
    }
}

/// A thing's id in the path, after the id of what it belongs to.
#[derive(Debug)]
pub struct IdPaths<A, B>(pub A, pub B);

impl<A, B, S> FromRequestParts<S> for IdPaths<A, B>
where
    A: FromStr<Err = Invalid>,
    B: FromStr<Err = Invalid>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<(String, String)>::from_request_parts(parts, state).await {
            Ok(Path((owner, id))) => Ok(Self(owner.parse::<A>()?, id.parse::<B>()?)),
            Err(_) => Err(ApiError::BadRequest("The path is not UTF-8".to_owned())),
        }
    }
}

/// A name in the path, percent-decoded.
#[derive(Debug)]
pub struct NamePath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for NamePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(ApiError::BadRequest("The path is not UTF-8".to_owned())),
        }
    }
}

/// Which part of a list to return.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// Items per page: 1 to 250, 50 unless given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 250, default = 50)]
    pub limit: Option<String>,
    /// Where the page begins: `next_cursor` of the page before it.
    pub cursor: Option<String>,
}

impl Listing {
    const DEFAULT: usize = 50;
    const MAX: usize = 250;

    pub fn limit(&self) -> Result<usize, Invalid> {
        let Some(limit) = &self.limit else {
            return Ok(Self::DEFAULT);
        };
        let limit = limit.parse().ok().filter(|limit| (1..=Self::MAX).contains(limit));
        limit.ok_or_else(|| Invalid::new("limit", "must be a whole number from 1 to 250"))
    }

    pub fn cursor<T: FromStr<Err = Invalid>>(&self) -> Result<Option<T>, Invalid> {
        let cursor = self.cursor.as_deref().filter(|cursor| !cursor.is_empty());
        let invalid = |_| Invalid::new("cursor", "must be the next_cursor of a response");
        cursor.map(|cursor| cursor.parse().map_err(invalid)).transpose()
    }
}

/// Distinguishes a field that is null from one that is missing.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}
