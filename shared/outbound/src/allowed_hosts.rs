//! Lists of hosts: those that `MEDIC_ALLOWED_HOSTS` restricts users' addresses to, and those that a secret may be sent to.

use domain::Invalid;
use url::{Host, Url};

/// Listed hosts. It lets nobody inside: the guard's other checks remain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exact(Host),
    /// `*.example.com`: what ends in a dot and this, but not this itself.
    Below(String),
}

impl AllowedHosts {
    /// Reads host names or addresses without ports, in any case, and `*.` before a name for all below it, separated
    /// by commas; spaces around them do not count. `field` names the setting in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self, Invalid> {
        Self::of(field, text.split(',').map(str::trim).filter(|entry| !entry.is_empty()))
    }

    /// Reads the same from a list.
    pub fn of<'a>(field: &str, entries: impl IntoIterator<Item = &'a str>) -> Result<Self, Invalid> {
        let pattern = |entry: &str| {
            Pattern::parse(entry).ok_or_else(|| {
                Invalid::new(field, format!("must list host names such as example.com or *.example.com, not {entry:?}"))
            })
        };
        entries.into_iter().map(pattern).collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether `host`, of a URL that was read, is listed.
    pub(crate) fn list(&self, host: &Host<&str>) -> bool {
        self.0.iter().any(|pattern| pattern.admits(host))
    }

    /// Returns whether a list, which was checked when it was saved, has the host of this address.
    pub fn list_host_of(hosts: &[String], url: &Url) -> bool {
        let listed = Self::of("allowed_hosts", hosts.iter().map(String::as_str));
        url.host().is_some_and(|host| listed.is_ok_and(|listed| listed.list(&host)))
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Pattern {
    fn parse(entry: &str) -> Option<Self> {
        if let Some(name) = entry.strip_prefix("*.") {
            return match read_host(name)? {
                Host::Domain(name) => Some(Self::Below(name)),
                Host::Ipv4(_) | Host::Ipv6(_) => None,
            };
        }
        read_host(entry).map(Self::Exact)
    }

    fn admits(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::Exact(Host::Domain(name)), Host::Domain(host)) => name == without_dot(host),
            (Self::Exact(address), host) => *address == host.to_owned(),
            (Self::Below(name), Host::Domain(host)) => {
                without_dot(host).strip_suffix(name.as_str()).is_some_and(|before| before.ends_with('.'))
            }
            (Self::Below(_), Host::Ipv4(_) | Host::Ipv6(_)) => false,
        }
    }
}

/// Reads a host as a URL's is read, so that an international name or an odd address compares equal to it.
fn read_host(text: &str) -> Option<Host> {
    if text.contains('*') {
        return None;
    }
    match Host::parse(text).ok()? {
        Host::Domain(name) => Some(Host::Domain(without_dot(&name).to_owned())),
        address @ (Host::Ipv4(_) | Host::Ipv6(_)) => Some(address),
    }
}

/// Returns a name without the dot that makes it absolute.
pub(crate) fn without_dot(host: &str) -> &str {
    host.trim_end_matches('.')
}
