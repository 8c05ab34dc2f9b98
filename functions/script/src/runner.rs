//! The process around one script: it starts the script, reads what it writes, ends it in time with all that it started,
//! and reports how it ended. It has one thread, no secrets but those of the script, and none of Medic's environment.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, Read, Write as _};
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use outbound::ScriptInterpreter;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{DumpableBehavior, Pid, Signal, getpid, kill_process_group, set_child_subreaper};
use rustix::process::{set_dumpable_behavior, setsid};

use crate::descendants::end_all;
use crate::launcher;
use crate::leftovers::{excess, remove_files_of, remove_folder};
use crate::order::{Answer, Ended, Order};
use crate::output::{Captured, masks, shown};
use crate::users::OwnUser;
use crate::watch::Watch;

/// What a binary is started with to be a runner.
pub(crate) const ARGUMENT: &str = "--run-script";

/// Where programs are found. Lambda's Python is under `/var/lang`.
const PATH: &str = "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
/// Where Lambda's Python has its libraries.
const LAMBDA_LIBRARIES: &str = "/var/lang/lib";
/// How often to check whether the script has ended, if it does not show it by closing its output.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// How often to look at the script's files.
const FILES_INTERVAL: Duration = Duration::from_millis(100);
/// How long the last of the output may take once every process is gone.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// Runs the script that is ordered on stdin, and reports on stdout. Whoever ordered it keeps stdin open for as long as
/// they wait.
pub(crate) fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "whoever started it finds this in its log")]
            {
                eprintln!("the script's runner failed: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // Whatever else was inherited must not reach the script.
    close_fds::set_fds_cloexec(3, &[]);
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    set_child_subreaper(Some(getpid()))?;
    setsid()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    drop(line);
    let answer = match carry_out(&order) {
        Ok(Some(answer)) => answer,
        // Nobody waits for it any more.
        Ok(None) => return Ok(()),
        Err(error) => Answer { ended: Ended::failed(format!("The script could not be run: {error}")), gap: None },
    };
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, &answer)?;
    stdout.flush()
}

/// Runs the script in a folder and, where that can be, as a user of its own, and leaves nothing of it. Returns none if
/// whoever ordered it is gone.
fn carry_out(order: &Order) -> io::Result<Option<Answer>> {
    let user = OwnUser::take()?;
    let user_id = user.as_ref().map(OwnUser::id);
    let folder = tempfile::Builder::new().prefix("medic-script-").tempdir()?;
    let place = Place { folder: folder.path(), user: user_id };
    let answer = start(order, place).and_then(|(script, watch)| follow(script, watch, order, place));
    // One that cannot be removed stays until the machine's next start.
    remove_folder(folder.path()).unwrap_or_default();
    if let Some(user) = user_id {
        remove_files_of(user);
    }
    // Another script may have it now.
    drop(user);
    answer
}

/// Where a script runs, and as whom.
#[derive(Clone, Copy)]
struct Place<'a> {
    folder: &'a Path,
    /// None where it runs as Medic's own user.
    user: Option<u32>,
}

/// Starts the script in its folder: as a user of its own if that can be, in a process group of its own, and
/// watched.
fn start(order: &Order, Place { folder, user }: Place<'_>) -> io::Result<(Child, Watch)> {
    let (file, work) = (folder.join("script"), folder.join("work"));
    fs::write(&file, &order.content)?;
    fs::create_dir(&work)?;
    fs::set_permissions(&file, Permissions::from_mode(0o400))?;
    fs::set_permissions(&work, Permissions::from_mode(0o700))?;
    for path in [folder, &file, &work] {
        chown(path, user, user)?;
    }
    let (program, flag) = match order.interpreter {
        ScriptInterpreter::Bash => ("bash", "-e"),
        ScriptInterpreter::Python => ("python3", "-u"),
    };
    let program = find(program).ok_or_else(|| io::Error::other(format!("there is no {program}")))?;
    let mut command = launcher::command(user, Duration::from_secs(order.timeout_seconds.into()), &program);
    command.arg(flag).arg(&file).current_dir(&work).process_group(0);
    command.env_clear().envs(&order.environment);
    command.env("PATH", PATH).env("LANG", "C.UTF-8").env("HOME", &work).env("TMPDIR", &work);
    if Path::new(LAMBDA_LIBRARIES).is_dir() {
        command.env("LD_LIBRARY_PATH", LAMBDA_LIBRARIES);
    }
    let (socket, its_socket) = UnixStream::pair()?;
    command.stdin(OwnedFd::from(its_socket)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let script = command.spawn()?;
    // With it goes this process's copy of the launcher's end, so that the socket ends with the launcher.
    drop(command);
    Ok((script, Watch::accept(&socket, user)?))
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(PATH).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Follows the script to its end. Returns none if whoever ordered it is gone.
fn follow(mut script: Child, watch: Watch, order: &Order, place: Place<'_>) -> io::Result<Option<Answer>> {
    let deadline = Instant::now() + Duration::from_secs(order.timeout_seconds.into());
    let group = i32::try_from(script.id()).ok().and_then(Pid::from_raw);
    let mut streams = Streams::of(&mut script, watch, order);
    let mut status = None;
    let mut is_waited_for = true;
    let mut files = FileWatch::new();
    while status.is_none() && is_waited_for && files.excess.is_none() && Instant::now() < deadline {
        is_waited_for = streams.read(deadline.saturating_duration_since(Instant::now()).min(CHECK_INTERVAL))?;
        files.look(place);
        status = script.try_wait()?;
    }
    if status.is_none() {
        // One that ended meanwhile has no group.
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
        script.kill()?;
        script.wait()?;
    }
    // Also after a success: what it left behind would go on unseen.
    let is_alone = end_all();
    if !is_waited_for {
        return Ok(None);
    }
    streams.read_last(Instant::now() + LAST_OUTPUT)?;
    let output = shown(&streams.stdout.captured, &streams.stderr.captured, &masks(&order.secrets));
    let error = match status {
        _ if !is_alone => Some("Not all that the script started could be ended".to_owned()),
        None if files.excess.is_some() => files.excess.map(str::to_owned),
        None => Some(format!("Script timed out after {} seconds", order.timeout_seconds)),
        Some(status) => problem(status),
    };
    let ended = Ended { exit: status.and_then(|status| status.code()), output, error };
    Ok(Some(Answer { ended, gap: streams.watch.into_gap() }))
}

/// Looks at a script's files now and then, for a tenth of the time at most.
struct FileWatch {
    next_at: Instant,
    /// What there was too much of.
    excess: Option<&'static str>,
}

impl FileWatch {
    fn new() -> Self {
        Self { next_at: Instant::now() + FILES_INTERVAL, excess: None }
    }

    fn look(&mut self, Place { folder, user }: Place<'_>) {
        let began = Instant::now();
        if began >= self.next_at {
            self.excess = excess(folder, user);
            self.next_at = Instant::now() + (began.elapsed() * 10).max(FILES_INTERVAL);
        }
    }
}

fn problem(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("Script exited with code {code}")),
        (None, Some(signal)) => Some(format!("Script was ended by signal {signal}")),
        (None, None) => Some("Script ended in an unknown way".to_owned()),
    }
}

/// What is read and answered while a script runs.
struct Streams {
    stdout: Stream<ChildStdout>,
    stderr: Stream<ChildStderr>,
    watch: Watch,
}

struct Stream<T> {
    /// None once it has ended.
    pipe: Option<T>,
    captured: Captured,
}

impl Streams {
    fn of(script: &mut Child, watch: Watch, order: &Order) -> Self {
        let masks = masks(&order.secrets);
        let captured = || Captured::new(&masks);
        Self {
            stdout: Stream { pipe: script.stdout.take(), captured: captured() },
            stderr: Stream { pipe: script.stderr.take(), captured: captured() },
            watch,
        }
    }

    /// Reads and answers what there is, or what comes within this time. Returns whether somebody still waits for the
    /// script.
    fn read(&mut self, time: Duration) -> io::Result<bool> {
        let stdin = io::stdin();
        let [of_stdin, of_stdout, of_stderr, of_watch] = events(
            [
                Some(stdin.as_fd()),
                self.stdout.pipe.as_ref().map(AsFd::as_fd),
                self.stderr.pipe.as_ref().map(AsFd::as_fd),
                self.watch.listener(),
            ],
            time,
        )?;
        // First, since a process waits for it.
        self.watch.answer(of_watch);
        if !of_stdout.is_empty() {
            self.stdout.read()?;
        }
        if !of_stderr.is_empty() {
            self.stderr.read()?;
        }
        // The only thing left to come on stdin is its end.
        Ok(of_stdin.is_empty())
    }

    fn read_last(&mut self, deadline: Instant) -> io::Result<()> {
        while (self.stdout.pipe.is_some() || self.stderr.pipe.is_some()) && Instant::now() < deadline {
            self.read(CHECK_INTERVAL)?;
        }
        Ok(())
    }
}

impl<T: Read + AsFd> Stream<T> {
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16_384];
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        match pipe.read(&mut buffer)? {
            0 => self.pipe = None,
            read => self.captured.take(&buffer[..read]),
        }
        Ok(())
    }
}

/// Returns what there is to do with each of these files, as soon as there is anything, or after this time.
fn events<const N: usize>(files: [Option<BorrowedFd<'_>>; N], time: Duration) -> io::Result<[PollFlags; N]> {
    let mut polled: Vec<_> = files.iter().flatten().map(|file| PollFd::new(file, PollFlags::IN)).collect();
    poll(&mut polled, Timespec::try_from(time).ok().as_ref())?;
    let mut events = polled.iter().map(PollFd::revents);
    Ok(files.map(|file| file.and_then(|_| events.next()).unwrap_or(PollFlags::empty())))
}
