//! What a script's process may use, and as whom it runs.

use std::time::Duration;

use rustix::io;
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid, getgid, getuid, setrlimit};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::descendants::threads_of;

/// Address space of each process.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;
/// Size of one file.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Processes and threads besides those that run already.
const PROCESSES: u64 = 64;
/// Open files.
const OPEN_FILES: u64 = 1_024;
/// CPU time beyond the timeout.
const CPU_SLACK: Duration = Duration::from_secs(5);

/// Sets the limits of this process, and of whatever it becomes, except for memory.
pub(crate) fn bind(user: Option<u32>, timeout: Duration) -> io::Result<()> {
    if let Some(user) = user {
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    set_no_new_privs(true)?;
    // Whoever becomes another user loses this, so it comes after.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let seconds = (timeout + CPU_SLACK).as_secs();
    limit(Resource::Cpu, seconds, seconds + 1)?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, FILE_BYTES, FILE_BYTES)?;
    limit(Resource::Nofile, OPEN_FILES, OPEN_FILES)?;
    let processes = threads_of(getuid()) + PROCESSES;
    limit(Resource::Nproc, processes, processes)
}

/// Limits the memory of what this process becomes. The last limit, as an allocator may hold more address space already.
pub(crate) fn bind_memory() -> io::Result<()> {
    limit(Resource::As, MEMORY_BYTES, MEMORY_BYTES)
}

/// Runs `act` with the rights of a user, so that this process need not be root to look at what belongs to the user.
pub(crate) fn as_user<T>(user: u32, act: impl FnOnce() -> T) -> io::Result<T> {
    let (uid, gid) = (getuid(), getgid());
    set_thread_res_gid(gid, Gid::from_raw(user), gid)?;
    set_thread_res_uid(uid, Uid::from_raw(user), uid)?;
    let result = act();
    set_thread_res_uid(uid, uid, uid)?;
    set_thread_res_gid(gid, gid, gid)?;
    Ok(result)
}

/// Sets a limit, unless it is lower already.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let lower = |now: Option<u64>, wanted: u64| Some(now.map_or(wanted, |now| now.min(wanted)));
    setrlimit(resource, Rlimit { current: lower(now.maximum, soft), maximum: lower(now.maximum, hard) })
}
