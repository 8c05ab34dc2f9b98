//! The data folder: in use by one process, and readable by its owner alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Error, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use operations::new_secrets_key;

use crate::start_error::StartError;

/// The databases in it. `SQLite` gives the files beside a database the permissions of the database.
const TABLE: &str = "table.db";
const QUEUES: &str = "queues.db";

/// A data folder that this process uses.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    /// Held as long as the folder is used.
    _lock: File,
}

impl DataFolder {
    /// Opens a folder, which is created if it does not exist. What others may read of it is closed to them first.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let failed = |error| StartError::Folder(path.to_owned(), error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
        let lock = private_file(&path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StartError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let folder = Self { path: path.to_owned(), _lock: lock };
        private_file(&folder.table()).and_then(|_| private_file(&folder.queues())).map_err(failed)?;
        folder.close_files().map_err(failed)?;
        Ok(folder)
    }

    /// Returns whether there is a database in a folder.
    pub(crate) fn is_one(path: &Path) -> bool {
        path.join(TABLE).is_file()
    }

    pub(crate) fn table(&self) -> PathBuf {
        self.path.join(TABLE)
    }

    pub(crate) fn queues(&self) -> PathBuf {
        self.path.join(QUEUES)
    }

    pub(crate) fn admin_key(&self) -> PathBuf {
        self.path.join("admin.key")
    }

    /// Returns the key of playbooks' secrets, which the first start creates.
    pub(crate) fn secrets_key(&self) -> Result<[u8; 32], StartError> {
        let file = self.path.join("secrets.key");
        let failed = |error| StartError::Folder(file.clone(), error);
        match std::fs::read_to_string(&file) {
            Ok(kept) => {
                let bytes = BASE64_STANDARD.decode(kept.trim()).ok().and_then(|bytes| bytes.try_into().ok());
                let unreadable = || Error::new(ErrorKind::InvalidData, "it must hold 32 bytes in base64");
                bytes.ok_or_else(|| failed(unreadable()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let key = new_secrets_key()?;
                keep_private(&file, &BASE64_STANDARD.encode(key))?;
                Ok(key)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes from others what an earlier release, or a copy, let them do with the files.
    fn close_files(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let mode = entry.metadata()?.permissions().mode();
            // Whoever keeps a program here may still run it.
            if entry.file_type()?.is_file() && mode & 0o077 != 0 {
                std::fs::set_permissions(entry.path(), Permissions::from_mode(mode & 0o700))?;
            }
        }
        Ok(())
    }
}

/// Keeps a text in a file that only its owner can read, whole or not at all.
pub(crate) fn keep_private(file: &Path, text: &str) -> Result<(), StartError> {
    let keep = || {
        let draft = file.with_extension("key.new");
        let mut written = private_file(&draft)?;
        written.set_len(0)?;
        writeln!(written, "{text}")?;
        written.sync_all()?;
        std::fs::rename(&draft, file)
    };
    keep().map_err(|error| StartError::Folder(file.to_owned(), error))
}

/// Opens a file for writing that only its owner can read, if it is new.
fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}
