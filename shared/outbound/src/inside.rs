//! Says which addresses and names are inside: not on the public Internet, so that no user may have Medic call them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The blocks of IPv4 that are inside: all of IANA's special-purpose registry, multicast, and Azure's metadata address.
/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
const INSIDE_V4: [(Ipv4Addr, u32); 17] = [
    (Ipv4Addr::UNSPECIFIED, 8),            // this network, unspecified
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier-grade NAT, Alibaba's metadata
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's metadata, within a public block
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local, the metadata of most clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // IETF assignments, Oracle's metadata
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation
    (Ipv4Addr::new(192, 31, 196, 0), 24),  // AS112
    (Ipv4Addr::new(192, 52, 193, 0), 24),  // AMT
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays, deprecated
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 3),      // multicast, reserved, broadcast
];

/// All of IPv6 that is assigned to the public.
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is inside though it lies within the public block.
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>
const INSIDE_GLOBAL_UNICAST: [(Ipv6Addr, u32); 6] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // IETF assignments: Teredo, benchmarks, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4, which can hold any IPv4 address
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48), // AS112
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16), // 6bone, returned
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// What a network that speaks IPv6 alone puts before the IPv4 addresses of others (RFC 6052).
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Names that never belong to the public: `localhost` (RFC 6761), `local` (RFC 6762), `home.arpa` (RFC 8375),
/// `internal` (reserved by ICANN in 2024), and what private networks use besides (RFC 6762, appendix G).
const INSIDE_NAMES: [&str; 10] =
    ["corp", "home", "home.arpa", "internal", "intranet", "lan", "local", "localdomain", "localhost", "private"];

pub(crate) fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_inside_v4(address),
        IpAddr::V6(address) => is_inside_v6(address),
    }
}

/// Returns whether a host name, in lower case and without a dot at its end, is inside by itself or by what it ends in.
pub(crate) fn is_inside_name(host: &str) -> bool {
    INSIDE_NAMES
        .iter()
        .any(|name| host.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

fn is_inside_v4(address: Ipv4Addr) -> bool {
    INSIDE_V4.iter().any(|&(block, bits)| (address.to_bits() ^ block.to_bits()) >> (32 - bits) == 0)
}

/// Returns whether an address is inside: whatever is not known to be public, and so are loopback, unique local,
/// link-local, site-local, multicast, discard, IPv4-compatible and IPv4-mapped addresses, and the local NAT64 block.
fn is_inside_v6(address: Ipv6Addr) -> bool {
    let is_in = |(block, bits): (Ipv6Addr, u32)| (address.to_bits() ^ block.to_bits()) >> (128 - bits) == 0;
    if is_in(NAT64) {
        let [.., a, b, c, d] = address.octets();
        return is_inside_v4(Ipv4Addr::new(a, b, c, d));
    }
    !is_in(GLOBAL_UNICAST) || INSIDE_GLOBAL_UNICAST.into_iter().any(is_in)
}
