//! Where a request is from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request};

/// Returns the address of the caller: as the connection has it, or API Gateway in its place; never from a header, which a
/// caller can set. Where neither says, all callers have one address.
pub(crate) fn source_address(request: &Request) -> IpAddr {
    let known = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
    known.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
