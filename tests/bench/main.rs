//! Measures what the budgets name. Prints a table, writes `target/bench.json`, and ends well even when a budget is missed.
#![expect(clippy::print_stdout, reason = "a table to be read")]
#![expect(clippy::expect_used, reason = "a measurement that cannot go on should end where it stands")]

mod capacity;
mod delay;
mod figure;
mod footprint;
mod scale;
mod speed;

use std::path::Path;

use figure::Figure;
use serde_json::Value;

#[tokio::main]
async fn main() {
    println!("{}", Figure::HEADING);
    let mut figures = Vec::new();
    keep(&mut figures, capacity::figures().await);
    keep(&mut figures, scale::figures().await);
    keep(&mut figures, speed::figures().await);
    keep(&mut figures, footprint::figures().await);
    keep(&mut figures, delay::figures().await);

    let file = Path::new("target/bench.json");
    let list = Value::Array(figures.iter().map(Figure::json).collect());
    std::fs::create_dir_all("target").expect("a folder");
    std::fs::write(file, format!("{list:#}\n")).expect("a file");
    let missed: Vec<_> = figures.iter().filter(|figure| figure.within() == Some(false)).collect();
    println!("\nWritten to {}. Budgets missed: {}.", file.display(), missed.len());
    for figure in missed {
        println!("{figure}");
    }
}

fn keep(all: &mut Vec<Figure>, more: Vec<Figure>) {
    for figure in &more {
        println!("{figure}");
    }
    all.extend(more);
}
