//! `medic-local`: the whole of Medic in one process.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use local::{Options, Service};
use operations::error_chain;
use runtime::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use script::Sandbox;
use tokio::signal::unix::{SignalKind, signal};

/// A heartbeat makes about a thousand allocations, most of them in the SDK and the engine.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Monitors services by their heartbeats, all in this process.
#[derive(Debug, Parser)]
#[command(name = "medic-local", version)]
struct Arguments {
    /// The address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The folder to keep the state in.
    #[arg(long, value_name = "DIR", default_value = ".medic")]
    data_dir: PathBuf,
    /// Creates another admin API key of this name in the data folder, prints it and ends. Medic must not be running.
    #[arg(long, value_name = "NAME")]
    create_admin_key: Option<String>,
}

fn main() -> ExitCode {
    script::started_as_part().unwrap_or_else(start)
}

#[tokio::main]
async fn start() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "why the start failed, whatever RUST_LOG says")]
            {
                eprintln!("medic-local: {}", error_chain(error.as_ref()));
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_env()?;
    runtime::init_logging(config.log_filter.clone());
    let mut stdout = std::io::stdout();
    if let Some(name) = &arguments.create_admin_key {
        writeln!(stdout, "{}", local::create_admin_key(&arguments.data_dir, &config, name).await?)?;
        return Ok(());
    }
    use_all_descriptors();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let service = Service::start(Options {
        data_dir: Some(arguments.data_dir.clone()),
        prometheus: Some(runtime::prometheus()?),
        sandbox: Some(Arc::new(Sandbox::of_this_process()?)),
        ..Options::new(arguments.listen, config)
    })
    .await?;
    if service.new_admin_key().is_some() {
        writeln!(stdout, "the admin API key is in {}", arguments.data_dir.join("admin.key").display())?;
    }
    writeln!(stdout, "medic ready on http://{}", service.address())?;
    stdout.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    service.stop().await;
    Ok(())
}

/// Lets this process have as many file descriptors as it may give itself.
fn use_all_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of file descriptors stays as it is");
    }
}
