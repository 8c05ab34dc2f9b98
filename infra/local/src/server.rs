//! The HTTP server. It holds out against clients that are idle, slow or many: whoever is slowest to say what they want makes
//! room for others, and what Medic itself opens (databases, connections to receivers, scripts) has file descriptors left.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use futures::FutureExt as _;
use futures::future::{AbortHandle, Abortable};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tower::ServiceExt as _;

/// How long a client may take for the header of a request, and a connection may be idle.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's header.
const MAX_HEADER: usize = 64 * 1_024;
/// How long a client may take for the body of a request.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long a client may leave what it was sent unread, in milliseconds.
const UNREAD_MILLIS: u32 = 30_000;
/// Connections at once, where there are descriptors enough: as many headers are 64 MiB.
const MAX_CONNECTIONS: u64 = 1_024;
/// Descriptors that are kept for everything else, or half of them where there are few.
const OTHER_DESCRIPTORS: u64 = 512;
/// How long the server waits after a connection could not be accepted.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Serves a router until `stopped`, and then until each request that has begun has its response.
pub(crate) async fn serve(listener: TcpListener, router: Router, stopped: impl Future<Output = ()>) {
    let (places, waiting) = (Arc::new(Semaphore::new(max_connections())), Arc::<Mutex<Waiting>>::default());
    let graceful = GracefulShutdown::new();
    let accepting = async {
        while let Some(place) = place(&places, &waiting).await {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let (abort, evicted) = AbortHandle::new_pair();
                    let connection = Connection::new(&waiting, abort);
                    let served = serve_connection(stream, address, router.clone(), connection, &graceful);
                    let served = Abortable::new(served, evicted).map(|_| drop(place));
                    #[expect(clippy::disallowed_methods, reason = "it ends by its times, by eviction or at the stop")]
                    drop(tokio::spawn(served));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    #[expect(clippy::disallowed_methods, reason = "what is missing may be there a moment later")]
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stopped => {}
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Waits for a place for a connection. Where all are taken, the one makes room whose client has taken the longest to say
/// what it wants: an attacker's, who wants nothing, and hardly that of a client that sends a request.
async fn place(places: &Arc<Semaphore>, waiting: &Mutex<Waiting>) -> Option<OwnedSemaphorePermit> {
    if places.available_permits() == 0
        && let Some((_, longest)) = locked(waiting).by_order.pop_first()
    {
        longest.abort();
    }
    Arc::clone(places).acquire_owned().await.ok()
}

/// Returns how many connections there may be.
fn max_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let others = OTHER_DESCRIPTORS.min(descriptors / 2);
    usize::try_from((descriptors - others).min(MAX_CONNECTIONS)).unwrap_or(usize::MAX)
}

/// Serves one connection.
fn serve_connection(
    stream: TcpStream,
    address: SocketAddr,
    router: Router,
    connection: Connection,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<> {
    if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD_MILLIS) {
        tracing::debug!(%error, "a connection has no limit to what stays unread");
    }
    let connection = Arc::new(connection);
    let service = service_fn(move |request| {
        let answered = answer(router.clone(), request, address, Arc::clone(&connection));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEADER)
        .max_header_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service);
    let served = graceful.watch(served);
    async move {
        if let Err(error) = served.await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Responds to one request.
async fn answer(
    router: Router,
    request: Request<Incoming>,
    address: SocketAddr,
    connection: Arc<Connection>,
) -> Response<Body> {
    let mut request = request.map(|body| {
        #[expect(clippy::disallowed_methods, reason = "a client's time is the machine's")]
        let time = Box::pin(tokio::time::sleep(BODY_TIME));
        let timed = TimedBody { body, time, connection: Arc::clone(&connection) };
        if timed.is_end_stream() {
            connection.has_asked();
            Body::empty()
        } else {
            Body::new(timed)
        }
    });
    request.extensions_mut().insert(ConnectInfo(address));
    let response = router.oneshot(request).await.unwrap_or_else(|never| match never {});
    connection.waits();
    response
}

/// A request's body, which must be there in time.
struct TimedBody {
    body: Incoming,
    time: Pin<Box<Sleep>>,
    connection: Arc<Connection>,
}

/// The client was too slow.
#[derive(Debug, thiserror::Error)]
#[error("the body did not come within {} s", BODY_TIME.as_secs())]
struct BodyTooSlow;

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context).map_err(axum::Error::new);
        match polled {
            Poll::Pending => self.time.as_mut().poll(context).map(|()| Some(Err(axum::Error::new(BodyTooSlow)))),
            Poll::Ready(frame) => {
                if frame.is_none() || self.body.is_end_stream() {
                    self.connection.has_asked();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Connections whose client has not said yet what it wants, the longest first.
#[derive(Default)]
struct Waiting {
    next: u64,
    by_order: BTreeMap<u64, AbortHandle>,
}

/// A connection that is open.
struct Connection {
    waiting: Arc<Mutex<Waiting>>,
    abort: AbortHandle,
    /// Its place among those that wait, if it does.
    order: Mutex<Option<u64>>,
}

impl Connection {
    /// A connection whose client has yet to say what it wants.
    fn new(waiting: &Arc<Mutex<Waiting>>, abort: AbortHandle) -> Self {
        let connection = Self { waiting: Arc::clone(waiting), abort, order: Mutex::new(None) };
        connection.waits();
        connection
    }

    /// Its client may say what it wants.
    fn waits(&self) {
        self.has_asked();
        let mut waiting = locked(&self.waiting);
        waiting.next += 1;
        let order = waiting.next;
        waiting.by_order.insert(order, self.abort.clone());
        drop(waiting);
        *locked(&self.order) = Some(order);
    }

    /// Its client has said what it wants.
    fn has_asked(&self) {
        let order = locked(&self.order).take();
        if let Some(order) = order {
            locked(&self.waiting).by_order.remove(&order);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.has_asked();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
