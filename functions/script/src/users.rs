//! Hands out users to scripts, where Medic runs as root: each to one script at a time, on the whole machine.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Uid, getpid, getuid};

use crate::descendants::threads_of;
use crate::leftovers::remove_files_of;

/// The users that no distribution and no systemd gives to anyone (systemd's UIDS-GIDS: 60578 to 61183 are unused).
const FIRST_USER: u32 = 60_578;
const USERS: u32 = 606;

/// Where locks are kept; the second where the first cannot be written to.
const FOLDERS: [&str; 2] = ["/run", "/tmp"];
const NAME: &str = "medic-script-users";
const MODE: u32 = 0o700;

/// A user that no other script has for as long as this exists: no script can reach another one, nor anything of Medic's,
/// and the limit on processes holds.
#[derive(Debug)]
pub(crate) struct OwnUser {
    id: u32,
    /// Locked, until the process ends at the latest.
    _lock: File,
}

impl OwnUser {
    /// Takes a user that nobody has and as whom nothing runs. None where Medic does not run as root.
    pub(crate) fn take() -> io::Result<Option<Self>> {
        if !getuid().is_root() {
            return Ok(None);
        }
        let folder = folder()?;
        // Runners begin at different ones, so that few meet.
        let first = u32::try_from(getpid().as_raw_nonzero().get()).unwrap_or_default();
        for n in 0..USERS {
            let id = FIRST_USER + (first + n) % USERS;
            let lock = File::create(folder.join(id.to_string()))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            // What a runner that was killed has left may still run.
            if threads_of(Uid::from_raw(id)) == 0 {
                remove_files_of(id);
                return Ok(Some(Self { id, _lock: lock }));
            }
        }
        Err(io::Error::other("every user for scripts is in use"))
    }

    pub(crate) const fn id(&self) -> u32 {
        self.id
    }
}

/// Returns the folder of the locks, which only root can write to.
fn folder() -> io::Result<PathBuf> {
    let mut error = io::Error::from(io::ErrorKind::NotFound);
    for parent in FOLDERS {
        let folder = Path::new(parent).join(NAME);
        match DirBuilder::new().mode(MODE).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists => {
                let known = fs::symlink_metadata(&folder)?;
                if known.is_dir() && known.uid() == 0 && known.mode() & 0o777 == MODE {
                    return Ok(folder);
                }
                error = io::Error::other(format!("{} is not root's alone", folder.display()));
            }
            Err(problem) => error = problem,
        }
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_user_is_handed_out_once_and_not_while_something_runs_as_it() {
        let Some(first) = OwnUser::take().unwrap() else { return };
        let second = OwnUser::take().unwrap().unwrap();
        assert_ne!(first.id(), second.id());
        let user = first.id();
        let as_user = [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()];
        let mut left = Command::new("setpriv").args(as_user).args(["cat"]).stdin(Stdio::piped()).spawn().unwrap();
        while threads_of(Uid::from_raw(user)) == 0 {
            assert!(left.try_wait().unwrap().is_none(), "it ended");
        }
        drop(first);
        let third = OwnUser::take().unwrap().unwrap();
        assert!(third.id() != user && third.id() != second.id(), "{third:?}");
        drop(left.stdin.take());
        left.wait().unwrap();
        assert_eq!(OwnUser::take().unwrap().unwrap().id(), user, "it is free again");
    }
}
