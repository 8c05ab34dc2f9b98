//! The path of a ping, and the names, labels and times that requests hold.

#![no_main]

use domain::{HeartbeatName, Label, PingKeyText, PingKind, RunId, format_time, parse_time};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(key) = PingKeyText::parse(text) {
        assert_eq!(key.reveal(), text);
    }
    if let Some(PingKind::Fail) = PingKind::parse(text) {
        assert!(text == "fail" || text.parse::<u8>().is_ok_and(|status| status > 0));
    }
    if let Ok(name) = HeartbeatName::parse(text) {
        assert_eq!(name.as_str(), text);
        assert!(!text.contains('/'));
    }
    if let Ok(label) = Label::parse("name", text, 128) {
        assert_eq!(label.as_str(), text);
        assert!(RunId::parse(text).is_ok());
    }
    if let Ok(time) = parse_time("at", text) {
        let shown = format_time(time);
        assert_eq!(parse_time("at", &shown).map(format_time), Ok(shown));
    }
});
