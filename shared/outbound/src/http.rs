//! Other people's HTTP, as a port: a receiver may hang, and a simulation has no time to wait.

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Request, Response, Url};
use serde_json::Value;

/// Makes requests to receivers.
#[async_trait]
pub trait Http: std::fmt::Debug + Send + Sync {
    /// Makes one, and returns when the response begins.
    async fn execute(&self, request: Request) -> Result<Response, reqwest::Error>;
}

#[async_trait]
impl Http for Client {
    async fn execute(&self, request: Request) -> Result<Response, reqwest::Error> {
        Self::execute(self, request).await
    }
}

/// Creates a POST of JSON; none if the address is not a URL.
pub(crate) fn post_of_json(url: &str, body: &Value) -> Option<Request> {
    let mut request = Request::new(Method::POST, Url::parse(url).ok()?);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *request.body_mut() = Some(body.to_string().into());
    Some(request)
}
