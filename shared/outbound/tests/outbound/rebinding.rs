//! Names whose addresses change between the check and the call.

use std::io::ErrorKind;
use std::net::TcpListener;

use outbound::{AllowedHosts, Call, Guard, Outgoing, Refusal, SendError};
use reqwest::Method;
use reqwest::header::HeaderMap;

use crate::names::Names;
use crate::receiver::{Receiver, local};

fn get(url: impl Into<String>) -> Call {
    let (method, headers, body) = (Method::GET, HeaderMap::new(), Vec::new());
    Call { method, url: url.into(), headers, body, timeout: Outgoing::TIMEOUT }
}

/// Listens inside, where nobody may call.
struct Inside(TcpListener);

impl Inside {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn was_called(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_by_the_time_of_the_call_is_not_connected_to() {
    let inside = Inside::listen();
    for now in [&["127.0.0.1"][..], &["93.184.216.34", "127.0.0.1"], &["::ffff:127.0.0.1"]] {
        let outgoing = Outgoing::new(Names::guard(&[&["93.184.216.34"], now])).unwrap();
        let url = format!("http://rebinding.example.com:{}/", inside.port());
        assert!(outgoing.guard().check(&url).await.is_ok());
        assert_eq!(outgoing.send(get(url)).await, Err(SendError::Refused(Refusal::Inside)));
    }
    assert!(!inside.was_called());
}

#[tokio::test]
async fn a_number_inside_is_not_connected_to() {
    let inside = Inside::listen();
    let outgoing = Outgoing::new(Names::guard(&[])).unwrap();
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"] {
        let error = outgoing.send(get(format!("http://{host}:{}/", inside.port()))).await.unwrap_err();
        assert!(error.is_final());
        let expected = "the address must not lead to a private, loopback or otherwise internal address";
        assert_eq!(error.to_string(), expected, "{host}");
    }
    assert!(!inside.was_called());
}

/// That nothing was connected to above is the guard's doing: the same name and number work once it allows them.
#[tokio::test]
async fn the_client_connects_to_what_the_guard_resolved() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let guard = Guard::new(true, AllowedHosts::default(), Names::answering(&[&["127.0.0.1"]]));
    let outgoing = Outgoing::new(guard).unwrap();
    let url = receiver.url().replace("127.0.0.1", "rebinding.example.com");
    assert_eq!(outgoing.send(get(url)).await.unwrap().body, "ok");
    assert_eq!(local().send(get(receiver.url())).await.unwrap().body, "ok");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_at_the_call_may_be_tried_again() {
    let outgoing = Outgoing::new(Names::guard(&[])).unwrap();
    let error = outgoing.send(get("http://gone.example.com/")).await.unwrap_err();
    assert_eq!((error, error.is_final()), (SendError::Unresolved, false));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let inside = Inside::listen();
    let location = format!("http://127.0.0.1:{}/", inside.port());
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let receiver = Receiver::answering(answer);
    assert_eq!(local().send(get(receiver.url())).await.unwrap().status, 302);
    assert!(!inside.was_called());
}
