//! `Authorization`: one key has one text.

#![no_main]

use domain::Credential;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|header: &str| {
    let Some(credential) = Credential::from_authorization(header) else { return };
    let key = credential.reveal();
    assert!(header.trim_end().ends_with(&key));
    assert_eq!(Credential::parse(&key), Some(credential));
});
