//! The guard of every address that a user can set: it lets Medic call only the public Internet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, ParseError, Url};

use crate::allowed_hosts::without_dot;
use crate::inside::{is_inside, is_inside_name};
use crate::{AllowedHosts, Lookup, Refusal};

/// Checks addresses when they are saved and, as the HTTP client's resolver, whatever is connected to when they are
/// called: a name that resolves elsewhere by then is refused with no connection made.
#[derive(Debug, Clone)]
pub struct Guard {
    allow_private: bool,
    /// Any when none is listed.
    allowed: AllowedHosts,
    lookup: Arc<dyn Lookup>,
}

impl Guard {
    /// The longest address, in bytes.
    const MAX_BYTES: usize = 2048;
    /// The longest that saving an address waits for its name to resolve.
    const MAX_LOOKUP: Duration = Duration::from_secs(5);

    /// Creates a guard. With `allow_private` addresses may lead inside, and none is resolved before it is called: for
    /// local use. Everything else is checked as always.
    pub fn new(allow_private: bool, allowed: AllowedHosts, lookup: Arc<dyn Lookup>) -> Self {
        Self { allow_private, allowed, lookup }
    }

    /// Checks an address that is to be saved: what `read` checks, and that its host resolves, to nothing inside.
    pub async fn check(&self, text: &str) -> Result<Url, Refusal> {
        let url = self.read(text)?;
        if !self.allow_private
            && let Some(Host::Domain(name)) = url.host()
        {
            self.addresses(name).await?;
        }
        Ok(url)
    }

    /// Checks everything that an address itself shows, without resolving its host: enough for one that is about to be
    /// called through a client that resolves with this guard.
    pub fn read(&self, text: &str) -> Result<Url, Refusal> {
        if text.len() > Self::MAX_BYTES {
            return Err(Refusal::TooLong);
        }
        // Parsers differ in how they read these, and some drop them.
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(Refusal::Character);
        }
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        if !["http", "https"].iter().any(|name| scheme.eq_ignore_ascii_case(name)) {
            return Err(Refusal::Scheme);
        }
        let url = Url::parse(text).map_err(|error| {
            if error == ParseError::EmptyHost { Refusal::NoHost } else { Refusal::Unreadable(error) }
        })?;
        // Encoded, it has become longer.
        if url.as_str().len() > Self::MAX_BYTES {
            return Err(Refusal::TooLong);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserName);
        }
        if url.fragment().is_some() {
            return Err(Refusal::Fragment);
        }
        if url.port() == Some(0) {
            return Err(Refusal::Port);
        }
        self.judge(&url.host().ok_or(Refusal::NoHost)?)?;
        Ok(url)
    }

    /// Judges a host as the URL parser wrote it: decoded, in lower case, and a number in any disguise as an address.
    fn judge(&self, host: &Host<&str>) -> Result<(), Refusal> {
        if !self.allowed.is_empty() && !self.allowed.list(host) {
            return Err(Refusal::NotAllowed);
        }
        let leads_inside = match *host {
            Host::Domain(name) => is_inside_name(without_dot(name)),
            Host::Ipv4(address) => is_inside(address.into()),
            Host::Ipv6(address) => is_inside(address.into()),
        };
        if leads_inside && !self.allow_private { Err(Refusal::Inside) } else { Ok(()) }
    }

    /// Returns the addresses of a name, none of which is inside. One that is makes all be refused: no honest name has
    /// both kinds.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Refusal> {
        let lookup = tokio::time::timeout(Self::MAX_LOOKUP, self.lookup.lookup(name));
        let addresses = lookup.await.ok().and_then(Result::ok).unwrap_or_default();
        if addresses.is_empty() {
            return Err(Refusal::Unresolved);
        }
        if !self.allow_private && addresses.iter().copied().any(is_inside) {
            return Err(Refusal::Inside);
        }
        Ok(addresses)
    }
}

/// The client connects to what this returns and to nothing else, so no later answer can lead it elsewhere.
impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses = guard.addresses(name.as_str()).await?;
            // Port 0 stands for the URL's.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
