//! Medic's process: starts it, does to it what was planned, and knows when it could not work.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use harness::{Launched, Process};

use crate::dice::Dice;
use crate::facts::{Cause, Disturbance, Facts, now, sleep, sleep_until};
use crate::faults::{MedicFault, Planned};

/// How it is started, each time alike.
pub(crate) struct Start {
    pub(crate) address: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Where it logs to.
    pub(crate) log: PathBuf,
}

/// Why the soak ends before its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

/// A file that a slow disk has to sync, in bytes.
const BALLAST: usize = 16 << 20;
/// How often Medic is asked whether it responds, and what is no disturbance.
const ASKED_EVERY: TimeDelta = TimeDelta::milliseconds(500);
const RESPONDS_WITHIN: TimeDelta = TimeDelta::milliseconds(2_500);

impl Start {
    fn launch(&self) -> Launched {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        Process::launch(&self.address.to_string(), &self.data_dir, &self.environment, log)
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn ready(&self) -> Result<Process, Broken> {
        let ready = tokio::task::block_in_place(|| self.launch().ready());
        ready.ok_or_else(|| Broken(format!("Medic did not start: see {}", self.log.display())))
    }
}

/// Does what was planned. Returns the process that is left.
pub(crate) async fn run(
    start: &Start,
    mut process: Process,
    began: DateTime<Utc>,
    faults: Vec<Planned<MedicFault>>,
    facts: &Facts,
) -> Result<Process, Broken> {
    for Planned { at, fault } in faults {
        sleep_until(began + at).await;
        if process.has_ended() {
            return Err(Broken(format!("Medic ended by itself before {}: see {}", now(), start.log.display())));
        }
        let from = now();
        let (cause, begun, back);
        match fault {
            MedicFault::Kill { down, kills_start_after } => {
                process.kill();
                (cause, begun) = (Cause::Killed, now());
                sleep(down).await;
                if let Some(after) = kills_start_after {
                    let launched = start.launch();
                    sleep(after).await;
                    launched.kill();
                }
                back = now();
                process = start.ready()?;
            }
            MedicFault::Terminate { down } => {
                tokio::task::block_in_place(|| process.signal("TERM"));
                (cause, begun) = (Cause::Terminated, now());
                sleep(down).await;
                back = now();
                process = start.ready()?;
            }
            MedicFault::Freeze { length } => {
                tokio::task::block_in_place(|| process.send_signal("STOP"));
                (cause, begun) = (Cause::Frozen, now());
                sleep(length).await;
                back = now();
                tokio::task::block_in_place(|| process.send_signal("CONT"));
            }
            MedicFault::SlowDisk { length } => {
                (cause, begun) = (Cause::SlowDisk, from);
                slow_disk(start, &process, from + length).await;
                back = now();
            }
        }
        facts.disturb(Disturbance { cause, from, begun, back, to: now() });
    }
    Ok(process)
}

/// Makes the disk slow. Nothing that needs no rights delays the calls of another process, so that what they do is done to
/// it: it stands still for tenths of a second, more often than not, as every thread does that waits for its disk. A writer
/// that syncs large files in the same folder makes the real calls slower too.
async fn slow_disk(start: &Start, process: &Process, until: DateTime<Utc>) {
    let is_over = Arc::new(AtomicBool::new(false));
    let (file, ends) = (start.data_dir.with_extension("ballast"), Arc::clone(&is_over));
    let writer = tokio::task::spawn_blocking(move || {
        let ballast = vec![0x5a; BALLAST];
        while !ends.load(Ordering::Relaxed) {
            let written = std::fs::write(&file, &ballast).and_then(|()| File::open(&file)?.sync_all());
            written.expect("a file beside the data folder");
        }
        std::fs::remove_file(&file).unwrap_or_default();
    });
    let dice = &mut Dice::new(until.timestamp_millis().cast_unsigned(), "slow disk");
    let millis = TimeDelta::milliseconds;
    while now() < until {
        process.send_signal("STOP");
        sleep(dice.between(millis(20), millis(400))).await;
        process.send_signal("CONT");
        sleep(dice.between(millis(20), millis(250))).await;
    }
    is_over.store(true, Ordering::Relaxed);
    writer.await.expect("the writer's end");
}

/// Asks Medic all the time whether it responds, and records when it did not.
pub(crate) async fn watch(address: SocketAddr, facts: Arc<Facts>) {
    let client = reqwest::Client::builder().timeout(std::time::Duration::from_secs(2)).build().expect("a client");
    let url = format!("http://{address}/v1/healthcheck/network");
    let mut responded = now();
    loop {
        let asked = now();
        if client.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
            let to = now();
            if to - responded > RESPONDS_WITHIN {
                facts.disturb(Disturbance { cause: Cause::Unknown, from: responded, begun: responded, back: to, to });
            }
            responded = to;
        }
        sleep_until(asked + ASKED_EVERY).await;
    }
}
