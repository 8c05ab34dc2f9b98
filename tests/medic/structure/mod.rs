//! The structure of the code: which crates and which rooms may use which, that no files use each other in a circle, and
//! that the map of docs/ARCHITECTURE.md names every module.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use graph::Graph;

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
const DOMAIN_USES: [&str; 6] = ["chrono", "chrono-tz", "hex", "sha2", "thiserror", "uuid"];

fn metadata() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap()
}

/// Returns our crates by name, each with its folder.
fn folders(metadata: &Metadata) -> BTreeMap<String, String> {
    let folder = |package: &Package| {
        let folder = package.manifest_path.parent().unwrap().strip_prefix(&metadata.workspace_root).unwrap();
        folder.as_str().replace('\\', "/")
    };
    metadata.workspace_packages().into_iter().map(|package| (package.name.to_string(), folder(package))).collect()
}

/// Returns what a crate needs to be built and run, by name.
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

/// The rooms of `operations`: calls go from one to those after it.
const ROOMS: [&str; 6] = ["sweep", "monitoring", "playbooks", "notifications", "access", "settings"];

/// The rooms that a file may use that lies in none: the fields of `Medic` are theirs, and `lib` hands on what they offer.
const ROOMLESS: [&str; 2] = ["medic.rs", "lib.rs"];

/// Returns our crates but the tests' own, each with its folder.
fn crates(metadata: &Metadata) -> impl Iterator<Item = (String, std::path::PathBuf)> {
    let root = metadata.workspace_root.as_std_path().to_owned();
    folders(metadata).into_values().filter(|folder| folder != "tests").map(move |folder| {
        let path = root.join(&folder);
        (folder, path)
    })
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let metadata = metadata();
    let mut circles = Vec::new();
    for (folder, path) in crates(&metadata) {
        circles.extend(Graph::of_crate(&path).circles().into_iter().map(|files| format!("{folder}: {files:?}")));
    }
    assert_eq!(circles, [""; 0]);
}

/// Returns the uses within `operations` that go against the direction.
fn against_the_direction(graph: &Graph) -> Vec<String> {
    let room = |file: &str| ROOMS.iter().position(|room| file.split(['/', '.']).next() == Some(room));
    let is_wrong = |from: &str, to: &str| match (room(from), room(to)) {
        (Some(from), Some(to)) => from > to,
        (None, Some(_)) => !ROOMLESS.contains(&from),
        (_, None) => false,
    };
    let wrong = graph.uses().filter(|(from, to)| is_wrong(from, to));
    wrong.map(|(from, to)| format!("{from} must not use {to}")).collect()
}

#[test]
fn calls_between_rooms_go_one_way() {
    let operations = metadata().workspace_root.join("shared/operations");
    assert_eq!(against_the_direction(&Graph::of_crate(operations.as_std_path())), [""; 0]);
}

/// Returns a crate of three files, one of which ends with `more`.
fn small_crate(more: &str) -> Graph {
    let files = [
        ("lib.rs", "mod medic; mod monitoring { } mod settings;\npub use medic::Medic;".to_owned()),
        ("medic.rs", "pub struct Medic;".to_owned()),
        (
            "monitoring/judge.rs",
            "use crate::Medic;\nimpl Medic { pub(crate) fn judge(&self) { self.find() } fn held(&self) {} }".to_owned(),
        ),
        (
            "settings/services.rs",
            format!("use crate::Medic;\nimpl Medic {{ pub fn find(&self) {{}} fn save(&self) {{ {more} }} }}"),
        ),
    ];
    Graph::of_files(&files.map(|(name, text)| (name.to_owned(), text)).into())
}

#[test]
fn a_circle_is_found_that_only_method_calls_make() {
    assert_eq!(small_crate("").circles(), [[""; 0]; 0]);
    assert_eq!(against_the_direction(&small_crate("")), [""; 0]);
    for call in ["self.judge()", "Self::judge(self)"] {
        let circular = small_crate(call);
        assert_eq!(circular.circles(), [["monitoring/judge.rs", "settings/services.rs"]], "{call}");
        let wrong = "settings/services.rs must not use monitoring/judge.rs";
        assert_eq!(against_the_direction(&circular), [wrong], "{call}");
    }
}

/// Returns the modules of crates that the map of docs/ARCHITECTURE.md does not name in their crate's row.
fn missing_from_map<'a>(map: &str, crates: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>) -> Vec<String> {
    let mut missing = Vec::new();
    for (folder, files) in crates {
        let row = map.lines().find(|line| line.starts_with(&format!("| `{folder}`"))).unwrap_or_default();
        let named: BTreeSet<&str> =
            row.split('`').skip(1).step_by(2).flat_map(|names| names.split([',', ' '])).collect();
        for file in files {
            let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let name = path.rsplit('/').next().unwrap_or_default();
            if !matches!(path, "lib" | "main") && !named.contains(name) {
                missing.push(format!("{folder}: {path}"));
            }
        }
    }
    missing
}

#[test]
fn the_map_names_every_module() {
    let metadata = metadata();
    let map = fs::read_to_string(metadata.workspace_root.join("docs/ARCHITECTURE.md")).unwrap();
    let graphs: Vec<_> = crates(&metadata).map(|(folder, path)| (folder, Graph::of_crate(&path))).collect();
    let files = |graph: &Graph| graph.files().cloned().collect::<Vec<_>>();
    let crates: Vec<_> = graphs.iter().map(|(folder, graph)| (folder.as_str(), files(graph))).collect();
    let crates = crates.iter().map(|(folder, files)| (*folder, files.iter().map(String::as_str).collect()));
    assert_eq!(missing_from_map(&map, crates), [""; 0]);
}

#[test]
fn a_module_that_the_map_does_not_name_is_found() {
    let map = "| `shared/store` | the table | `keys` (every key), `alerts, runs` |";
    let files = vec!["lib.rs", "keys.rs", "runs.rs", "lanes.rs", "executions/plan.rs"];
    let missing = missing_from_map(map, [("shared/store", files)]);
    assert_eq!(missing, ["shared/store: lanes", "shared/store: executions/plan"]);
}
