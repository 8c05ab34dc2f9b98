//! What somebody tries with a process of Medic: with its files, its connections and its log.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::{Arrival, Process, Receivers, use_all_descriptors};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than anything takes on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(2);

/// Returns what others than the owner may do with a folder and what is in it: paths with their modes.
fn open_to_others(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let all = files.chain([folder.to_owned()]);
    all.filter(|path| mode(path) & 0o077 != 0).map(|path| format!("{} {:o}", path.display(), mode(&path))).collect()
}

#[tokio::test]
async fn the_data_folder_is_its_owners_alone_however_it_was_left() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("new");
    for _ in 0..2 {
        let process = Process::start(&folder, &[]).await;
        process.send(Method::POST, "/v2/teams", Some(json!({"name": "shop"}))).await.unwrap();
        assert_eq!(open_to_others(&folder), [""; 0], "while it runs, with all that SQLite keeps beside a database");
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        assert!(names.iter().any(|name| name == "table.db-wal"), "{names:?}");
        process.kill();
        // As an earlier release, or a restored copy, left it.
        std::fs::write(folder.join("notes.txt"), "").unwrap();
        for entry in std::fs::read_dir(&folder).unwrap() {
            std::fs::set_permissions(entry.unwrap().path(), Permissions::from_mode(0o666)).unwrap();
        }
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    }
}

#[tokio::test]
async fn another_admin_key_is_made_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str| Process::run(folder.path(), &["--create-admin-key", name]);
    let (succeeded, written) = create("anna");
    assert!(!succeeded && written.contains("there is no Medic in the data folder"), "{written}");
    let process = Process::start(folder.path(), &[]).await;
    let (succeeded, written) = create("anna");
    assert!(!succeeded && written.contains("another process uses the data folder"), "{written}");
    process.kill();
    let (succeeded, key) = create("anna");
    assert!(succeeded && key.starts_with("mdk_2_"), "{key}");
    let (succeeded, written) = create("Anna");
    assert!(!succeeded && written.contains("name is taken"), "{written}");
    let process = Process::start(folder.path(), &[]).await;
    let keys = reqwest::Client::new().get(format!("{}/v2/api-keys", process.url)).bearer_auth(key);
    let keys: Value = keys.send().await.unwrap().json().await.unwrap();
    assert_eq!(keys["results"]["items"][0]["name"], "anna", "{keys}");
    assert_eq!(keys["results"]["items"][0]["scopes"], json!(["admin"]), "{keys}");
}

/// Returns what a process writes to stdout and stderr until it is killed.
async fn log_of(environment: &[(&'static str, String)], use_it: impl AsyncFnOnce(&Process)) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stderr");
    let data_dir = folder.path().join("data");
    let stderr: Stdio = std::fs::File::create(&file).unwrap().into();
    let process = Process::launch("127.0.0.1:0", &data_dir, environment, stderr).ready().unwrap();
    use_it(&process).await;
    let key = process.key().to_owned();
    process.kill();
    (std::fs::read_to_string(file).unwrap(), key)
}

#[tokio::test]
async fn no_log_level_shows_a_secret() {
    let receivers = Receivers::start().await;
    let mut environment = receivers.environment();
    environment.push(("RUST_LOG", "trace".to_owned()));
    let (log, key) = log_of(&environment, async |process| {
        assert!(
            process.post("/service", json!({"heartbeat_name": "w", "service_name": "w", "alert_interval": 5})).await
        );
        let failed = json!({"heartbeat_name": "w", "service_name": "w", "status": "FAILED"});
        assert!(process.post("/heartbeat", failed).await);
        for receiver in ["slack", "pagerduty"] {
            let arrived = receivers.wait_for(PATIENCE, |arrival: &Arrival| arrival.receiver == receiver).await;
            assert!(arrived.is_some(), "{receiver}");
        }
    })
    .await;
    assert!(log.contains("TRACE") || log.contains("INFO"), "{log}");
    for secret in [key.as_str(), "xoxb-test", "R0UTING"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

async fn connect(process: &Process) -> TcpStream {
    TcpStream::connect(process.url.trim_start_matches("http://")).await.unwrap()
}

/// Reads until the server closes.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    match tokio::time::timeout(PATIENCE, stream.read_to_end(&mut read)).await.unwrap() {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8_lossy(&read).into_owned()
}

#[tokio::test]
async fn who_connects_and_says_nothing_keeps_nobody_out_and_stops_no_alert() {
    use_all_descriptors();
    let (folder, receivers) = (tempfile::tempdir().unwrap(), Receivers::start().await);
    let process = Process::start_with_descriptors(256, folder.path(), &receivers.environment());
    let mut held = Vec::new();
    for n in 0..400 {
        let mut stream = connect(&process).await;
        if n % 2 == 0 {
            stream.write_all(b"GET /service HTTP/1.1\r\nhost: medic\r\nx-endless: ").await.unwrap();
        }
        held.push(stream);
    }
    let register = json!({"heartbeat_name": "w", "service_name": "w", "alert_interval": 2.0 / 60.0});
    assert!(process.post("/service", register).await);
    let heartbeat = json!({"heartbeat_name": "w", "service_name": "w", "status": "UP"});
    assert!(process.post("/heartbeat", heartbeat).await);
    for receiver in ["slack", "pagerduty"] {
        let arrived = receivers.wait_for(PATIENCE, |arrival: &Arrival| arrival.receiver == receiver).await;
        assert!(arrived.is_some(), "{receiver}");
    }
    drop(held);
}

#[tokio::test]
async fn headers_without_end_stay_within_bounds() {
    use_all_descriptors();
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let mut held = Vec::new();
    for _ in 0..900 {
        let mut stream = connect(&process).await;
        stream.write_all(b"GET /service HTTP/1.1\r\nx-endless: ").await.unwrap();
        // It is refused past 64 KiB, so that not all of it may be written.
        let endless = vec![b'x'; 400 * 1_024];
        let _written = tokio::time::timeout(Duration::from_millis(5), stream.write_all(&endless)).await;
        held.push(stream);
    }
    assert!(process.post("/service", json!({"heartbeat_name": "w", "service_name": "w", "alert_interval": 5})).await);
    assert!(process.peak_memory() < 150, "{} MB", process.peak_memory());
}

#[tokio::test]
async fn who_is_slow_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let (mut idle, mut half, mut body) = (connect(&process).await, connect(&process).await, connect(&process).await);
    half.write_all(b"GET /service HTTP/1.1\r\nhost: medic\r\n").await.unwrap();
    let head = format!(
        "POST /service HTTP/1.1\r\nhost: medic\r\nauthorization: Bearer {}\r\ncontent-length: 100\r\n\r\n{{",
        process.key()
    );
    body.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut half).await, "");
    let answer = read_to_end(&mut body).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("The body could not be read"), "{answer}");
    // A connection that was used is closed as well.
    let mut used = connect(&process).await;
    used.write_all(b"GET /health/live HTTP/1.1\r\nhost: medic\r\n\r\n").await.unwrap();
    assert!(read_to_end(&mut used).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_server_speaks_http_1_alone_and_refuses_a_header_of_over_64_kib() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path(), &[]).await;
    let mut http2 = connect(&process).await;
    http2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let answer = read_to_end(&mut http2).await;
    assert!(!answer.contains("200"), "{answer}");
    let mut large = connect(&process).await;
    let header = format!("GET /health/live HTTP/1.1\r\nhost: medic\r\nx-large: {}\r\n\r\n", "x".repeat(66 * 1_024));
    large.write_all(header.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut large).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_for_slack_and_pagerduty_and_never_for_addresses_of_users() {
    let (folder, proxy, receivers) = (tempfile::tempdir().unwrap(), Receivers::start().await, Receivers::start().await);
    let mut environment = receivers.environment();
    environment.retain(|(name, _)| !name.ends_with("_URL"));
    environment.extend([
        // Nobody can resolve these names: they are reached through the proxy, or not at all.
        ("MEDIC_SLACK_API_URL", "http://slack.invalid/api".to_owned()),
        ("MEDIC_PAGERDUTY_URL", "http://pagerduty.invalid/v2/enqueue".to_owned()),
        ("HTTP_PROXY", proxy.hook().trim_end_matches("/hook").to_owned()),
        ("MEDIC_ALLOW_PRIVATE_HOSTS", "true".to_owned()),
    ]);
    let process = Process::start(folder.path(), &environment).await;
    assert!(process.post("/v2/webhooks", json!({"url": receivers.hook()})).await);
    let register = json!({"heartbeat_name": "w", "service_name": "w", "alert_interval": 5});
    assert!(process.post("/service", register).await);
    let failed = json!({"heartbeat_name": "w", "service_name": "w", "status": "FAILED"});
    assert!(process.post("/heartbeat", failed).await);
    for (through, receiver) in [(&proxy, "slack"), (&proxy, "pagerduty"), (&receivers, "webhook")] {
        let arrived = through.wait_for(PATIENCE, |arrival: &Arrival| arrival.receiver == receiver).await;
        assert!(arrived.is_some(), "{receiver}");
    }
    assert!(proxy.arrivals().iter().all(|arrival| arrival.receiver != "webhook"), "not even tried");
}

#[tokio::test]
async fn under_attack_an_alert_arrives_and_memory_stays() {
    use_all_descriptors();
    let (folder, receivers) = (tempfile::tempdir().unwrap(), Receivers::start().await);
    let mut environment = receivers.environment();
    environment.push(("MEDIC_WEBHOOK_SECRET", "secret-of-triggers".to_owned()));
    let process = Process::start_with_descriptors(1_024, folder.path(), &environment);
    let mut held = Vec::new();
    for n in 0..700 {
        let mut stream = connect(&process).await;
        if n % 2 == 0 {
            stream.write_all(b"GET /service HTTP/1.1\r\nx-endless: ").await.unwrap();
        }
        held.push(stream);
    }
    let register = json!({"heartbeat_name": "w", "service_name": "w", "alert_interval": 5.0 / 60.0});
    assert!(process.post("/service", register).await);
    assert!(process.post("/heartbeat", json!({"heartbeat_name": "w", "service_name": "w", "status": "UP"})).await);
    let wrong = format!("{}x", &process.key()[..process.key().len() - 1]);
    let yaml = format!("name: bomb\nsteps:\n{}", "  - { name: a, type: wait, duration: 1s }\n".repeat(1_500));
    let client = reqwest::Client::new();
    let flood = async {
        for n in 0.. {
            let at_once = (0..50).map(|_| {
                let request = match n % 3 {
                    0 => client.get(format!("{}/service", process.url)),
                    1 => client.get(format!("{}/service", process.url)).bearer_auth(&wrong),
                    _ => client
                        .post(format!("{}/v2/playbooks/validate", process.url))
                        .bearer_auth(process.key())
                        .json(&json!({"yaml": yaml})),
                };
                request.send()
            });
            futures::future::join_all(at_once).await;
        }
    };
    let is_alert = |arrival: &Arrival| arrival.receiver == "slack" && arrival.text.contains("w is down");
    tokio::select! {
        () = flood => {}
        arrived = receivers.wait_for(PATIENCE, is_alert) => assert!(arrived.is_some()),
    }
    assert!(process.peak_memory() < 150, "{} MB", process.peak_memory());
    drop(held);
}
