//! How scripts end, and what is kept of what they write.

use crate::sandboxes::{bash, python, run, success};

#[tokio::test]
async fn exit_0_is_success_and_both_streams_are_kept() {
    assert_eq!(run(&bash("echo out; echo err >&2")).await, success("out\n[STDERR]\nerr\n"));
    assert_eq!(
        run(&python("import sys; print('out'); print('err', file=sys.stderr)")).await,
        success("out\n[STDERR]\nerr\n")
    );
}

#[tokio::test]
async fn bash_stops_at_the_first_failure() {
    let ended = run(&bash("echo before; false; echo after")).await;
    assert_eq!((ended.exit, ended.output.as_str()), (Some(1), "before\n"));
    assert_eq!(ended.error.unwrap(), "Script exited with code 1");
}

#[tokio::test]
async fn an_exit_status_and_a_signal_are_reported() {
    let ended = run(&python("import sys; sys.exit(7)")).await;
    assert_eq!((ended.exit, ended.error.as_deref()), (Some(7), Some("Script exited with code 7")));
    let ended = run(&bash("kill -SEGV $$")).await;
    assert_eq!((ended.exit, ended.error.as_deref()), (None, Some("Script was ended by signal 11")));
}

#[tokio::test]
async fn a_script_has_a_fresh_folder_and_nothing_on_stdin() {
    let script = "ls -A; echo x > file; cat file; cat; [ \"$HOME\" = \"$PWD\" ] && [ \"$TMPDIR\" = \"$PWD\" ]";
    assert_eq!(run(&bash(script)).await, success("x\n"));
    assert_eq!(run(&bash(script)).await, success("x\n"));
}

#[tokio::test]
async fn its_folder_is_gone_afterwards() {
    let folder = run_once("pwd").await;
    let parent = std::path::Path::new(folder.trim()).parent().unwrap();
    assert!(parent.file_name().unwrap().to_str().unwrap().starts_with("medic-script-"));
    assert!(!parent.exists());
}

async fn run_once(content: &str) -> String {
    let (_, sandbox) = crate::sandboxes::sandboxes().swap_remove(0);
    sandbox.run(&bash(content)).await.unwrap().output
}

#[tokio::test]
async fn a_secret_is_masked_in_the_output() {
    let mut order = bash("echo \"the token is $TOKEN\"");
    order.environment.insert("TOKEN".to_owned(), "Bearer hunter2".to_owned());
    order.secrets.push("hunter2".to_owned());
    assert_eq!(run(&order).await, success("the token is Bearer ***\n"));
}

#[tokio::test]
async fn what_a_script_leaves_running_is_ended_with_it() {
    // The child keeps the output open; nobody waits for it.
    let ended = run(&bash("sleep 1000 & echo done")).await;
    assert_eq!(ended, success("done\n"));
}
