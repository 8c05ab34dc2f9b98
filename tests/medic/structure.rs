//! The directions of dependencies: what ships never leans on what stands in for AWS, and the rules lean on nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// What a crate or a folder of crates may use of ours, `functions/*` standing for each crate there. Tests may use all.
const DIRECTIONS: [(&str, &[&str]); 8] = [
    ("shared/domain", &[]),
    ("shared/store", &["shared/domain"]),
    ("shared/outbound", &["shared/domain"]),
    ("shared/operations", &["shared/domain", "shared/store", "shared/outbound"]),
    ("shared/runtime", &["shared/domain", "shared/store", "shared/outbound", "shared/operations"]),
    ("functions/*", &["shared/*"]),
    ("infra/emulators", &[]),
    ("infra/local", &["shared/*", "functions/*", "infra/emulators"]),
];

/// All that the rules may use: no async, no AWS, no serde.
const DOMAIN_USES: [&str; 5] = ["chrono", "chrono-tz", "sha2", "thiserror", "uuid"];

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap()
}

/// Our crates by name, each with its folder.
fn folders(metadata: &Metadata) -> BTreeMap<String, String> {
    let folder = |package: &Package| {
        let folder = package.manifest_path.parent().unwrap().strip_prefix(&metadata.workspace_root).unwrap();
        folder.as_str().replace('\\', "/")
    };
    metadata.workspace_packages().into_iter().map(|package| (package.name.to_string(), folder(package))).collect()
}

/// What a crate needs to be built and run, by name.
fn uses(package: &Package) -> BTreeSet<String> {
    let shipped = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
    shipped.map(|dependency| dependency.name.clone()).collect()
}

fn is_in(folder: &str, pattern: &str) -> bool {
    folder == pattern
        || pattern
            .strip_suffix('*')
            .is_some_and(|parent| folder.strip_prefix(parent).is_some_and(|rest| !rest.is_empty()))
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let metadata = metadata();
    let folders = folders(&metadata);
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        let folder = &folders[package.name.as_str()];
        if folder == "tests" {
            continue;
        }
        let Some((_, allowed)) = DIRECTIONS.iter().find(|(pattern, _)| is_in(folder, pattern)) else {
            wrong.push(format!("{folder} has no place in the directions"));
            continue;
        };
        for used in uses(package).iter().filter_map(|name| folders.get(name)) {
            if !allowed.iter().any(|pattern| is_in(used, pattern)) {
                wrong.push(format!("{folder} must not depend on {used}"));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_rules_need_no_runtime() {
    let metadata = metadata();
    let domain = metadata.workspace_packages().into_iter().find(|package| package.name.as_str() == "domain").unwrap();
    let others: Vec<_> = uses(domain).into_iter().filter(|name| !DOMAIN_USES.contains(&name.as_str())).collect();
    assert_eq!(others, [""; 0]);
}

/// The one place where Medic may do what the compiler cannot check.
const UNSAFE: &str = "functions/script/src/seccomp.rs";

#[test]
fn nothing_is_unsafe_but_in_one_place() {
    // In two parts, so that it is not found here.
    let lifted = concat!("unsafe", "_code");
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    let mut folders: Vec<_> = folders(&metadata).into_values().map(|folder| root.join(folder)).collect();
    let mut lifting = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && fs::read_to_string(&path).unwrap().contains(lifted)
            {
                lifting.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    assert_eq!(lifting, BTreeSet::from([UNSAFE.to_owned()]));
}
