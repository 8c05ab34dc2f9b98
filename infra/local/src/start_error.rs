//! Why the system does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use emulators::QueueError;

/// Why the system did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data folder {0} cannot be used")]
    Folder(PathBuf, #[source] std::io::Error),
    #[error("another process uses the data folder {0}")]
    InUse(PathBuf),
    #[error("there is no Medic in the data folder {0}")]
    NoMedic(PathBuf),
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
