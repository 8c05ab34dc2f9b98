//! Finds and ends everything that a process has started, however far down.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, Uid, WaitOptions, getpid, kill_process, prlimit, wait};

/// How long it tries to end them before it gives up.
const TIME_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// Ends every descendant of this process, which must be their subreaper, and waits until none is left. Returns whether
/// none is.
pub(crate) fn end_all() -> bool {
    let began = Instant::now();
    loop {
        let left = descendants(getpid());
        if left.is_empty() {
            return true;
        }
        // First, none may start another, so that the next look finds no new ones.
        for pid in &left {
            bar_from_forking(*pid);
        }
        for pid in &left {
            // One that is gone needs no signal.
            kill_process(*pid, Signal::KILL).unwrap_or_default();
        }
        while matches!(wait(WaitOptions::NOHANG), Ok(Some(_))) {}
        if began.elapsed() > TIME_LIMIT {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns how many threads a user has.
pub(crate) fn threads_of(user: Uid) -> u64 {
    let status = |pid: Pid| std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok();
    let threads = |status: String| {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        let is_theirs = field("Uid:")?.parse() == Ok(user.as_raw());
        is_theirs.then(|| field("Threads:")?.parse::<u64>().ok()).flatten()
    };
    processes().filter_map(status).filter_map(threads).sum()
}

/// Stops a process from starting any other.
fn bar_from_forking(pid: Pid) {
    // One that is gone starts none either.
    prlimit(Some(pid), Resource::Nproc, Rlimit { current: Some(0), maximum: Some(0) }).map(|_| ()).unwrap_or_default();
}

/// Returns every process below this one.
fn descendants(of: Pid) -> HashSet<Pid> {
    let all: Vec<_> = processes().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = HashSet::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|(_, its)| *its == parent).map(|(pid, _)| *pid);
        parents.extend(children.filter(|pid| found.insert(*pid)));
    }
    found
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?))
}

fn parent(pid: Pid) -> Option<Pid> {
    // A name may hold anything, so what follows it is found from its end.
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    Pid::from_raw(stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?)
}
