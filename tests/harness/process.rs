//! A real `medic-local`, which a test can kill.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use crate::UNLIMITED;

/// A process, and how to reach it.
pub struct Process {
    child: Child,
    pub url: String,
    pub ready_after: Duration,
    key: String,
    client: reqwest::Client,
}

/// Returns the path of `medic-local`, which is beside this test's own binary or in a folder above it.
///
/// # Panics
///
/// Returns when it is not there, with the command that builds it.
pub(crate) fn medic_local() -> PathBuf {
    let here = std::env::current_exe().expect("a path");
    let found = here.ancestors().map(|folder| folder.join("medic-local")).find(|path| path.is_file());
    let Some(binary) = found else {
        panic!(
            "this test needs medic-local, which is in no folder above {}: run `cargo build -p local`",
            here.display()
        )
    };
    binary
}

/// Lets this test have as many file descriptors as it may: attackers hold many connections.
pub fn use_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("its own limit");
}

/// A process that may not be ready yet.
pub struct Launched {
    child: Child,
    stdout: ChildStdout,
    began: Instant,
    data_dir: PathBuf,
}

impl Launched {
    /// Waits until it is ready. Returns none when it ends before.
    pub fn ready(mut self) -> Option<Process> {
        let lines = BufReader::new(self.stdout).lines();
        let ready =
            lines.map_while(Result::ok).find_map(|line| line.strip_prefix("medic ready on ").map(str::to_owned));
        let Some(url) = ready else {
            self.child.wait().expect("an end");
            return None;
        };
        let key = std::fs::read_to_string(self.data_dir.join("admin.key")).expect("the admin key").trim().to_owned();
        Some(Process { child: self.child, url, ready_after: self.began.elapsed(), key, client: reqwest::Client::new() })
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("an end");
    }
}

impl Process {
    /// Starts on a data folder and a free port, and waits until it is ready. Others of the test go on meanwhile: a client
    /// that connected and has yet to ask is not kept waiting.
    pub async fn start(data_dir: &Path, environment: &[(&'static str, String)]) -> Self {
        let launched = Self::launch("127.0.0.1:0", data_dir, environment, Stdio::inherit());
        let ready = tokio::task::spawn_blocking(|| launched.ready()).await;
        ready.expect("a thread").expect("the ready line")
    }

    /// Starts on a data folder and an address, and does not wait.
    pub fn launch(
        address: &str,
        data_dir: &Path,
        environment: &[(&'static str, String)],
        stderr: impl Into<Stdio>,
    ) -> Launched {
        Self::launch_by(Command::new(medic_local()), address, data_dir, environment, stderr)
    }

    /// Starts it where a process may have so many file descriptors, and waits until it is ready.
    pub fn start_with_descriptors(max: u32, data_dir: &Path, environment: &[(&'static str, String)]) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {max}; exec \"$0\" \"$@\"")]).arg(medic_local());
        let launched = Self::launch_by(shell, "127.0.0.1:0", data_dir, environment, Stdio::inherit());
        launched.ready().expect("the ready line")
    }

    fn launch_by(
        mut command: Command,
        address: &str,
        data_dir: &Path,
        environment: &[(&'static str, String)],
        stderr: impl Into<Stdio>,
    ) -> Launched {
        let began = Instant::now();
        let mut child = command
            .args(["--listen", address, "--data-dir"])
            .arg(data_dir)
            .envs(UNLIMITED)
            .env("RUST_LOG", "error")
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("a process");
        let stdout = child.stdout.take().expect("stdout");
        Launched { child, stdout, began, data_dir: data_dir.to_owned() }
    }

    /// Runs it with more arguments until it ends, and returns whether it succeeded and what it wrote to stdout then, or
    /// else to stderr.
    pub fn run(data_dir: &Path, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(medic_local());
        let ended = command.arg("--data-dir").arg(data_dir).args(arguments).output().expect("a process");
        let written = if ended.status.success() { ended.stdout } else { ended.stderr };
        (ended.status.success(), String::from_utf8_lossy(&written).trim().to_owned())
    }

    /// Starts it where it must not start, and returns what it wrote to stderr.
    pub fn start_refused(data_dir: &Path, environment: &[(&'static str, String)]) -> String {
        let ended = Command::new(medic_local())
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .output()
            .expect("a process");
        assert!(!ended.status.success(), "it started");
        String::from_utf8_lossy(&ended.stderr).into_owned()
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the most memory that it has used so far, in MB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        peak.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") / 1_000
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().expect("a kill");
        self.child.wait().expect("an end");
    }

    /// Sends a signal, such as `TERM`, and returns how the process ended and after how long.
    pub fn signal(mut self, name: &str) -> (std::process::ExitStatus, Duration) {
        let began = Instant::now();
        self.send_signal(name);
        (self.child.wait().expect("an end"), began.elapsed())
    }

    /// Sends a signal that does not end it, such as `STOP` or `CONT`.
    pub fn send_signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill").success());
    }

    /// Returns whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a state").is_some()
    }

    /// Sends a request. Returns None when the process dies meanwhile.
    pub async fn send(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.ok()?))
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.send(reqwest::Method::GET, path, None).await.expect("a response");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Posts, and returns whether it was acknowledged.
    pub async fn post(&self, path: &str, body: Value) -> bool {
        self.send(reqwest::Method::POST, path, Some(body)).await.is_some_and(|(status, _)| status == 201)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}
