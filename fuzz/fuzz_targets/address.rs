//! Addresses of webhooks: what the guard lets through leads outside, however the parser reads it.

#![no_main]

use std::net::IpAddr;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use outbound::{AllowedHosts, Guard, SystemLookup};

fuzz_target!(|text: &str| {
    let guard = Guard::new(false, AllowedHosts::default(), Arc::new(SystemLookup));
    let Ok(url) = guard.read(text) else { return };
    assert!(matches!(url.scheme(), "http" | "https"));
    assert!(url.username().is_empty() && url.password().is_none());
    let host = url.host_str().expect("it has a host").trim_matches(['[', ']']).to_owned();
    if let Ok(IpAddr::V4(address)) = host.parse() {
        assert!(!address.is_private() && !address.is_loopback() && !address.is_link_local(), "{text}");
    }
    assert!(guard.read(url.as_str()).is_ok(), "{text} is read as {url}, which is refused");
});
