//! Has the kernel ask before a process sends to an address: seccomp's notifications (`man 2 seccomp_unotify`). What is
//! unsafe in Medic is here.
#![expect(unsafe_code, reason = "no maintained crate offers these calls without libseccomp, which is C")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use libc::{c_int, c_long, c_ulong, seccomp_data, seccomp_notif, seccomp_notif_resp, sock_filter, sock_fprog};

/// The architecture whose numbers of system calls these are (`AUDIT_ARCH_…`); none where Medic does not know.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_003e);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xc000_00b7);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<u32> = None;

/// From here on, x86-64 counts the system calls of x32, a second way to each.
const X32: u32 = 0x4000_0000;

/// The calls that name an address, or may. `sendto` may too, and is distinguished by its argument.
pub(crate) const ASKED: [c_long; 3] = [libc::SYS_connect, libc::SYS_sendmsg, libc::SYS_sendmmsg];

/// The calls that make shared memory, semaphores and queues which no process owns. Files in `/dev/shm` do without them.
const LASTING: [c_long; 4] = [libc::SYS_shmget, libc::SYS_semget, libc::SYS_msgget, libc::SYS_mq_open];

/// What the kernel does with the call that it asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    /// EACCES.
    Refuse,
}

/// Makes the kernel ask about such calls of this thread, and of whatever it becomes or starts. Needs `no_new_privs`.
/// Returns the listener, from which the requests are received; once it is closed, such calls fail.
pub(crate) fn install() -> io::Result<OwnedFd> {
    let mut filter = filter().ok_or(io::ErrorKind::Unsupported)?;
    let len = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = sock_fprog { len, filter: filter.as_mut_ptr() };
    let set = |flag: c_ulong| {
        let operation = c_ulong::from(libc::SECCOMP_SET_MODE_FILTER);
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | flag;
        // SAFETY: the kernel reads the program, whose length is that of the filter; both live until it answers.
        let listener = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, &raw const program) };
        c_int::try_from(listener).ok().filter(|listener| *listener >= 0).ok_or_else(io::Error::last_os_error)
    };
    // Since 5.19, no signal interrupts a call that waits for its answer. Without that, the other flag means nothing here
    // but that the kernel is 5.7 at least, and so lets calls go on (5.5).
    let listener =
        set(libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV).or_else(|_| set(libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH))?;
    // SAFETY: the kernel has just created it for this call, so that nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Receives the next request. To be called when the listener can be read, or else it waits.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> io::Result<seccomp_notif> {
    let data = seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] };
    let mut request = seccomp_notif { id: 0, pid: 0, flags: 0, data };
    // SAFETY: the kernel writes one such structure, whose size is part of the operation's number, or nothing.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut request) };
    if done == 0 { Ok(request) } else { Err(io::Error::last_os_error()) }
}

/// Responds to a request. It fails with ENOENT if the caller was ended or interrupted.
pub(crate) fn answer(listener: BorrowedFd<'_>, id: u64, verdict: Verdict) -> io::Result<()> {
    let (error, flags) = match verdict {
        Verdict::GoOn => (0, CONTINUE),
        Verdict::Refuse => (-libc::EACCES, 0),
    };
    let mut answer = seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: the kernel reads one such structure, whose size is part of the operation's number.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`, as wide as the answer has it.
const CONTINUE: u32 = 1;

/// Returns the filter that decides what the kernel does with each call. It must be quick, and sees no memory.
fn filter() -> Option<Vec<sock_filter>> {
    let errno = |errno: c_int| libc::SECCOMP_RET_ERRNO | errno.unsigned_abs();
    let mut filter = vec![load(ARCHITECTURE_AT)];
    // Programs of another architecture would have other numbers, and may not run.
    filter.extend(unless(ARCHITECTURE?, libc::SECCOMP_RET_KILL_PROCESS));
    filter.push(load(NUMBER_AT));
    filter.extend(from(X32, errno(libc::ENOSYS)));
    for asked in ASKED {
        filter.extend(on(number(asked)?, libc::SECCOMP_RET_USER_NOTIF));
    }
    // It would connect and send without any of these calls. Programs do without it where a kernel has none.
    filter.extend(on(number(libc::SYS_io_uring_setup)?, errno(libc::EPERM)));
    // What these make would outlive the script.
    for lasting in LASTING {
        filter.extend(on(number(lasting)?, errno(libc::ENOSYS)));
    }
    filter.extend(unless(number(libc::SYS_sendto)?, libc::SECCOMP_RET_ALLOW));
    // A null pointer is no address.
    for half in [SENDTO_ADDRESS_AT, SENDTO_ADDRESS_AT + 4] {
        filter.push(load(half));
        filter.extend(unless(0, libc::SECCOMP_RET_USER_NOTIF));
    }
    filter.push(answered(libc::SECCOMP_RET_ALLOW));
    Some(filter)
}

fn number(call: c_long) -> Option<u32> {
    u32::try_from(call).ok()
}

/// Where the kernel's `seccomp_data` has what is looked at.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
/// The fifth of six arguments, of 8 bytes each.
const SENDTO_ADDRESS_AT: u32 = 16 + 4 * 8;

fn load(at: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

fn answered(answer: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, answer)
}

/// Returns the answer if the loaded value is this one.
fn on(value: u32, answer: u32) -> [sock_filter; 2] {
    [instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, value), answered(answer)]
}

/// Returns the answer if the loaded value is not this one.
fn unless(value: u32, answer: u32) -> [sock_filter; 2] {
    [instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, value), answered(answer)]
}

/// Returns the answer if the loaded value is this one or greater.
fn from(value: u32, answer: u32) -> [sock_filter; 2] {
    [instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, value), answered(answer)]
}

/// Returns an instruction, which skips this many of those that follow when its condition holds (`jt`) and does not (`jf`).
fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // Every code is below 256.
    sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}
