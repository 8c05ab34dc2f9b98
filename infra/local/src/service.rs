//! Starts the whole system, and stops it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chrono::{DateTime, Utc};
use emulators::{DynamoDb, Fates, QueueError, Queues};
use metrics_exporter_prometheus::PrometheusHandle;
use operations::{Actor, NewApiKey, QueuePorts, bootstrap_key, new_secrets_key};
use outbound::Seal;
use runtime::{App, Clock, Config};
use script::{Sandbox, Scripts};
use store::Table;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::folder::{DataFolder, keep_private};
use crate::runner::{Agenda, Queue, Runner};
use crate::scripts::LocalScripts;
use crate::server::serve;
use crate::start_error::StartError;
use crate::wakes::LocalWakes;
use crate::{SystemTime, Time};

/// How to start.
#[derive(Clone)]
pub struct Options {
    pub listen: SocketAddr,
    /// Where the state is kept; only in memory, if none.
    pub data_dir: Option<PathBuf>,
    pub config: Config,
    pub time: Arc<dyn Time>,
    pub prometheus: Option<PrometheusHandle>,
    /// Where scripts are run; they are not, if none.
    pub sandbox: Option<Arc<Sandbox>>,
    /// What becomes of the functions and of their calls to the table, as a test has it. All are served otherwise, and each
    /// function goes on until it has ended: whatever it may wait for has a limit of its own.
    pub fates: Option<Arc<dyn Fates>>,
}

impl Options {
    /// Returns the options of a system on the machine's time, with its state in memory.
    pub fn new(listen: SocketAddr, config: Config) -> Self {
        let time = Arc::new(SystemTime::default());
        Self { listen, data_dir: None, config, time, prometheus: None, sandbox: None, fates: None }
    }
}

/// The system at work.
pub struct Service {
    address: SocketAddr,
    new_admin_key: Option<String>,
    runner: Runner,
    dynamodb: DynamoDb,
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
    /// Held as long as it is used.
    _folder: Option<DataFolder>,
}

/// A message that was received so often, and never deleted, is a dead letter.
const MAX_RECEIVES: i64 = 5;
/// The table's name, which only this process uses.
const TABLE_NAME: &str = "medic";
/// How long a stop waits for what is under way.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

impl Service {
    /// Starts the table, the queues, the functions, and the server.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { listen, data_dir, mut config, time, prometheus, sandbox, fates } = options;
        let Opened { folder, mut dynamodb, queues, mut table } = open(data_dir.as_deref(), &time).await?;
        let ends_functions = fates.is_some();
        if let Some(fates) = fates {
            dynamodb = dynamodb.with_fates(fates);
            table = Table::new(dynamodb.config(), TABLE_NAME);
        }

        tracing::info!(%listen, "starting the functions");
        let listener = TcpListener::bind(listen).await.map_err(|error| StartError::Listen(listen, error))?;
        let address = listener.local_addr().map_err(|error| StartError::Listen(listen, error))?;
        if config.seal.is_none() {
            let key = folder.as_ref().map_or_else(|| Ok(new_secrets_key()?), DataFolder::secrets_key)?;
            let seal = Seal::new(key).map_err(|error| StartError::Clients(error.into()))?;
            config.seal = Some(Arc::new(seal));
        }
        let new_admin_key = admin_key(&table, folder.as_ref(), time.now()).await?;

        let agenda = Arc::new(Agenda::new(time.now()));
        let clock: Arc<dyn Clock> = Arc::new(TimeClock(Arc::clone(&time)));
        let (ports, reports) = queue_ports(&queues, &agenda, &time);
        let medic = runtime::medic(&config, table, ports, true).map_err(StartError::Clients)?;
        let seal = config.seal.clone();
        let scripts = sandbox.map(|sandbox| Scripts { sandbox, seal, reports, clock: Arc::clone(&clock) });
        let app = App { medic: Arc::new(medic), clock, prometheus };
        // Before anybody is heard: how long nobody was is known from the last renewal.
        app.medic.renew_pulse(app.now()).await.map_err(StartError::Pulse)?;
        let cleaner = dynamodb.clone();
        let clean = Arc::new(move || {
            if let Err(error) = cleaner.remove_expired() {
                tracing::error!(%error, "what expired cannot be deleted");
            }
        });
        let runner = Runner { app: app.clone(), scripts, queues, agenda, time, ends_functions, clean };

        let (stop, stopped) = watch::channel(false);
        let router = router(&app)?;
        let server = serve(listener, router, wait_for(stopped));
        let tasks = [spawn(server), spawn(runner.clone().run())];
        Ok(Self { address, new_admin_key, runner, dynamodb, stop, tasks, _folder: folder })
    }

    /// Returns the address of its server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the admin key, if this start created it.
    pub fn new_admin_key(&self) -> Option<&str> {
        self.new_admin_key.as_deref()
    }

    /// Returns the embedded database, to measure it or to make it fail.
    pub fn dynamodb(&self) -> &DynamoDb {
        &self.dynamodb
    }

    /// Makes whoever receives the next `count` batches of a queue die before anything is done: their messages come again
    /// after the queue's visibility timeout.
    pub fn lose_workers(&self, queue: Queue, count: usize) {
        self.runner.agenda.lose_workers(queue, count);
    }

    /// Returns the operations themselves, for what no request reaches.
    pub fn medic(&self) -> &operations::Medic {
        &self.runner.app.medic
    }

    /// Returns when nothing is being done and nothing is due.
    pub async fn settle(&self) {
        self.runner.settle().await;
    }

    /// Returns when something is next due.
    pub fn next_at(&self) -> DateTime<Utc> {
        self.runner.next_at()
    }

    /// Returns the messages that no function could handle.
    pub fn dead_letters(&self) -> Result<Vec<String>, QueueError> {
        let letters = Queue::ALL.into_iter().map(|queue| self.runner.queues.dead_letters(queue.name()));
        Ok(letters.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Stops. What is under way has three seconds; the rest continues at the next start.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.runner.agenda.stop();
        let [mut server, mut runner] = self.tasks;
        let all = async {
            sweep::renew_pulse(&self.runner.app).await;
            // A task that panicked has ended too.
            (&mut server).await.unwrap_or_default();
            (&mut runner).await.unwrap_or_default();
            self.runner.finished().await;
        };
        if tokio::time::timeout(STOP_TIMEOUT, all).await.is_err() {
            tracing::warn!("some work was still under way; it continues at the next start");
            server.abort();
            runner.abort();
        }
    }
}

/// Returns the functions' routes as one router, with the document of them all.
fn router(app: &App) -> Result<Router, StartError> {
    let routes = ingest::router().merge(api::router()).merge(api::notifications());
    let document = serde_json::to_vec(&api::document(routes.document())?)?;
    let docs = api::docs(move || document.clone());
    Ok(runtime::serve(routes, app).merge(docs).with_state(app.clone()))
}

/// A clock that reads a time.
#[derive(Debug)]
struct TimeClock(Arc<dyn Time>);

impl Clock for TimeClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // An error means that the service is gone, which is also a stop.
    stopped.wait_for(|stopped| *stopped).await.map(|_| ()).unwrap_or_default();
}

/// What was kept by the last process.
struct Opened {
    folder: Option<DataFolder>,
    dynamodb: DynamoDb,
    queues: Queues,
    table: Table,
}

async fn open(data_dir: Option<&Path>, time: &Arc<dyn Time>) -> Result<Opened, StartError> {
    let folder = data_dir.map(DataFolder::open).transpose()?;
    tracing::info!(folder = %data_dir.map_or_else(|| "memory".into(), Path::to_string_lossy), "opening the database");
    let expiry = Arc::clone(time);
    let dynamodb = match &folder {
        Some(folder) => DynamoDb::open(&folder.table()),
        None => DynamoDb::in_memory(move || expiry.now()),
    }
    .map_err(StartError::Database)?;
    let queues = match &folder {
        Some(folder) => Queues::open(&folder.queues(), MAX_RECEIVES),
        None => Queues::in_memory(MAX_RECEIVES),
    }?;
    let table = Table::new(dynamodb.config(), TABLE_NAME);
    table.create_table().await?;
    Ok(Opened { folder, dynamodb, queues, table })
}

fn queue_ports(queues: &Queues, agenda: &Arc<Agenda>, time: &Arc<dyn Time>) -> (QueuePorts, Arc<LocalScripts>) {
    let wakes = LocalWakes { queues: queues.clone(), agenda: Arc::clone(agenda), time: Arc::clone(time) };
    let local = LocalScripts { queues: queues.clone(), agenda: Arc::clone(agenda), time: Arc::clone(time) };
    let local = Arc::new(local);
    let ports = QueuePorts {
        wakes: Arc::new(wakes),
        script_jobs: Arc::<LocalScripts>::clone(&local),
        script_reports: Arc::<LocalScripts>::clone(&local),
    };
    (ports, local)
}

async fn admin_key(
    table: &Table,
    folder: Option<&DataFolder>,
    now: DateTime<Utc>,
) -> Result<Option<String>, StartError> {
    let file = folder.map(DataFolder::admin_key);
    let kept = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    let keep = |key: &str| file.as_ref().map_or(Ok(()), |file| keep_private(file, key));
    bootstrap_key(table, kept, keep, now).await
}

/// Creates an admin key in a data folder that no process uses, and returns it: for whoever has lost all of them.
pub async fn create_admin_key(data_dir: &Path, config: &Config, name: &str) -> Result<String, StartError> {
    if !DataFolder::is_one(data_dir) {
        return Err(StartError::NoMedic(data_dir.to_owned()));
    }
    let new = NewApiKey::admin(name)?;
    let time: Arc<dyn Time> = Arc::new(SystemTime::default());
    let Opened { folder: _folder, dynamodb: _, queues, table } = open(Some(data_dir), &time).await?;
    let (ports, _) = queue_ports(&queues, &Arc::new(Agenda::new(time.now())), &time);
    let medic = runtime::medic(config, table, ports, true).map_err(StartError::Clients)?;
    let (_, credential) = medic.create_api_key(new, &Actor::medic(time.now())).await?;
    Ok(credential.reveal())
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    #[expect(clippy::disallowed_methods, reason = "the server and the runner live as long as the service")]
    tokio::spawn(work)
}
