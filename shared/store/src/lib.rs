//! The table: where everything that Medic knows is kept. One DynamoDB table, two indexes; each transition is one
//! conditional transaction. `docs/DATA.md` lists the access patterns.

mod alerts;
mod api_keys;
mod counters;
mod due;
mod error;
mod heartbeats;
mod item;
mod keys;
mod lanes;
mod names;
mod notices;
mod schema;
mod service_items;
mod services;
mod stats;
mod table;

pub use alerts::AlertFilter;
pub use due::DueRow;
pub use error::Error;
pub use heartbeats::Heartbeat;
pub use keys::{Key, Lane, RowKind, SHARDS};
pub use lanes::LaneEntry;
pub use names::Claim;
pub use schema::{TABLE, TableDefinition};
pub use services::{Beat, ServiceRecord, Watched};
pub use stats::Stats;
pub use table::{Commit, Page, Table, Writes};
