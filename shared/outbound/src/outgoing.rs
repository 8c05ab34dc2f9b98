//! The HTTP client for addresses that users set: guarded, and bounded in time and memory whatever the receiver does.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Request, Response, StatusCode, redirect};

use crate::excerpt::{EXCERPT_BYTES, excerpt};
use crate::{Guard, Http, Refusal, RetryAfter};

/// Sends requests to addresses that users set. It follows no redirect, uses no proxy and no connection twice, and
/// decompresses nothing.
#[derive(Debug, Clone)]
pub struct Outgoing {
    http: Arc<dyn Http>,
    guard: Guard,
}

/// One request to an address that a user set.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    /// Checked when sent, also if it was checked when saved.
    pub url: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// From looking up the host to the end of the response.
    pub timeout: Duration,
}

/// A receiver's response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub retry_after: Option<RetryAfter>,
    /// The body as text: at most 4,096 bytes of it, then `[truncated]` when there is more, or when the rest did not come
    /// in time. A response counts from its first line on.
    pub body: String,
}

/// Why there is no response. Says what happened, and repeats nothing of the request, which may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The guard lets nobody call this address; it would fail again.
    #[error("the address {0}")]
    Refused(Refusal),
    #[error("the host name did not resolve")]
    Unresolved,
    #[error("timed out")]
    TimedOut,
    #[error("the TLS handshake failed")]
    Tls,
    #[error("could not connect")]
    NoConnection,
    #[error("the connection failed")]
    Broken,
}

impl Outgoing {
    /// The timeout of a call that sets no other.
    pub const TIMEOUT: Duration = Duration::from_secs(10);

    /// Creates the client. Fails when the system's root certificates cannot be used.
    pub fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .dns_resolver(guard.clone())
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            // HTTP/1.1 bounds what a receiver can make the client keep; an idle connection would outlive its check.
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(Self::TIMEOUT)
            .user_agent(concat!("medic/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self::over(Arc::new(http), guard))
    }

    /// Creates one that sends over `http`, which must be bounded as this client is.
    pub const fn over(http: Arc<dyn Http>, guard: Guard) -> Self {
        Self { http, guard }
    }

    pub const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Sends once. Any response is `Ok`, whatever its status.
    pub async fn send(&self, call: Call) -> Result<Answer, SendError> {
        let Call { method, url, headers, body, timeout } = call;
        // The client resolves names through the guard, but connects to a number as it stands.
        let url = self.guard.read(&url).map_err(SendError::Refused)?;
        let mut request = Request::new(method, url);
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body.into());
        *request.timeout_mut() = Some(timeout);
        let mut response = self.http.execute(request).await.map_err(|error| SendError::of(&error))?;
        let (start, is_cut) = start_of_body(&mut response).await;
        Ok(Answer {
            status: response.status(),
            retry_after: RetryAfter::read(response.headers()),
            body: excerpt(&start, is_cut, EXCERPT_BYTES),
        })
    }
}

/// Reads no more of a body than is kept, and returns whether that is less than the whole. Dropping the response then
/// closes the connection.
async fn start_of_body(response: &mut Response) -> (Vec<u8>, bool) {
    let mut start = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if start.len() + chunk.len() > EXCERPT_BYTES => {
                let room = EXCERPT_BYTES - start.len();
                start.extend_from_slice(&chunk[..room]);
                return (start, true);
            }
            Ok(Some(chunk)) => start.extend_from_slice(&chunk),
            Ok(None) => return (start, false),
            Err(_) => return (start, true),
        }
    }
}

impl SendError {
    /// Returns whether another attempt is useless.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Refused(_))
    }

    fn of(error: &reqwest::Error) -> Self {
        match causes(error).find_map(|cause| cause.downcast_ref::<Refusal>()) {
            Some(Refusal::Unresolved) => return Self::Unresolved,
            Some(refusal) => return Self::Refused(*refusal),
            None => {}
        }
        if error.is_timeout() {
            return Self::TimedOut;
        }
        if !error.is_connect() {
            return Self::Broken;
        }
        // This is how rustls wraps a certificate that it does not trust and a response that it does not understand.
        let is_tls = |cause: &io::Error| cause.kind() == io::ErrorKind::InvalidData;
        let mut causes = causes(error).filter_map(|cause| cause.downcast_ref());
        if causes.any(is_tls) { Self::Tls } else { Self::NoConnection }
    }
}

/// Returns the causes of `error`, the nearest first. An `io::Error` leaves out of its sources the error that it wraps.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    }
    std::iter::successors(error.source(), |error| cause(*error))
}
