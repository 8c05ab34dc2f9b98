//! The sandbox under test: as whoever runs the tests, and as somebody without privileges, as on Lambda.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;

use outbound::ScriptInterpreter;
use script::{Ended, Order, Sandbox};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_script");

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// What makes a command run as this user, where root runs the tests.
pub(crate) fn as_user(user: u32) -> Vec<OsString> {
    let arguments =
        ["setpriv".to_owned(), format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()];
    if is_root() { arguments.map(OsString::from).into() } else { Vec::new() }
}

/// The sandboxes, each with its name. Every one without privileges has a user of its own, whose processes are counted.
pub(crate) fn sandboxes() -> Vec<(&'static str, Sandbox)> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static USERS: AtomicU32 = AtomicU32::new(0);
    let user = 61_200 + (std::process::id() % 30) * 100 + USERS.fetch_add(1, Ordering::Relaxed);
    let usual = Sandbox::of([BINARY.into()]);
    let unprivileged = Sandbox::of(as_user(user).into_iter().chain([BINARY.into()]));
    vec![("as this user", usual), ("without privileges", unprivileged)]
}

pub(crate) fn order(interpreter: ScriptInterpreter, content: &str, timeout_seconds: u32) -> Order {
    let (environment, secrets) = (BTreeMap::new(), Vec::new());
    Order { interpreter, content: content.to_owned(), environment, secrets, timeout_seconds }
}

pub(crate) fn bash(content: &str) -> Order {
    order(ScriptInterpreter::Bash, content, 20)
}

pub(crate) fn python(content: &str) -> Order {
    order(ScriptInterpreter::Python, content, 20)
}

/// Returns how the script ended, which must be alike in every sandbox.
pub(crate) async fn run(order: &Order) -> Ended {
    run_in(sandboxes(), order).await
}

/// Returns how the script ended, which must be alike in all of these.
pub(crate) async fn run_in(sandboxes: Vec<(&'static str, Sandbox)>, order: &Order) -> Ended {
    let mut all = Vec::new();
    for (name, sandbox) in sandboxes {
        let mut ended = sandbox.run(order).await.unwrap();
        ended.output = without_folder(&ended.output);
        all.push((name, ended));
    }
    let (_, first) = all[0].clone();
    for (name, ended) in all {
        assert_eq!(ended, first, "{name}");
    }
    first
}

pub(crate) fn success(output: &str) -> Ended {
    Ended { exit: Some(0), output: output.to_owned(), error: None }
}

/// A script's folder is another one each time.
fn without_folder(output: &str) -> String {
    const PREFIX: &str = "medic-script-";
    const RANDOM: usize = 6;
    let mut parts = output.split(PREFIX);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + PREFIX + part.get(RANDOM..).unwrap_or_default())
}
