//! Says which addresses are metadata services of clouds, which hand the machine's role to whoever asks. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Alibaba's, the one in IPv4 that is not link-local.
const ALIBABA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);

/// Those in IPv6 that are not link-local.
const UNIQUE_LOCAL: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS, for pods
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS, for machines
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google
];

/// What NAT64 puts before addresses of IPv4 (RFC 6052).
const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// Names are looked up at link-local addresses in many places: on Lambda, at Google, and in clusters with a cache of
/// their own on each node. No cloud has its metadata at this port.
const DNS: u16 = 53;

/// How many bytes of a socket address are looked at: all of IPv6's.
pub(crate) const ADDRESS_BYTES: usize = 28;

/// Returns whether an address may serve a cloud's metadata: everything link-local may, except for its DNS.
pub(crate) fn is_metadata(address: SocketAddr) -> bool {
    let is_inside = match address.ip() {
        IpAddr::V4(address) => is_inside_v4(address),
        IpAddr::V6(address) => is_inside_v6(address),
    };
    is_inside && address.port() != DNS
}

/// Reads a socket address as the kernel does (`sockaddr_in` or `sockaddr_in6`, padded with zeros); none of another kind.
pub(crate) fn socket_address(bytes: [u8; ADDRESS_BYTES]) -> Option<SocketAddr> {
    let [f0, f1, p0, p1, rest @ ..] = bytes;
    let port = u16::from_be_bytes([p0, p1]);
    match i32::from(u16::from_ne_bytes([f0, f1])) {
        // A datagram to an address of no family goes to that of IPv4.
        libc::AF_INET | libc::AF_UNSPEC => {
            let [a, b, c, d, ..] = rest;
            Some((Ipv4Addr::new(a, b, c, d), port).into())
        }
        libc::AF_INET6 => {
            // The flow information goes before it, the scope follows.
            let [_, _, _, _, address @ .., _, _, _, _] = rest;
            Some((Ipv6Addr::from_octets(address), port).into())
        }
        _ => None,
    }
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    address.is_link_local() || address == ALIBABA
}

fn is_inside_v6(address: Ipv6Addr) -> bool {
    let is_inside = address.is_unicast_link_local() || UNIQUE_LOCAL.contains(&address);
    is_inside || embedded(address).is_some_and(is_inside_v4)
}

/// Returns the address of IPv4 that one of IPv6 stands for: mapped, compatible, or behind NAT64.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = address.octets();
    let is_nat64 = address.segments().starts_with(&NAT64);
    address.to_ipv4().or_else(|| is_nat64.then_some(Ipv4Addr::new(a, b, c, d)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_known_in_every_spelling() {
        let addresses = [
            "169.254.169.254:80",
            "169.254.170.2:80",
            "169.254.170.23:80",
            "169.254.0.0:1",
            "169.254.255.255:8080",
            "100.100.100.200:80",
            "[fd00:ec2::254]:80",
            "[fd00:ec2::23]:80",
            "[fd20:ce::254]:80",
            "[fe80::1]:80",
            "[febf:ffff::1]:80",
            "[::ffff:169.254.169.254]:80",
            "[::ffff:100.100.100.200]:80",
            "[::169.254.169.254]:80",
            "[64:ff9b::169.254.169.254]:80",
        ];
        for address in addresses {
            assert!(is_metadata(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn all_else_is_free() {
        let addresses = [
            "127.0.0.1:80",
            "10.0.0.1:80",
            "169.253.255.255:80",
            "169.255.0.0:80",
            "100.100.100.201:80",
            "8.8.8.8:53",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[64:ff9b::8.8.8.8]:80",
            "[fd00:ec2::253]:53",
            "[fec0::1]:80",
            "[2001:4860::8888]:443",
            // Where names are looked up.
            "169.254.20.10:53",
            "[fe80::1]:53",
        ];
        for address in addresses {
            assert!(!is_metadata(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_socket_address_is_read_as_the_kernel_reads_it() {
        let read = |family: i32, rest: &[u8]| {
            let mut bytes = [0; ADDRESS_BYTES];
            bytes[..2].copy_from_slice(&u16::try_from(family).unwrap().to_ne_bytes());
            bytes[2..2 + rest.len()].copy_from_slice(rest);
            socket_address(bytes).map(|address| address.to_string())
        };
        let v4 = [0, 80, 169, 254, 169, 254];
        assert_eq!(read(libc::AF_INET, &v4).unwrap(), "169.254.169.254:80");
        assert_eq!(read(libc::AF_UNSPEC, &v4).unwrap(), "169.254.169.254:80");
        let v6 = [1, 187, 9, 9, 9, 9, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0];
        assert_eq!(read(libc::AF_INET6, &v6).unwrap(), "[fe80::1]:443");
        assert_eq!(read(libc::AF_UNIX, b"/run/socket"), None);
    }
}
