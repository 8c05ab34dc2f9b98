//! Addresses that may be saved, and those that may not.

use std::sync::Arc;

use outbound::{AllowedHosts, Guard, Refusal, SystemLookup};

use crate::names::Names;

const OUTSIDE: &[&[&str]] = &[&["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]];

/// Each leads inside by a number, however it is written.
const NUMBERS: &[&str] = &[
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/hook",
    "HTTPS://127.0.0.1/",
    "http:127.0.0.1",
    "http:///127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.1./",
    "http://2130706433/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://0x7f.1/",
    "http://0x7f000001/",
    "http://0X7F.0x0.0x0.0x1/",
    "http://127.000.000.001/",
    "http://127%2e0%2e0%2e1/",
    "http://%31%32%37.0.0.1/",
    "http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
    "http://127\u{ff0e}0\u{ff0e}0\u{ff0e}1/",
    "http://①②⑦.0.0.1/",
    "http://127。0。0。1/",
    "http://127.255.255.254/",
    "http://0/",
    "http://0.0.0.0/",
    "http://0.1.2.3/",
    "http://10.0.0.1/",
    "http://167772161/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://100.127.255.255/",
    "http://168.63.129.16/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://2852039166/",
    "http://169.254.170.2/v2/credentials",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.0.0.192/opc/v2/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://192.168.1.1/",
    "http://198.18.0.1/",
    "http://198.19.255.255/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::127.0.0.1]/",
    "http://[::93.184.216.34]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:93.184.216.34]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::8.8.8.8]/",
    "http://[100::1]/",
    "http://[2001::1]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[2001:2::1]/",
    "http://[2001:db8::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a00:1::1]/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fe80::1]/",
    "http://[febf::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
];

/// Each leads inside by its name, whatever that resolves to.
const INSIDE_NAMES: &[&str] = &[
    "http://localhost/",
    "http://LOCALHOST:9000/",
    "http://localhost./",
    "http://localhost../",
    "http://local%68ost/",
    "http://ⓛocalhost/",
    "http://\u{ff4c}ocalhost/",
    "http://loc\u{ad}alhost/",
    "http://app.localhost/",
    "http://localhost.localdomain/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://Metadata.Google.Internal./",
    "http://internal/",
    "http://ip-10-0-0-1.eu-west-1.compute.internal/",
    "http://printer.local/",
    "http://router.home.arpa/",
    "http://git.corp/",
    "http://nas.lan/",
];

/// Each is refused when a name resolves to it.
const INSIDE_ANSWERS: &[&[&str]] = &[
    &["127.0.0.1"],
    &["10.1.2.3"],
    &["169.254.169.254"],
    &["0.0.0.0"],
    &["255.255.255.255"],
    &["::1"],
    &["::ffff:10.0.0.1"],
    &["::10.0.0.1"],
    &["fe80::1"],
    &["fd12:3456::1"],
    &["ff0e::1"],
    &["64:ff9b::10.0.0.1"],
    &["2002:a00:1::"],
    &["93.184.216.34", "10.0.0.1"],
    &["93.184.216.34", "::1"],
];

const OUTSIDE_URLS: &[&str] = &[
    "https://example.com",
    "https://example.com/hook?token=a%20b&x=${y}",
    "HTTP://Example.COM:8443/hook",
    "https://example.com./hook",
    "https://hooks.example.com/services/T0/B0/x|y^z",
    "https://bücher.example/",
    "https://internal.example.com/",
    "https://localhost.example.com/",
    "https://notlocalhost/",
    "https://mylocal/",
    "http://93.184.216.34/",
    "http://1572395042/",
    "http://8.8.8.8:65535/",
    "http://9.255.255.255/",
    "http://11.0.0.0/",
    "http://100.63.255.255/",
    "http://100.128.0.0/",
    "http://126.255.255.255/",
    "http://128.0.0.0/",
    "http://168.63.129.15/",
    "http://172.15.255.255/",
    "http://172.32.0.0/",
    "http://192.0.1.1/",
    "http://192.167.255.255/",
    "http://198.17.255.255/",
    "http://198.20.0.0/",
    "http://223.255.255.255/",
    "http://[2606:2800:220:1:248:1893:25c8:1946]/",
    "http://[2001:4860:4860::8888]:8080/",
    "http://[2a00:1450:4001:81b::200e]/",
    "http://[64:ff9b::8.8.8.8]/",
];

#[tokio::test]
async fn no_disguise_leads_inside() {
    let guard = Names::guard(OUTSIDE);
    for url in [NUMBERS, INSIDE_NAMES].concat() {
        assert_eq!(guard.check(url).await, Err(Refusal::Inside), "{url}");
        assert_eq!(guard.read(url), Err(Refusal::Inside), "{url}");
    }
}

#[tokio::test]
async fn no_name_that_resolves_inside_is_taken() {
    for answer in INSIDE_ANSWERS {
        assert_eq!(Names::guard(&[answer]).check("https://example.com/").await, Err(Refusal::Inside), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_outside_is_taken() {
    let guard = Names::guard(OUTSIDE);
    for url in OUTSIDE_URLS {
        assert!(guard.check(url).await.is_ok(), "{url}: {:?}", guard.check(url).await);
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_refused() {
    assert_eq!(Names::guard(&[]).check("https://example.com/").await, Err(Refusal::Unresolved));
    assert_eq!(Names::guard(&[&[]]).check("https://example.com/").await, Err(Refusal::Unresolved));
    let system = Guard::new(false, AllowedHosts::default(), Arc::new(SystemLookup));
    assert_eq!(system.check("https://no-such-name.invalid/").await, Err(Refusal::Unresolved));
    assert_eq!(system.check("https://ip6-localhost.invalid:1/").await, Err(Refusal::Unresolved));
}

#[test]
fn what_is_no_plain_web_address_is_refused_with_its_reason() {
    let guard = Names::guard(OUTSIDE);
    let long = format!("https://example.com/{}", "x".repeat(2_029));
    let long_when_encoded = format!("https://example.com/{}", "é".repeat(400));
    let cases: &[(&str, &str)] = &[
        ("", "url must begin with http:// or https://"),
        ("example.com/hook", "url must begin with http:// or https://"),
        ("example.com:80/hook", "url must begin with http:// or https://"),
        ("//example.com/", "url must begin with http:// or https://"),
        ("ftp://example.com/", "url must begin with http:// or https://"),
        ("file:///etc/passwd", "url must begin with http:// or https://"),
        ("javascript:alert(1)", "url must begin with http:// or https://"),
        ("gopher://127.0.0.1:25/", "url must begin with http:// or https://"),
        ("https://", "url must have a host"),
        ("https://?x", "url must have a host"),
        ("https://user@example.com/", "url must not have a user name or password"),
        ("https://user:pass@example.com/", "url must not have a user name or password"),
        ("https://:pass@example.com/", "url must not have a user name or password"),
        ("https://example.com@127.0.0.1/", "url must not have a user name or password"),
        ("https://example.com%40127.0.0.1/", "url must be a valid URL (invalid international domain name)"),
        ("https://example.com\\@127.0.0.1/", "url must not contain spaces, control characters or backslashes"),
        (" https://example.com/", "url must not contain spaces, control characters or backslashes"),
        ("https://example.com/a b", "url must not contain spaces, control characters or backslashes"),
        ("https://exa\tmple.com/", "url must not contain spaces, control characters or backslashes"),
        ("https://example.com/\r\nHost: x", "url must not contain spaces, control characters or backslashes"),
        ("https://example.com/\u{0}", "url must not contain spaces, control characters or backslashes"),
        ("https://example.com/\u{2028}", "url must not contain spaces, control characters or backslashes"),
        ("https://example.com/#x", "url must not have a fragment (#)"),
        ("https://example.com#@127.0.0.1/", "url must not have a fragment (#)"),
        ("https://example.com:0/", "url must not have the port 0"),
        ("https://example.com:65536/", "url must be a valid URL (invalid port number)"),
        ("https://example.com:80:80/", "url must be a valid URL (invalid port number)"),
        ("https://256.0.0.1/", "url must be a valid URL (invalid IPv4 address)"),
        ("https://1.2.3.4.5/", "url must be a valid URL (invalid IPv4 address)"),
        ("https://[::1/", "url must be a valid URL (invalid IPv6 address)"),
        ("https://[fe80::1%25eth0]/", "url must be a valid URL (invalid IPv6 address)"),
        ("https://[fe80::1%eth0]/", "url must be a valid URL (invalid IPv6 address)"),
        ("https://example.com%00.internal/", "url must be a valid URL (invalid international domain name)"),
        (&long, "url must be at most 2048 bytes long"),
        (&long_when_encoded, "url must be at most 2048 bytes long"),
        ("https://127.0.0.1/", "url must not lead to a private, loopback or otherwise internal address"),
    ];
    for (url, problem) in cases {
        assert_eq!(guard.read(url).unwrap_err().for_field("url").to_string(), *problem, "{url:?}");
    }
}

#[tokio::test]
async fn private_hosts_are_allowed_for_local_use_and_nothing_else() {
    let guard = Guard::new(true, AllowedHosts::default(), Names::answering(&[]));
    for url in [NUMBERS, INSIDE_NAMES, OUTSIDE_URLS].concat() {
        assert!(guard.check(url).await.is_ok(), "{url}");
    }
    assert_eq!(guard.check("file:///etc/passwd").await, Err(Refusal::Scheme));
    assert_eq!(guard.check("http://user@localhost/").await, Err(Refusal::UserName));
}

#[tokio::test]
async fn allowed_hosts_restrict_further() {
    let allowed = " Hooks.Example.com,*.EXAMPLE.org. , bücher.example, 93.184.216.34, 127.0.0.1, [2606:2800::1],";
    let allowed = AllowedHosts::parse("MEDIC_ALLOWED_HOSTS", allowed).unwrap();
    let guard = Guard::new(false, allowed, Names::answering(OUTSIDE));
    let taken = [
        "https://hooks.example.com/",
        "https://HOOKS.example.com.:8443/",
        "https://a.example.org/",
        "https://a.b.example.org/",
        "https://xn--bcher-kva.example/",
        "http://93.184.216.34/",
        "http://0x5db8d822/",
        "http://[2606:2800:0::1]/",
    ];
    for url in taken {
        assert!(guard.check(url).await.is_ok(), "{url}");
    }
    let refused = [
        "https://example.com/",
        "https://x.hooks.example.com/",
        "https://example.org/",
        "https://badexample.org/",
        "https://hooks.example.com.evil.net/",
        "http://93.184.216.35/",
        "http://localhost/",
    ];
    for url in refused {
        assert_eq!(guard.check(url).await, Err(Refusal::NotAllowed), "{url}");
    }
    assert_eq!(guard.check("http://127.0.0.1/").await, Err(Refusal::Inside));
}

#[test]
fn allowed_hosts_that_cannot_be_read_are_named() {
    for entry in
        ["https://example.com", "example.com:80", "example.com/x", "*", "*.", "a*.com", "*.1.2.3.4", "a b", "::1"]
    {
        let error = AllowedHosts::parse("MEDIC_ALLOWED_HOSTS", &format!("example.net, {entry}")).unwrap_err();
        let expected =
            format!("MEDIC_ALLOWED_HOSTS must list host names such as example.com or *.example.com, not {entry:?}");
        assert_eq!(error.to_string(), expected);
    }
}
