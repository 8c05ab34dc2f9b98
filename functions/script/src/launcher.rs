//! The last step before a script: a process of its own, which sets its limits and becomes the interpreter.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::limits::{bind, bind_memory};
use crate::watch;

/// What a binary is started with to become a script.
pub(crate) const ARGUMENT: &str = "--launch-script";

/// Returns a command that becomes `program` as another user, if one is given, and within the limits. Its stdin must be a
/// socket, through which `Watch::accept` takes it over.
pub(crate) fn command(user: Option<u32>, timeout: Duration, program: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(ARGUMENT).arg(user.unwrap_or_default().to_string()).arg(timeout.as_secs().to_string()).arg(program);
    command
}

/// Becomes the program, or prints why not.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut number = || arguments.next()?.to_str()?.parse::<u32>().ok();
    let (Some(user), Some(seconds)) = (number(), number()) else { return ExitCode::FAILURE };
    let Some(program) = arguments.next() else { return ExitCode::FAILURE };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let user = Some(user).filter(|user| *user != 0);
    let bound = bind(user, Duration::from_secs(seconds.into())).map_err(io::Error::from);
    let watched = bound.and_then(|()| watch::submit(io::stdin().as_fd()));
    let error = match watched.and_then(|()| bind_memory().map_err(io::Error::from)) {
        Ok(()) => command.exec(),
        Err(error) => error,
    };
    #[expect(clippy::print_stderr, reason = "it is the script's stderr")]
    {
        eprintln!("the script could not be started: {error}");
    }
    ExitCode::from(126)
}
