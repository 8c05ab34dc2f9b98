//! Measures what the budgets name. Prints a table, writes `target/bench.json`, and succeeds even when a budget is missed.
#![expect(clippy::print_stdout, reason = "a table to be read")]
#![expect(clippy::expect_used, reason = "a measurement that cannot go on should end where it stands")]

mod bootstraps;
mod capacity;
mod delay;
mod figure;
mod flood;
mod footprint;
mod growth;
mod load;
mod scale;
mod speed;

use std::path::Path;

use figure::Figure;
use serde_json::Value;

#[tokio::main]
async fn main() {
    println!("{}", Figure::HEADING);
    // All of them, or those that are named.
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_wanted = |name: &str| named.is_empty() || named.iter().any(|wanted| wanted == name);
    let mut figures = Vec::new();
    for part in ["capacity", "scale", "growth", "speed", "footprint", "bootstraps", "delay", "flood", "pages", "load"] {
        // The load is a run of its own: `make load`.
        if is_wanted(part) && (part != "load" || !named.is_empty()) {
            keep(&mut figures, Box::pin(measure(part)).await);
        }
    }

    let file = Path::new("target/bench.json");
    let list = Value::Array(with_earlier(file, &figures.iter().map(Figure::json).collect::<Vec<_>>()));
    std::fs::create_dir_all("target").expect("a folder");
    std::fs::write(file, format!("{list:#}\n")).expect("a file");
    let missed: Vec<_> = figures.iter().filter(|figure| figure.within() == Some(false)).collect();
    println!("\nWritten to {}. Budgets missed: {}.", file.display(), missed.len());
    for figure in missed {
        println!("{figure}");
    }
}

async fn measure(part: &str) -> Vec<Figure> {
    match part {
        "capacity" => capacity::figures().await,
        "scale" => scale::figures().await,
        "speed" => speed::figures().await,
        "growth" => growth::figures().await,
        "footprint" => footprint::figures().await,
        "load" => load::figures().await,
        "bootstraps" => bootstraps::figures(),
        "delay" => delay::figures().await,
        "flood" => flood::flood(&["Slack"]).await,
        _ => flood::flood(&["Slack", "PagerDuty"]).await,
    }
}

/// Returns what was measured now, behind the other figures in the file.
fn with_earlier(file: &Path, now: &[Value]) -> Vec<Value> {
    let earlier: Vec<Value> =
        std::fs::read(file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let same = |one: &Value, other: &Value| one["name"] == other["name"] && one["unit"] == other["unit"];
    let is_old = |old: &Value| now.iter().any(|new| same(old, new));
    earlier.into_iter().filter(|old| !is_old(old)).chain(now.iter().cloned()).collect()
}

fn keep(all: &mut Vec<Figure>, more: Vec<Figure>) {
    for figure in &more {
        println!("{figure}");
    }
    all.extend(more);
}
