//! How much memory the local process takes, and how soon it is ready when there is data.

use std::time::Duration;

use harness::Process;

use crate::figure::Figure;
use crate::speed::register;

const SERVICES: usize = 1_000;

pub(crate) async fn figures() -> Vec<Figure> {
    let folder = tempfile::tempdir().expect("a folder");
    let process = Process::start(folder.path(), &[]).await;
    let fresh = process.ready_after;
    register(&process, SERVICES).await;
    rest().await;
    let registered = resident(process.pid());
    let (ended, stop) = process.signal("TERM");
    assert!(ended.success(), "it stops cleanly");
    let process = Process::start(folder.path(), &[]).await;
    let ready = process.ready_after;
    rest().await;
    let restarted = resident(process.pid());
    vec![
        Figure::new("medic-local idle, 1,000 services, since they were registered", registered, "MB").at_most(60.0),
        Figure::new("medic-local idle, 1,000 services, since its start", restarted, "MB").at_most(60.0),
        Figure::new("start to ready, empty folder", fresh.as_secs_f64(), "s").at_most(2.0),
        Figure::new("start to ready, 1,000 services", ready.as_secs_f64(), "s").at_most(2.0),
        Figure::new("SIGTERM to end", stop.as_secs_f64(), "s").at_most(5.0),
    ]
}

/// Waits long enough for the process to be idle.
async fn rest() {
    #[expect(clippy::disallowed_methods, reason = "the process that is measured has the machine's time")]
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// Returns the resident memory in MB. See proc(5).
pub(crate) fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    let kib: u32 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    f64::from(kib) * 1_024.0 / 1e6
}
