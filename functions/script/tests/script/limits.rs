//! How much time, memory, processes and disk a script may use.

use std::time::{Duration, Instant};

use outbound::ScriptInterpreter::{Bash, Python};
use script::OUTPUT_BYTES;

use crate::sandboxes::{bash, order, python, run, sandboxes};

#[tokio::test]
async fn at_its_timeout_a_script_ends_though_it_ignores_sigterm() {
    let began = Instant::now();
    let ended = run(&order(Bash, "trap '' TERM INT HUP; echo begun; while :; do sleep 0.1 || :; done", 1)).await;
    assert_eq!((ended.exit, ended.output.as_str()), (None, "begun\n"));
    assert_eq!(ended.error.unwrap(), "Script timed out after 1 seconds");
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_daemon_does_not_outlive_the_timeout() {
    let script = "
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for one in range(1, 32):
            try:
                signal.signal(one, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        print(os.getpid(), flush=True)
        time.sleep(1000)
    os._exit(0)
os.wait()
time.sleep(1000)
";
    daemon_is_gone(script, 2, "Script timed out after 2 seconds").await;
}

#[tokio::test]
async fn a_daemon_does_not_outlive_a_script_that_ends_well() {
    let script = "
import os, time
ready, writer = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.write(writer, b'.')
        time.sleep(1000)
    os._exit(0)
os.read(ready, 1)
";
    daemon_is_gone(script, 20, "").await;
}

/// The script writes its daemon's process id.
async fn daemon_is_gone(script: &str, timeout: u32, error: &str) {
    for (name, sandbox) in sandboxes() {
        let ended = sandbox.run(&order(Python, script, timeout)).await.unwrap();
        assert_eq!(ended.error.unwrap_or_default(), error, "{name}");
        let pid: u32 = ended.output.trim().parse().unwrap();
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!command.contains("medic-script-"), "{name}: {command}");
    }
}

#[tokio::test]
async fn a_gigabyte_of_output_is_cut_while_it_is_read() {
    let script = "import os\nfor _ in range(16 * 1024): os.write(1, b'a' * 65536)\nos.write(2, b'done')";
    let ended = run(&python(script)).await;
    assert_eq!(ended.exit, Some(0));
    assert_eq!(ended.output, format!("{}[output truncated]", "a".repeat(OUTPUT_BYTES)));
}

#[tokio::test]
async fn a_gigabyte_of_memory_is_not_given() {
    let ended = run(&python("print('begun')\nx = bytearray(1024 * 1024 * 1024)\nprint('given')")).await;
    assert_eq!(ended.exit, Some(1));
    assert!(ended.output.starts_with("begun\n[STDERR]\n") && ended.output.contains("MemoryError"), "{}", ended.output);
}

#[tokio::test]
async fn a_limit_cannot_be_lifted() {
    let script = "
import resource
for name in ['AS', 'CPU', 'NPROC', 'FSIZE', 'CORE', 'NOFILE']:
    limit = getattr(resource, 'RLIMIT_' + name)
    soft, hard = resource.getrlimit(limit)
    try:
        resource.setrlimit(limit, (hard + 1, hard + 1))
        print(name, 'lifted')
    except (ValueError, OSError):
        print(name, 'stays', hard if name != 'NPROC' else '')
";
    let ended = run(&python(script)).await;
    assert_eq!(
        ended.output,
        "AS stays 268435456\nCPU stays 26\nNPROC stays \nFSIZE stays 67108864\nCORE stays 0\nNOFILE stays 1024\n"
    );
}

#[tokio::test]
async fn a_file_grows_no_larger_than_64_megabytes() {
    let ended = run(&bash("exec 2>/dev/null; head -c 100000000 /dev/zero > file || :; stat -c %s file")).await;
    assert!(ended.output.starts_with("67108864\n"), "{}", ended.output);
}

/// Bounded thrice: by its own loop, by the limit on processes, and by its timeout.
#[tokio::test]
async fn a_fork_bomb_starts_no_more_than_64_processes_and_none_is_left() {
    let script = "
import os, time
started = 0
for _ in range(200):
    try:
        if os.fork() == 0:
            time.sleep(1000)
            os._exit(0)
        started += 1
    except BlockingIOError:
        break
print(started)
";
    for (name, sandbox) in sandboxes() {
        let ended = sandbox.run(&order(Python, script, 10)).await.unwrap();
        assert_eq!(ended.error, None, "{name}");
        let started: u32 = ended.output.trim().parse().unwrap();
        assert!((50..=64).contains(&started), "{name}: {started}");
        assert_eq!(processes_of_scripts(script), 0, "{name}");
    }
}

/// Each generation starts the next and ends. At most 4,000 forks, and two seconds.
#[tokio::test]
async fn processes_that_flee_by_forking_are_ended() {
    let script = "
import os, time
def fork():
    # Past the limit of processes it fails until others have ended, which on a busy machine takes a while.
    try:
        return os.fork()
    except BlockingIOError:
        return None
for _ in range(20):
    if fork() == 0:
        for _ in range(200):
            if os.fork() != 0:
                os._exit(0)
            os.setsid()
            time.sleep(0.01)
        time.sleep(1000)
        os._exit(0)
time.sleep(1000)
# flee
";
    for (name, sandbox) in sandboxes() {
        let ended = sandbox.run(&order(Python, script, 2)).await.unwrap();
        assert_eq!(ended.error.unwrap(), "Script timed out after 2 seconds", "{name}");
    }
}

/// The processes that still run a script of this text.
fn processes_of_scripts(content: &str) -> usize {
    let runs = |entry: &std::fs::DirEntry| {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let file = command.split('\0').find(|argument| argument.contains("medic-script-"));
        file.is_some_and(|file| std::fs::read_to_string(file).is_ok_and(|text| text == content))
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(runs).count()
}
