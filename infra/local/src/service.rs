//! Starts the whole system, and stops it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use emulators::{DynamoDb, QueueError, Queues};
use metrics_exporter_prometheus::PrometheusHandle;
use operations::{QueuePorts, bootstrap_key, new_secrets_key};
use outbound::Seal;
use runtime::{App, Clock, Config};
use script::{Sandbox, Scripts};
use store::Table;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::runner::{Agenda, Queue, Runner};
use crate::scripts::LocalScripts;
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
}

impl Options {
    /// Returns the options of a system on the machine's time, with its state in memory.
    pub fn new(listen: SocketAddr, config: Config) -> Self {
        Self { listen, data_dir: None, config, time: Arc::new(SystemTime::default()), prometheus: None, sandbox: None }
    }
}

/// Why the system did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data folder {0} cannot be used")]
    Folder(PathBuf, #[source] std::io::Error),
    #[error("another process uses the data folder {0}")]
    InUse(PathBuf),
    #[error("the address {0} cannot be listened on")]
    Listen(SocketAddr, #[source] std::io::Error),
    #[error("the embedded database does not open: {0}")]
    Database(String),
    #[error("the queues do not open")]
    Queues(#[from] QueueError),
    #[error("the table cannot be created")]
    Table(#[from] store::Error),
    #[error("the admin key cannot be created")]
    AdminKey(#[from] operations::Error),
    #[error("when Medic last heard cannot be read or written")]
    Pulse(#[source] operations::Error),
    #[error("the API cannot be described")]
    Document(#[from] serde_json::Error),
    #[error("the clients cannot be created: {0}")]
    Clients(Box<dyn std::error::Error + Send + Sync>),
}

/// The system at work.
pub struct Service {
    address: SocketAddr,
    new_admin_key: Option<String>,
    runner: Runner,
    dynamodb: DynamoDb,
    stop: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
    /// Held as long as the data folder is used.
    _lock: Option<std::fs::File>,
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
        let Options { listen, data_dir, mut config, time, prometheus, sandbox } = options;
        let folder = data_dir.as_deref();
        let lock = folder.map(lock).transpose()?;
        tracing::info!(folder = %folder.map_or_else(|| "memory".into(), Path::to_string_lossy), "opening the database");
        let expiry = Arc::clone(&time);
        let dynamodb = match folder {
            Some(folder) => DynamoDb::open(&folder.join("table.db")),
            None => DynamoDb::in_memory(move || expiry.now()),
        }
        .map_err(StartError::Database)?;
        let queues = match folder {
            Some(folder) => Queues::open(&folder.join("queues.db"), MAX_RECEIVES),
            None => Queues::in_memory(MAX_RECEIVES),
        }?;
        let table = Table::new(dynamodb.config(), TABLE_NAME);
        table.create_table().await?;

        tracing::info!(%listen, "starting the functions");
        let listener = TcpListener::bind(listen).await.map_err(|error| StartError::Listen(listen, error))?;
        let address = listener.local_addr().map_err(|error| StartError::Listen(listen, error))?;
        if config.seal.is_none() {
            let seal = Seal::new(secrets_key(folder)?).map_err(|error| StartError::Clients(error.into()))?;
            config.seal = Some(Arc::new(seal));
        }
        // The last step that can fail: a key that was created is shown.
        let new_admin_key = admin_key(&table, folder, time.now()).await?;

        let agenda = Arc::new(Agenda::new(time.now()));
        let wakes = LocalWakes { queues: queues.clone(), agenda: Arc::clone(&agenda), time: Arc::clone(&time) };
        let clock: Arc<dyn Clock> = Arc::new(TimeClock(Arc::clone(&time)));
        let local = LocalScripts { queues: queues.clone(), agenda: Arc::clone(&agenda), time: Arc::clone(&time) };
        let (wakes, reports) = (Arc::new(wakes), Arc::new(local));
        let ports =
            QueuePorts { wakes, script_jobs: Arc::<LocalScripts>::clone(&reports), script_reports: reports.clone() };
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
        let runner = Runner { app: app.clone(), scripts, queues, agenda, time, clean };

        let (stop, stopped) = watch::channel(false);
        let router = router(&app)?;
        let server = async move {
            let served = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
                .with_graceful_shutdown(wait_for(stopped));
            if let Err(error) = served.await {
                tracing::error!(%error, "the server failed");
            }
        };
        let tasks = [spawn(server), spawn(runner.clone().run())];
        Ok(Self { address, new_admin_key, runner, dynamodb, stop, tasks, _lock: lock })
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

fn lock(folder: &Path) -> Result<std::fs::File, StartError> {
    let failed = |error| StartError::Folder(folder.to_owned(), error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let file = std::fs::File::create(folder.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::InUse(folder.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

async fn admin_key(table: &Table, folder: Option<&Path>, now: DateTime<Utc>) -> Result<Option<String>, StartError> {
    let file = folder.map(|folder| folder.join("admin.key"));
    let kept = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    let keep = |key: &str| match &file {
        Some(file) => write_private(file, key).map_err(|error| StartError::Folder(file.clone(), error)),
        None => Ok(()),
    };
    bootstrap_key(table, kept, keep, now).await
}

/// Returns the key of playbooks' secrets: created at the first start, and kept in the data folder.
fn secrets_key(folder: Option<&Path>) -> Result<[u8; 32], StartError> {
    let Some(file) = folder.map(|folder| folder.join("secrets.key")) else { return Ok(new_secrets_key()?) };
    let failed = |error| StartError::Folder(file.clone(), error);
    match std::fs::read_to_string(&file) {
        Ok(kept) => {
            let bytes = BASE64_STANDARD.decode(kept.trim()).ok().and_then(|bytes| bytes.try_into().ok());
            let unreadable = || std::io::Error::new(ErrorKind::InvalidData, "it must hold 32 bytes in base64");
            bytes.ok_or_else(|| failed(unreadable()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = new_secrets_key()?;
            write_private(&file, &BASE64_STANDARD.encode(key)).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let draft = file.with_extension("key.new");
    let mut options = std::fs::OpenOptions::new();
    let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(written, "{text}")?;
    written.sync_all()?;
    std::fs::rename(&draft, file)
}

fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    #[expect(clippy::disallowed_methods, reason = "the server and the runner live as long as the service")]
    tokio::spawn(work)
}
