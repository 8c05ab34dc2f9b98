//! The files of a script: how many there are while it runs, and what is to be removed when it has ended.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// How many files and folders a script may have.
const MAX_FILES: u64 = 10_000;
/// How much they may take together.
const MAX_BYTES: u64 = 256 * 1_024 * 1_024;
const BLOCK: u64 = 512;

/// Where everybody may write, and a script's files are its user's.
const SHARED: [&str; 4] = ["/dev/shm", "/tmp", "/var/tmp", "/run/lock"];
/// How deep in these another user's folders are searched that everybody may write to.
const DEPTH: usize = 2;

/// Says what there is too much of: in a script's folder and, where the user is its own, where everybody may write.
pub(crate) fn excess(folder: &Path, user: Option<u32>) -> Option<&'static str> {
    let (mut files, mut blocks) = (0, 0);
    let mut left = vec![folder.to_owned()];
    left.extend(user.map(files_of).into_iter().flatten());
    while let Some(path) = left.pop() {
        // What is gone meanwhile counts for nothing.
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        files += 1;
        blocks += found.blocks();
        if files > MAX_FILES {
            return Some("Script was ended: it had more than 10000 files");
        }
        if blocks * BLOCK > MAX_BYTES {
            return Some("Script was ended: its files took more than 256 MB");
        }
        if found.is_dir() {
            left.extend(entries(&path).map(|(path, _)| path));
        }
    }
    None
}

/// Removes a script's folder, also where it took away its own rights to it.
pub(crate) fn remove_folder(folder: &Path) -> io::Result<()> {
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap_or_default();
        left.extend(entries(&path).filter(|(_, found)| found.is_dir()).map(|(path, _)| path));
    }
    fs::remove_dir_all(folder)
}

/// Removes what a user has left where everybody may write, shared memory among it. Nothing may run as that user.
pub(crate) fn remove_files_of(user: u32) {
    for path in files_of(user) {
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        // Somebody else may have removed it.
        if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.unwrap_or_default();
    }
}

/// Returns a user's files and folders where everybody may write, without what is in these folders.
fn files_of(user: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left: Vec<_> = SHARED.iter().map(|folder| (PathBuf::from(folder), DEPTH)).collect();
    while let Some((folder, depth)) = left.pop() {
        for (path, metadata) in entries(&folder) {
            if metadata.uid() == user {
                found.push(path);
            } else if depth > 0 && metadata.is_dir() && metadata.mode() & 0o002 != 0 {
                left.push((path, depth - 1));
            }
        }
    }
    found
}

/// Returns what is in a folder; links are not followed.
fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, Metadata)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
}
