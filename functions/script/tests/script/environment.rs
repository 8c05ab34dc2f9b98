//! What reaches a script, and that it reaches it as data.

use crate::sandboxes::{bash, python, run, success};

#[tokio::test]
async fn the_environment_is_what_the_order_says_and_little_more() {
    let mut order = bash("env | cut -d= -f1 | sort | grep -v -e ^_$ -e ^SHLVL$ -e ^PWD$ -e ^OLDPWD$");
    order.environment.insert("REGION".to_owned(), "eu".to_owned());
    assert_eq!(run(&order).await, success("HOME\nLANG\nPATH\nREGION\nTMPDIR\n"));
}

#[tokio::test]
async fn a_value_is_never_code() {
    let values = [
        "\"; rm -rf /; \"",
        "'; exit 9; '",
        "$(exit 9)`exit 9`${HOME}",
        "one\ntwo\r\n\n",
        "\\\\\"'\t*?[a-z]~ # !",
        "__import__('os')._exit(9)",
        "() { :;}; exit 9",
        "ä\u{1f916}\u{202e}",
        "",
    ];
    for value in values {
        let mut order = bash("set -u\nprintf '<%s>' \"$VALUE\"\nprintf '<%s>' \"$(printenv VALUE; echo .)\"");
        order.environment.insert("VALUE".to_owned(), value.to_owned());
        let expected = format!("<{value}><{value}\n.>");
        assert_eq!(run(&order).await, success(&expected));
        let mut order = python("import os\nos.write(1, b'${VALUE} ' + os.environb[b'VALUE'])");
        order.environment.insert("VALUE".to_owned(), value.to_owned());
        assert_eq!(run(&order).await, success(&format!("${{VALUE}} {value}")), "no substitution in the script's text");
    }
}

#[tokio::test]
async fn a_value_with_nul_is_refused_by_the_system_too() {
    let mut order = bash("echo reached");
    order.environment.insert("VALUE".to_owned(), "one\0two".to_owned());
    let ended = run(&order).await;
    assert_eq!((ended.exit, ended.output.as_str()), (None, ""));
    assert!(ended.error.unwrap().starts_with("The script could not be run"));
}
