//! Keeps a script from the metadata services of clouds: the kernel asks the runner of each address that the script or
//! what it starts is about to send to, and the runner looks it up in the caller's memory.

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{MaybeUninit, offset_of};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

use libc::{c_long, seccomp_notif};
use rustix::cmsg_space;
use rustix::event::PollFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::getuid;

use crate::limits::as_user;
use crate::metadata::{ADDRESS_BYTES, is_metadata, socket_address};
use crate::seccomp::{self, Verdict};

/// The most messages that the kernel takes in one call.
const MAX_MESSAGES: u64 = 1_024;
/// How much is sent of the reason why a script is not watched.
const REASON_BYTES: usize = 256;

/// The runner's side.
#[derive(Debug)]
pub(crate) struct Watch {
    /// None once there is nobody left to ask, or if the kernel would not.
    listener: Option<OwnedFd>,
    /// Whom the script runs as.
    user: u32,
    gap: Option<String>,
}

/// Submits this process, the launcher, and whatever it becomes, to the runner behind this socket. Where the
/// kernel refuses it, the runner is sent the reason, and the script goes on without.
pub(crate) fn submit(runner: BorrowedFd<'_>) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        // It is older than the filter, and so not bound by it: until the runner has the listener, nobody answers.
        let send = move || receiver.recv().map(|listener| hand_over(runner, &listener));
        let thread = thread::Builder::new().spawn_scoped(scope, send)?;
        let lost = || io::Error::other("nobody handed over the listener");
        sender.send(seccomp::install()).map_err(|_| lost())?;
        thread.join().ok().and_then(Result::ok).ok_or_else(lost)?
    })
}

fn hand_over(runner: BorrowedFd<'_>, listener: &io::Result<OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let text = match listener {
        Ok(_) => String::from("watched"),
        Err(error) => error.to_string(),
    };
    let files = listener.as_ref().ok().map(|listener| [listener.as_fd()]);
    if let Some(files) = &files {
        control.push(SendAncillaryMessage::ScmRights(files));
    }
    sendmsg(runner, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::empty())?;
    Ok(())
}

impl Watch {
    /// Takes over the script that a launcher behind this socket is about to become.
    pub(crate) fn accept(launcher: &UnixStream, user: Option<u32>) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; REASON_BYTES];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read = recvmsg(launcher, &mut [IoSliceMut::new(&mut text)], &mut control, flags)?.bytes;
        let listener = control.drain().find_map(|message| {
            let RecvAncillaryMessage::ScmRights(mut files) = message else { return None };
            files.next()
        });
        // Without a word, the launcher has ended, and no script runs.
        let is_refused = listener.is_none() && read > 0;
        let gap =
            is_refused.then(|| format!("the kernel refused the filter: {}", String::from_utf8_lossy(&text[..read])));
        Ok(Self { listener, user: user.unwrap_or_else(|| getuid().as_raw()), gap })
    }

    /// Returns what to poll until something comes that `answer` takes.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(OwnedFd::as_fd)
    }

    /// Responds to a request, if these events of the listener say that there is one.
    pub(crate) fn answer(&mut self, events: PollFlags) {
        let Some(listener) = self.listener.take() else { return };
        let answered = match events {
            events if events.contains(PollFlags::IN) => self.answer_one(listener.as_fd()),
            events if events.is_empty() => Ok(()),
            // All that could ask have ended.
            _ => return,
        };
        // A listener that fails is closed, so that whoever asks is refused rather than left waiting.
        if answered.is_ok() {
            self.listener = Some(listener);
        }
    }

    /// Returns why the script was not kept from metadata services, if it was not.
    pub(crate) fn into_gap(self) -> Option<String> {
        self.gap
    }

    fn answer_one(&mut self, listener: BorrowedFd<'_>) -> io::Result<()> {
        let done = seccomp::receive(listener).and_then(|request| {
            // It need not be checked again whose memory this is: if the caller was another one, it has ended, and the
            // answer reaches nobody.
            seccomp::answer(listener, request.id, self.verdict(&request))
        });
        match done.as_ref().map_err(io::Error::raw_os_error) {
            // The caller was ended, or interrupted and will ask again.
            Err(Some(libc::ENOENT | libc::EINTR)) => Ok(()),
            Ok(()) | Err(_) => done,
        }
    }

    fn verdict(&mut self, request: &seccomp_notif) -> Verdict {
        let memory = match self.memory(request.pid) {
            Ok(memory) => memory,
            Err(error) if self.is_barred(request.pid, &error) => {
                self.gap = Some(format!("a script's memory could not be read: {error}"));
                return Verdict::GoOn;
            }
            Err(_) => return Verdict::Refuse,
        };
        match destinations(&memory, request) {
            Ok(addresses) if !addresses.iter().copied().any(is_metadata) => Verdict::GoOn,
            Ok(_) | Err(_) => Verdict::Refuse,
        }
    }

    /// Opens the memory of a process. Root may lack the right to read it (in containers, often), except for what the
    /// user may.
    fn memory(&self, pid: u32) -> io::Result<File> {
        let open = || File::open(memory_path(pid));
        open().or_else(|error| if getuid().is_root() { as_user(self.user, open)? } else { Err(error) })
    }

    /// Returns whether it is the machine that lets no process read another one's memory. If it is the script that hides
    /// its memory, the memory belongs to root.
    fn is_barred(&self, pid: u32, error: &io::Error) -> bool {
        let is_the_users = || fs::metadata(memory_path(pid)).is_ok_and(|file| file.uid() == self.user);
        error.kind() == io::ErrorKind::PermissionDenied && is_the_users()
    }
}

fn memory_path(pid: u32) -> String {
    format!("/proc/{pid}/mem")
}

/// Returns the Internet addresses that a call names.
fn destinations(memory: &File, request: &seccomp_notif) -> io::Result<Vec<SocketAddr>> {
    let [_, second, third, _, fifth, sixth] = request.data.args;
    let found = match c_long::from(request.data.nr) {
        libc::SYS_connect => vec![address(memory, second, third)?],
        libc::SYS_sendto => vec![address(memory, fifth, sixth)?],
        libc::SYS_sendmsg => vec![named(memory, second)?],
        libc::SYS_sendmmsg => {
            let one = size_of::<libc::mmsghdr>() as u64;
            let messages = 0..low(third).min(MAX_MESSAGES);
            messages.map(|message| named(memory, second.saturating_add(message * one))).collect::<io::Result<_>>()?
        }
        call => return Err(io::Error::other(format!("nobody should have asked about call {call}"))),
    };
    Ok(found.into_iter().flatten().collect())
}

/// Returns the address that a `msghdr` at this place names.
fn named(memory: &File, at: u64) -> io::Result<Option<SocketAddr>> {
    let (mut name, mut length) = ([0; 8], [0; 4]);
    memory.read_exact_at(&mut name, at.saturating_add(offset_of!(libc::msghdr, msg_name) as u64))?;
    memory.read_exact_at(&mut length, at.saturating_add(offset_of!(libc::msghdr, msg_namelen) as u64))?;
    address(memory, u64::from_ne_bytes(name), u32::from_ne_bytes(length).into())
}

/// Returns the socket address of this length at this place.
fn address(memory: &File, at: u64, length: u64) -> io::Result<Option<SocketAddr>> {
    let mut bytes = [0; ADDRESS_BYTES];
    let length = usize::try_from(low(length)).unwrap_or(usize::MAX).min(ADDRESS_BYTES);
    if at != 0 {
        memory.read_exact_at(&mut bytes[..length], at)?;
    }
    Ok(socket_address(bytes))
}

/// Returns what the kernel takes of an argument of 32 bits.
fn low(argument: u64) -> u64 {
    argument & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_hides_is_distinguished_from_a_machine_that_bars() {
        let own = fs::metadata("/proc/self").unwrap().uid();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let watch = |user| Watch { listener: None, user, gap: None };
        assert!(watch(own).is_barred(std::process::id(), &denied));
        assert!(!watch(own + 1).is_barred(std::process::id(), &denied), "a hidden one's memory is not its user's");
        assert!(!watch(own).is_barred(std::process::id(), &io::ErrorKind::NotFound.into()), "it has ended");
    }
}
