//! What a script cannot reach.

use crate::sandboxes::{BINARY, as_user, bash, python, run, sandboxes};

/// Tries everything of its parent and its parent's parent.
const PRY: &str = "
import os
def parents():
    pid = os.getpid()
    while pid > 1:
        with open(f'/proc/{pid}/stat') as stat:
            pid = int(stat.read().rpartition(')')[2].split()[1])
        if pid > 0:
            yield pid
found = list(parents())[:2]
for pid in found:
    for file in ['environ', 'mem', 'maps', 'auxv', 'fd', 'cwd', 'root']:
        path = f'/proc/{pid}/{file}'
        try:
            if file == 'fd':
                print(file, os.listdir(path))
            elif file in ('cwd', 'root'):
                print(file, os.readlink(path))
            else:
                print(file, open(path, 'rb').read(1))
        except OSError:
            pass
print(len(found), 'parents')
";

#[tokio::test]
async fn nothing_can_be_read_of_its_runner() {
    let script = PRY.replace("[:2]", "[:1]");
    assert_eq!(run(&python(&script)).await.output, "1 parents\n");
}

#[tokio::test]
async fn its_runner_cannot_be_traced() {
    let script = "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(16, os.getppid(), 0, 0), os.strerror(ctypes.get_errno()))
";
    assert_eq!(run(&python(script)).await.output, "-1 Operation not permitted\n");
}

#[tokio::test]
async fn no_file_of_medics_is_inherited() {
    for user in [Vec::new(), as_user(61_190)] {
        let shell = ["bash", "-c", "exec 200</etc/hostname; exec \"$0\" \"$@\""].map(Into::into);
        // The shell first: behind it the user may have no way to the binary.
        let sandbox = script::Sandbox::of(shell.into_iter().chain(user).chain([BINARY.into()]));
        // Python's own listing of the folder is one more.
        let listed = sandbox.run(&python("import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:4])")).await;
        assert_eq!(listed.unwrap().output, "[0, 1, 2, 3]\n");
        let taken = sandbox.run(&bash("cat <&200")).await.unwrap();
        assert_eq!(taken.exit, Some(1));
        assert!(taken.output.contains("Bad file descriptor"), "{}", taken.output);
    }
}

#[tokio::test]
async fn it_can_gain_no_privileges() {
    let ended = run(&bash("grep -E '^(NoNewPrivs|CapEff|CapPrm|Groups):' /proc/self/status | tr -d ' \\t'")).await;
    assert_eq!(ended.output, "Groups:\nCapPrm:0000000000000000\nCapEff:0000000000000000\nNoNewPrivs:1\n");
}

#[tokio::test]
async fn a_script_that_ends_its_runner_gains_nothing() {
    for (name, sandbox) in sandboxes() {
        let ended = sandbox.run(&bash("kill -KILL $PPID; echo tried; sleep 1")).await;
        // As root, the runner is another user's; without privileges it dies, and no answer counts as success.
        match ended {
            Ok(ended) => assert_ne!(ended.exit, Some(0), "{name}"),
            Err(error) => {
                let message = "The script's runner was killed before it could report how the script ended";
                assert_eq!(error.to_string(), message, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn credentials_of_the_machine_are_not_where_tools_look() {
    let script = "echo \"${AWS_ACCESS_KEY_ID-none} ${AWS_SESSION_TOKEN-none} ${AWS_LAMBDA_RUNTIME_API-none}\"; ls -A ~";
    assert_eq!(run(&bash(script)).await.output, "none none none\n");
}
