//! Starts a runner for each script, and waits for it.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{DumpableBehavior, getpid, set_child_subreaper, set_dumpable_behavior};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::descendants::end_all;
use crate::order::{Answer, Ended, Order};
use crate::runner;

/// How long a runner may take beyond the script's timeout.
const GRACE: Duration = Duration::from_secs(15);

/// Runs scripts apart from this process.
#[derive(Debug)]
pub struct Sandbox {
    /// A binary that calls `started_as_part` first, perhaps behind another one.
    command: Vec<OsString>,
    /// Whether all that this process starts is scripts.
    starts_nothing_else: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// A runner died: what it ran may be left.
    leftovers: bool,
    /// The log already says that scripts are not kept from metadata services.
    gap_is_logged: bool,
}

/// Why it is not known how a script ended.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("The script could not be run")]
    Start(#[source] io::Error),
    #[error("The script's runner was killed before it could report how the script ended")]
    Runner,
    #[error("The script's runner did not end in time")]
    Time,
}

impl Sandbox {
    /// Creates a sandbox whose runners are this command, for a process that also starts other things.
    pub fn of(command: impl IntoIterator<Item = OsString>) -> Self {
        Self { command: command.into_iter().collect(), starts_nothing_else: false, state: Mutex::default() }
    }

    /// Creates a sandbox whose runners are this process's binary. Hides the process from scripts: its memory and its
    /// environment are not to be read by processes of the same user. Whatever a script leaves behind becomes this
    /// process's child.
    pub fn of_this_process() -> io::Result<Self> {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        set_child_subreaper(Some(getpid()))?;
        Ok(Self { starts_nothing_else: true, ..Self::of(["/proc/self/exe".into()]) })
    }

    /// Runs a script to its end. When this future is dropped, the script is ended.
    pub async fn run(&self, order: &Order) -> Result<Ended, SandboxError> {
        let running = Running::of(self);
        let mut runner = self.start().map_err(SandboxError::Start)?;
        let answer = exchange(&mut runner, order).await;
        if answer.is_err() {
            running.sandbox.state().leftovers = true;
            runner.start_kill().unwrap_or_default();
        }
        runner.wait().await.map(|_| ()).unwrap_or_default();
        let Answer { ended, gap } = answer?;
        if let Some(gap) = gap {
            self.log_once(&gap);
        }
        Ok(ended)
    }

    fn log_once(&self, gap: &str) {
        if !std::mem::replace(&mut self.state().gap_is_logged, true) {
            tracing::warn!(error = gap, "scripts are not kept from the metadata services of clouds here");
        }
    }

    fn start(&self) -> io::Result<Child> {
        let (program, arguments) = self.command.split_first().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        command.args(arguments).arg(runner::ARGUMENT).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a script for as long as it runs. Once none does, what is left of them is ended.
struct Running<'a> {
    sandbox: &'a Sandbox,
}

impl<'a> Running<'a> {
    fn of(sandbox: &'a Sandbox) -> Self {
        sandbox.state().running += 1;
        Self { sandbox }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Held while leftovers are ended, so that no script begins among them.
        let mut state = self.sandbox.state();
        state.running -= 1;
        if state.running == 0 && state.leftovers && self.sandbox.starts_nothing_else {
            state.leftovers = !end_all();
        }
    }
}

async fn exchange(runner: &mut Child, order: &Order) -> Result<Answer, SandboxError> {
    let (Some(mut stdin), Some(mut stdout)) = (runner.stdin.take(), runner.stdout.take()) else {
        return Err(SandboxError::Runner);
    };
    let mut line = serde_json::to_vec(order).map_err(|error| SandboxError::Start(error.into()))?;
    line.push(b'\n');
    let mut answer = Vec::new();
    let all = async {
        stdin.write_all(&line).await?;
        stdout.read_to_end(&mut answer).await
    };
    let time = Duration::from_secs(order.timeout_seconds.into()) + GRACE;
    tokio::time::timeout(time, all).await.map_err(|_| SandboxError::Time)?.map_err(|_| SandboxError::Runner)?;
    // Until here it had to stay open: when it ends, the runner knows that nobody waits any more.
    drop(stdin);
    serde_json::from_slice(&answer).map_err(|_| SandboxError::Runner)
}
