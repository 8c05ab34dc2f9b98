//! The last step before a script: a process of its own, that binds itself and becomes the interpreter.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::limits::bind;

/// What a binary is started with to become a script.
pub(crate) const ARGUMENT: &str = "--launch-script";

/// A command that becomes `program` as another user, if one is given, and within the limits.
pub(crate) fn command(user: Option<u32>, timeout: Duration, program: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(ARGUMENT).arg(user.unwrap_or_default().to_string()).arg(timeout.as_secs().to_string()).arg(program);
    command
}

/// Becomes the program, or says why not.
pub(crate) fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut number = || arguments.next()?.to_str()?.parse::<u32>().ok();
    let (Some(user), Some(seconds)) = (number(), number()) else { return ExitCode::FAILURE };
    let Some(program) = arguments.next() else { return ExitCode::FAILURE };
    let mut command = Command::new(program);
    command.args(arguments);
    let error = match bind(Some(user).filter(|user| *user != 0), Duration::from_secs(seconds.into())) {
        Ok(()) => command.exec(),
        Err(error) => error.into(),
    };
    #[expect(clippy::print_stderr, reason = "it is the script's stderr")]
    {
        eprintln!("the script could not be started: {error}");
    }
    ExitCode::from(126)
}
