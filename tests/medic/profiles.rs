//! The two profiles of release builds: quick to build for a local process, small for the functions' bootstraps.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The packages that a file's release profile names.
fn named(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)).unwrap();
    let (_, section) = text.split_once("[profile.release.package]\n").unwrap();
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split_once(" = {")).map(|(name, _)| name.to_owned()).collect()
}

/// What a manifest sets for a package holds for the bootstraps too, unless their configuration names the package.
#[test]
fn a_package_that_is_optimised_for_speed_is_named_in_the_profile_of_the_bootstraps() {
    let (quick, small) = (named("Cargo.toml"), named("functions/.cargo/config.toml"));
    assert!(quick.contains("argon2"), "{quick:?}");
    assert_eq!(quick, small);
}
