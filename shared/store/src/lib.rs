//! The table: where everything that Medic knows is kept. One DynamoDB table, two indexes; each transition is one
//! conditional transaction. `docs/DATA.md` lists the access patterns.

mod alerts;
mod api_keys;
mod counters;
mod deliveries;
mod due;
mod entity;
mod error;
mod heartbeats;
mod item;
mod keys;
mod lanes;
mod limits;
mod names;
mod notices;
mod patience;
mod ping_keys;
mod runs;
mod schedules;
mod schema;
mod service_items;
mod services;
mod stats;
mod table;
mod targets;
mod teams;
mod webhooks;
mod windows;

pub use alerts::AlertFilter;
pub use due::{DuePage, DueRow};
pub use entity::{Entity, Limit, Saved};
pub use error::Error;
pub use heartbeats::Heartbeat;
pub use keys::{Key, Lane, RowKind, SHARDS, digest};
pub use lanes::{LaneEntry, LaneHead, LaneHold, LaneView, Owed};
pub use limits::Place;
pub use names::Claim;
pub use ping_keys::FoundPingKey;
pub use runs::RunRecord;
pub use schema::{TABLE, TableDefinition};
pub use services::{Beat, Outline, ServiceRecord, Watched};
pub use stats::Stats;
pub use table::{Commit, Page, Table, Writes};
