//! Soaks a real `medic-local`: for minutes many services report to it, fall silent and recover, while it is killed, stopped
//! and slowed down and its receivers fail. Every outage that lasted long enough must be notified of, once, and nothing else.
//! Prints a table, writes `target/soak.json`, and fails with what was wrong.
#![expect(clippy::print_stdout, reason = "a table to be read")]
#![expect(clippy::expect_used, clippy::panic, reason = "a soak that cannot go on should end where it stands")]

mod alerts;
mod channels;
mod clients;
mod deadlines;
mod delivery;
mod dice;
mod facts;
mod faults;
mod judge;
mod medic;
mod monitoring;
mod plan;
mod receivers;
mod report;
mod runs;
mod setup;
mod slack;
mod wrong;

use std::path::Path;
use std::process::ExitCode;

use chrono::TimeDelta;
use clap::Parser;
use serde_json::{Value, json};

use facts::now;
use judge::Judgement;
use medic::Broken;
use report::Figure;
use setup::Stage;

/// Soaks a real medic-local.
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Arguments {
    /// How long faults and outages go on; some minutes more until all is settled.
    #[arg(long, default_value_t = 30)]
    minutes: i64,
    #[arg(long, default_value_t = 2_000)]
    services: usize,
    /// What decides on all that happens; another one each time unless given.
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { minutes, services, seed } = Arguments::parse();
    let seed = seed.unwrap_or_else(|| now().timestamp_millis().cast_unsigned() % 1_000_000);
    println!("Seed {seed}: {services} services for {minutes} minutes. SEED={seed} does the same again.");
    match Box::pin(soak(seed, services, TimeDelta::minutes(minutes))).await {
        Ok(found) => show(seed, minutes, &found),
        Err(Broken(why)) => {
            println!("\nThe soak could not go on: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What was found.
struct Found {
    judgement: Judgement,
    /// What was wrong, with what was planned and what arrived.
    shown: String,
}

async fn soak(seed: u64, services: usize, length: TimeDelta) -> Result<Found, Broken> {
    let stage = Stage::set(seed, services, length).await?;
    let soak = stage.play().await?;
    let judgement = soak.judge();
    let shown = soak.shown(&judgement.wrong);
    Ok(Found { judgement, shown })
}

fn show(seed: u64, minutes: i64, found: &Found) -> ExitCode {
    let Found { judgement: Judgement { wrong, excused, figures }, shown } = found;
    println!();
    for figure in figures {
        println!("{}", figure.line());
    }
    let file = Path::new("target/soak.json");
    let list: Vec<Value> = figures.iter().map(Figure::json).collect();
    let wrongs: Vec<_> = wrong.iter().map(|wrong| json!({"service": wrong.service, "what": wrong.what})).collect();
    let all = json!({"seed": seed, "minutes": minutes, "figures": list, "excused": excused, "wrong": wrongs, "stories": shown});
    std::fs::create_dir_all("target").expect("a folder");
    std::fs::write(file, format!("{all:#}\n")).expect("a file");
    if wrong.is_empty() {
        println!("\nEvery outage that lasted long enough was notified of, once, and no other. Seed {seed}.");
        return ExitCode::SUCCESS;
    }
    println!("\nWrong, with seed {seed}:\n{shown}");
    ExitCode::FAILURE
}
