//! Receivers that hang, drip, flood or break off: each costs bounded time and memory.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use outbound::{Answer, Call, SendError};
use reqwest::Method;
use reqwest::header::HeaderMap;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::receiver::{Receiver, header, is_closed_within, local};

const TIMEOUT: Duration = Duration::from_millis(300);
/// Far above the timeout, so that a busy machine does not fail a test, and far below what the receivers would take.
const SOON: Duration = Duration::from_secs(8);
const OK: &str = "HTTP/1.1 200 OK\r\n";

/// Calls a receiver that responds, however slow the machine is.
async fn call(url: String) -> Result<Answer, SendError> {
    call_within(SOON, url).await
}

/// Calls a receiver that keeps the client waiting.
async fn call_within(timeout: Duration, url: String) -> Result<Answer, SendError> {
    let (method, headers, body) = (Method::POST, HeaderMap::new(), b"{}".to_vec());
    let start = Instant::now();
    let answer = local().send(Call { method, url, headers, body, timeout }).await;
    assert!(start.elapsed() < SOON + TIMEOUT, "took {:?}", start.elapsed());
    answer
}

fn body(answer: Result<Answer, SendError>) -> String {
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200);
    answer.body
}

/// Returns what a receiver reports, while the client goes on with what it must still do, such as closing the connection.
async fn soon<T>(reports: &mut UnboundedReceiver<T>) -> T {
    tokio::time::timeout(SOON, reports.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_receiver_that_hangs_times_out() {
    let receiver = Receiver::start(|_, _, mut connection| {
        is_closed_within(&mut connection, SOON);
    });
    assert_eq!(call_within(TIMEOUT, receiver.url()).await, Err(SendError::TimedOut));
}

#[tokio::test]
async fn headers_that_drip_time_out() {
    let receiver = Receiver::start(|_, _, mut connection| {
        connection.write_all(OK.as_bytes()).unwrap();
        while !is_closed_within(&mut connection, TIMEOUT / 10) && connection.write_all(b"x-drip: 1\r\n").is_ok() {}
    });
    assert_eq!(call_within(TIMEOUT, receiver.url()).await, Err(SendError::TimedOut));
}

/// The receiver has answered: only the rest of its body is given up.
#[tokio::test]
async fn a_body_that_drips_is_cut_in_time() {
    let receiver = Receiver::start(|_, _, mut connection| {
        connection.write_all(format!("{OK}content-length: 1000\r\n\r\n").as_bytes()).unwrap();
        while connection.write_all(b"x").is_ok() && !is_closed_within(&mut connection, TIMEOUT / 10) {}
    });
    let body = body(call_within(SOON / 4, receiver.url()).await);
    assert!(body.starts_with('x') && body.ends_with("x[truncated]"), "{body}");
}

#[tokio::test]
async fn a_gigabyte_is_not_read() {
    const GIGABYTE: usize = 1 << 30;
    for framing in ["content-length: 1073741824", "connection: close"] {
        let (reporter, mut reports) = unbounded_channel();
        let receiver = Receiver::start(move |_, _, mut connection| {
            connection.write_all(format!("{OK}{framing}\r\n\r\n").as_bytes()).unwrap();
            let (piece, mut sent) = (vec![b'x'; 65_536], 0);
            while sent < GIGABYTE && connection.write_all(&piece).is_ok() {
                sent += piece.len();
            }
            reporter.send(sent).unwrap();
        });
        assert_eq!(body(call(receiver.url()).await), format!("{}[truncated]", "x".repeat(4_096)));
        let sent = soon(&mut reports).await;
        // What the sockets' buffers hold, and a little that the client read ahead.
        assert!(sent < 64 << 20, "{sent} bytes were sent");
    }
}

#[tokio::test]
async fn endless_headers_are_not_read() {
    let (reporter, mut reports) = unbounded_channel();
    let receiver = Receiver::start(move |_, _, mut connection| {
        connection.write_all(format!("{OK}x-long: ").as_bytes()).unwrap();
        let (piece, mut sent) = (vec![b'x'; 65_536], 0);
        while sent < 1 << 30 && connection.write_all(&piece).is_ok() {
            sent += piece.len();
        }
        reporter.send(sent).unwrap();
    });
    assert_eq!(call(receiver.url()).await, Err(SendError::Broken));
    assert!(soon(&mut reports).await < 64 << 20);
}

#[tokio::test]
async fn a_body_of_exactly_what_is_kept_is_whole() {
    let whole = "x".repeat(4_096);
    let receiver = Receiver::answering(format!("{OK}content-length: 4096\r\n\r\n{whole}"));
    assert_eq!(body(call(receiver.url()).await), whole);
}

#[tokio::test]
async fn a_body_is_cut_between_characters() {
    let receiver = Receiver::answering(format!("{OK}connection: close\r\n\r\na{}", "ä".repeat(3_000)));
    assert_eq!(body(call(receiver.url()).await), format!("a{}[truncated]", "ä".repeat(2_047)));
}

#[tokio::test]
async fn a_connection_that_closes_early_is_broken_or_cuts_the_body() {
    let silent = Receiver::start(|_, _, _| {});
    assert_eq!(call(silent.url()).await, Err(SendError::Broken));
    let nonsense = Receiver::answering("SSH-2.0-OpenSSH_9.9\r\n");
    assert_eq!(call(nonsense.url()).await, Err(SendError::Broken));
    let half = Receiver::answering(format!("{OK}content-length: 100\r\n\r\nhalf"));
    assert_eq!(body(call(half.url()).await), "half[truncated]");
}

/// A bomb of zeros stays as small as it came.
#[tokio::test]
async fn nothing_is_decompressed() {
    let (reporter, mut reports) = unbounded_channel();
    let receiver = Receiver::start(move |_, request, mut connection| {
        reporter.send(header(request, "accept-encoding").map(str::to_owned)).unwrap();
        connection.write_all(format!("{OK}content-encoding: gzip\r\ncontent-length: 2\r\n\r\nzz").as_bytes()).unwrap();
    });
    assert_eq!(body(call(receiver.url()).await), "zz");
    assert_eq!(soon(&mut reports).await, None);
}

#[tokio::test]
async fn no_connection_is_used_twice() {
    let receiver = Receiver::start(|number, _, mut connection| {
        let answer = format!("{OK}content-length: 1\r\n\r\n{number}");
        connection.write_all(answer.as_bytes()).unwrap();
        is_closed_within(&mut connection, SOON);
    });
    let outgoing = local();
    for number in ["0", "1"] {
        let (method, url, headers) = (Method::GET, receiver.url(), HeaderMap::new());
        let answer = outgoing.send(Call { method, url, headers, body: Vec::new(), timeout: SOON }).await;
        assert_eq!(body(answer), number);
    }
}

#[tokio::test]
async fn a_closed_port_and_a_server_without_tls_are_distinguished() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(call(url).await, Err(SendError::NoConnection));
    let receiver = Receiver::start(|_, _, mut connection| {
        connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_or_default();
    });
    assert_eq!(call(receiver.url().replace("http:", "https:")).await, Err(SendError::Tls));
}
