//! What a script leaves behind, and how much of it there may be.

use outbound::ScriptInterpreter::Python;
use script::Sandbox;

use crate::sandboxes::{BINARY, bash, is_root, order, python, run};

#[tokio::test]
async fn nothing_of_a_script_stays_in_shared_memory_or_where_everybody_may_write() {
    // Without root its files are Medic's own user's, and cannot be distinguished from others.
    if !is_root() {
        return;
    }
    let name = format!("medic-left-{}", std::process::id());
    let script = format!(
        "for d in /dev/shm /tmp /var/tmp; do mkdir $d/{name}; echo x > $d/{name}/file; chmod 000 $d/{name}; \
         echo x > $d/{name}.file; done; ls -d /dev/shm/{name}*; \
         (setsid bash -c 'while :; do echo x > /dev/shm/{name}.late; done' &)"
    );
    let ended = Sandbox::of([BINARY.into()]).run(&bash(&script)).await.unwrap();
    assert_eq!((ended.exit, ended.output.lines().count()), (Some(0), 2), "{ended:?}");
    for folder in ["/dev/shm", "/tmp", "/var/tmp"] {
        let left = std::fs::read_dir(folder).unwrap().flatten();
        let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().contains(&name)).collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
}

#[tokio::test]
async fn a_script_can_make_nothing_that_no_process_owns() {
    let script = "
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for name, call in [
    ('shared memory', lambda: libc.shmget(0, 4096, 0o1600)),
    ('semaphores', lambda: libc.semget(0, 1, 0o1600)),
    ('queue', lambda: libc.msgget(0, 0o1600)),
    ('named queue', lambda: libc.mq_open(b'/medic-left', 0o100, 0o600, None)),
]:
    print(name, call(), errno.errorcode.get(ctypes.get_errno()))
";
    let ended = run(&python(script)).await;
    let lines: Vec<_> = ended.output.lines().collect();
    assert_eq!(lines, ["shared memory -1 ENOSYS", "semaphores -1 ENOSYS", "queue -1 ENOSYS", "named queue -1 ENOSYS"]);
}

#[tokio::test]
async fn a_folder_that_a_script_locks_is_removed_all_the_same() {
    let ended = run(&bash("mkdir -p a/b; echo x > a/b/c; chmod 000 a/b a; pwd")).await;
    let parent = std::env::temp_dir();
    assert_eq!(ended.exit, Some(0), "{ended:?}");
    // Of other tests' scripts, some run now; of this one, none has `a` any more.
    let left = std::fs::read_dir(parent).unwrap().flatten().filter(|entry| entry.path().join("work/a").exists());
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn a_script_with_too_many_files_is_ended() {
    let ended = run(&bash("exec 2>&-; i=0; while [ $i -lt 1000000 ]; do : > f$i; i=$((i+1)); done")).await;
    assert_eq!(ended.error.as_deref(), Some("Script was ended: it had more than 10000 files"));
}

#[tokio::test]
async fn a_script_whose_files_are_too_large_is_ended() {
    let script = "
import os, time
for n in range(6):
    with open(f'f{n}', 'wb') as file:
        os.posix_fallocate(file.fileno(), 0, 60 * 1024 * 1024)
time.sleep(1000)
";
    let ended = run(&order(Python, script, 20)).await;
    assert_eq!(ended.error.as_deref(), Some("Script was ended: its files took more than 256 MB"));
}
