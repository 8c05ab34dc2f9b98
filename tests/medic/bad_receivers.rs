//! Receivers that hang, drip, break off or never stop: each comes to its own outcome, and nobody else waits for it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use harness::System;
use serde_json::json;

/// Starts a receiver on loopback that handles one request with `serve`. Returns its URL, and the channel that says when
/// that ended, and with what result.
fn receiver<T: Send + 'static>(
    serve: impl FnOnce(&mut TcpStream) -> T + Send + 'static,
) -> (String, Receiver<(Instant, T)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, ended) = channel();
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let count = connection.read(&mut [0; 8_192]).unwrap();
        assert!(count > 0, "a request");
        let result = serve(&mut connection);
        // The test may not want it.
        sender.send((Instant::now(), result)).unwrap_or_default();
    });
    (url, ended)
}

/// Waits until the other side hangs up, or the timeout passes.
fn is_closed_within(connection: &mut TcpStream, timeout: Duration) -> bool {
    connection.set_read_timeout(Some(timeout)).unwrap();
    match connection.read(&mut [0; 8_192]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_comes_to_its_own_outcome_and_delays_nobody() {
    let system = System::start_with(&[("MEDIC_ALLOW_PRIVATE_HOSTS", "true")], None).await;
    let (hangs, hung) = receiver(|connection| while !is_closed_within(connection, Duration::from_mins(1)) {});
    let (drips, dripped) = receiver(|connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\nx-slow: ").unwrap();
        while !is_closed_within(connection, Duration::from_millis(100)) {
            connection.write_all(b"a").unwrap_or_default();
        }
    });
    let (breaks_off, _) = receiver(|connection| connection.write_all(b"HTTP/1.1 20").unwrap());
    let (never_stops, stopped) = receiver(|connection| {
        connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").unwrap();
        let (part, mut sent) = ([b'x'; 8_192], 0_usize);
        while sent < 1_000_000_000 && connection.write_all(&part).is_ok() {
            sent += part.len();
        }
        sent
    });
    let mut ids = Vec::new();
    for url in [&hangs, &drips, &breaks_off, &never_stops, &system.receivers.hook()] {
        let created = system.post("/v2/webhooks", json!({"url": url, "max_attempts": 1})).await;
        ids.push(created.results()["webhook_id"].clone());
    }
    system.register("w", 3_600.0, json!({})).await;
    system.heartbeat("w", "FAILED").await;

    let (hung, ()) = hung.recv().unwrap();
    let (dripped, ()) = dripped.recv().unwrap();
    let first_ended = hung.min(dripped);
    let arrivals = system.receivers.arrivals();
    for receiver in ["slack", "pagerduty", "webhook"] {
        let first = arrivals.iter().find(|arrival| arrival.receiver == receiver).unwrap();
        assert!(first.at < first_ended, "{receiver} is notified while others hang");
    }
    let (_, sent) = stopped.recv().unwrap();
    assert!(sent < 64 << 20, "a gigabyte is not read: {sent}");
    let mut outcomes = Vec::new();
    for id in &ids {
        let answer = system.get(&format!("/v2/webhook-deliveries?webhook_id={id}")).await;
        let delivery = &answer.results()["items"][0];
        let mut body = delivery["response_body"].as_str().unwrap_or_default().to_owned();
        if body.starts_with('x') {
            body = format!("{} bytes", body.len());
        }
        outcomes.push(format!("{} {} {body}", delivery["status"], delivery["response_status"]));
    }
    insta::assert_snapshot!(outcomes.join("\n"), @r#"
    "failed" null timed out
    "failed" null timed out
    "failed" null the connection failed
    "success" 200 4107 bytes
    "success" 200 {"ok":true,"status":"success"}
    "#);
}
