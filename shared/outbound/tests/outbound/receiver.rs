//! An HTTP server on loopback that does whatever a test wants, connection by connection.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use outbound::{AllowedHosts, Guard, Outgoing, SystemLookup};

/// Where a receiver listens.
pub(crate) struct Receiver {
    port: u16,
}

impl Receiver {
    /// `serve` is given the number of the connection, from 0, what was asked there, and the connection.
    pub(crate) fn start(serve: impl Fn(usize, &str, TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for (number, connection) in listener.incoming().enumerate() {
                let mut connection = connection.unwrap();
                let request = read_request(&mut connection);
                serve(number, &request, connection);
            }
        });
        Self { port }
    }

    /// One that answers every request with the same bytes.
    pub(crate) fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |_, _, mut connection| {
            connection.write_all(answer.as_bytes()).unwrap_or_default();
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }
}

/// A client that may call receivers on loopback.
pub(crate) fn local() -> Outgoing {
    Outgoing::new(Guard::new(true, AllowedHosts::default(), Arc::new(SystemLookup))).unwrap()
}

/// Waits until the other side closes the connection, or for `longest`; returns whether it closed.
pub(crate) fn is_closed_within(connection: &mut TcpStream, longest: Duration) -> bool {
    connection.set_read_timeout(Some(longest)).unwrap();
    match connection.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}

/// Reads a request with its body, or as much as came before the connection closed or spoke something else than HTTP.
fn read_request(connection: &mut TcpStream) -> String {
    let mut request = String::new();
    let mut bytes = [0; 4_096];
    while !is_whole(&request) {
        let count = connection.read(&mut bytes).unwrap_or_default();
        match str::from_utf8(&bytes[..count]) {
            Ok(text) if !text.is_empty() => request.push_str(text),
            Ok(_) | Err(_) => break,
        }
    }
    request
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

/// The value of a request's header.
pub(crate) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
}
