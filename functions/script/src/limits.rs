//! What a script's process may use, and as whom it runs.

use std::time::Duration;

use rustix::io;
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid, getgid, getpid, getuid, setrlimit};
use rustix::thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::descendants::threads_of;

/// Address space of each process.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;
/// Size of one file.
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Processes and threads besides those that run already.
const PROCESSES: u64 = 64;
/// CPU time beyond the timeout.
const CPU_SLACK: Duration = Duration::from_secs(5);
/// The users that no distribution and no systemd gives to anyone (systemd's UIDS-GIDS: 60578 to 61183 are unused).
const FIRST_USER: u32 = 60_578;
const USERS: u32 = 606;

/// Returns the user that scripts of this runner run as, if Medic runs as root: a user of its own, so that no script can
/// reach another one, nor anything of Medic's, and the limit on processes holds.
pub(crate) fn own_user() -> Option<u32> {
    let runner = u32::try_from(getpid().as_raw_nonzero().get()).unwrap_or_default();
    getuid().is_root().then_some(FIRST_USER + runner % USERS)
}

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
