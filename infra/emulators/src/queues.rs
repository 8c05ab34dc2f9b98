//! A stand-in for SQS and EventBridge Scheduler that keeps its messages on disk. It has the rules that Medic relies on:
//! batches of up to ten, visibility timeouts, redrive to a dead-letter queue, delays of up to 900 s, one-time
//! schedules, and FIFO queues with their groups and deduplication.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, OptionalExtension as _, params};

/// The longest delay that SQS accepts.
const MAX_DELAY: TimeDelta = TimeDelta::seconds(900);
/// How long a FIFO queue recognises a repetition.
const DEDUPLICATION: TimeDelta = TimeDelta::minutes(5);

/// A message in the hands of a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub id: String,
    pub body: String,
    pub receives: i64,
    pub sent_at: DateTime<Utc>,
}

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the delay of {0} s is over 900 s")]
    Delay(i64),
    #[error("the queues' file failed")]
    Storage(#[from] rusqlite::Error),
}

/// Queues and schedules, by name.
#[derive(Debug, Clone)]
pub struct Queues {
    connection: Arc<Mutex<Connection>>,
    max_receives: i64,
}

impl Queues {
    /// Opens queues that are kept in a file. A message is received `max_receives` times, and then goes to the dead-letter
    /// queue.
    pub fn open(file: &Path, max_receives: i64) -> Result<Self, Error> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Self::of(connection, max_receives)
    }

    /// Creates queues that end with the process, likewise.
    pub fn in_memory(max_receives: i64) -> Result<Self, Error> {
        Self::of(Connection::open_in_memory()?, max_receives)
    }

    fn of(connection: Connection, max_receives: i64) -> Result<Self, Error> {
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS message (
                 id INTEGER PRIMARY KEY AUTOINCREMENT,
                 queue TEXT NOT NULL,
                 body TEXT NOT NULL,
                 sent_at INTEGER NOT NULL,
                 visible_at INTEGER NOT NULL,
                 receives INTEGER NOT NULL DEFAULT 0,
                 dead INTEGER NOT NULL DEFAULT 0,
                 message_group TEXT
             );
             CREATE TABLE IF NOT EXISTS deduplication (
                 queue TEXT NOT NULL,
                 id TEXT NOT NULL,
                 until INTEGER NOT NULL,
                 PRIMARY KEY (queue, id)
             );
             CREATE INDEX IF NOT EXISTS message_visible ON message (dead, queue, visible_at);
             CREATE TABLE IF NOT EXISTS schedule (
                 name TEXT PRIMARY KEY,
                 at INTEGER NOT NULL,
                 queue TEXT NOT NULL,
                 body TEXT NOT NULL
             );",
        )?;
        let has_groups = "SELECT count(*) FROM pragma_table_info('message') WHERE name = 'message_group'";
        if connection.query_row(has_groups, [], |row| row.get::<_, i64>(0))? == 0 {
            // A file from before FIFO queues.
            connection.execute("ALTER TABLE message ADD COLUMN message_group TEXT", [])?;
        }
        // Whoever had received these is gone.
        connection.execute("UPDATE message SET visible_at = 0 WHERE receives > 0 AND dead = 0", [])?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), max_receives })
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a message that becomes visible after `delay`.
    pub fn send(&self, queue: &str, body: &str, delay: TimeDelta, now: DateTime<Utc>) -> Result<(), Error> {
        if delay > MAX_DELAY {
            return Err(Error::Delay(delay.num_seconds()));
        }
        let sent_at = now.timestamp_millis();
        self.connection()
            .prepare_cached("INSERT INTO message (queue, body, sent_at, visible_at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![queue, body, sent_at, sent_at + delay.num_milliseconds()])?;
        Ok(())
    }

    /// Sends a message to a FIFO queue. Those of a group are received in their order, one at a time; one whose
    /// deduplication id was sent within five minutes is accepted and dropped.
    pub fn send_fifo(
        &self,
        queue: &str,
        group: &str,
        deduplication_id: &str,
        body: &str,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let now_ms = now.timestamp_millis();
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.prepare_cached("DELETE FROM deduplication WHERE until <= ?1")?.execute([now_ms])?;
        let is_new = transaction
            .prepare_cached("INSERT OR IGNORE INTO deduplication (queue, id, until) VALUES (?1, ?2, ?3)")?
            .execute(params![queue, deduplication_id, now_ms + DEDUPLICATION.num_milliseconds()])?;
        if is_new > 0 {
            transaction
                .prepare_cached(
                    "INSERT INTO message (queue, body, sent_at, visible_at, message_group) VALUES (?1, ?2, ?3, ?3, ?4)",
                )?
                .execute(params![queue, body, now_ms, group])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Creates or replaces a one-time schedule that sends a message and is then deleted.
    pub fn schedule(&self, name: &str, at: DateTime<Utc>, queue: &str, body: &str) -> Result<(), Error> {
        self.connection()
            .prepare_cached("INSERT OR REPLACE INTO schedule (name, at, queue, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![name, at.timestamp_millis(), queue, body])?;
        Ok(())
    }

    /// Receives up to `max` visible messages, which then are invisible for `visibility_timeout`.
    pub fn receive(
        &self,
        queue: &str,
        max: i64,
        visibility_timeout: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<Vec<Received>, Error> {
        let now_ms = now.timestamp_millis();
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        fire_schedules(&transaction, now_ms)?;
        transaction
            .prepare_cached(
                "UPDATE message SET dead = 1 WHERE dead = 0 AND queue = ?1 AND visible_at <= ?2 AND receives >= ?3",
            )?
            .execute(params![queue, now_ms, self.max_receives])?;
        let invisible_until = now_ms + visibility_timeout.num_milliseconds();
        let received = transaction
            .prepare_cached(
                "UPDATE message SET receives = receives + 1, visible_at = ?3 WHERE id IN
                     (SELECT id FROM message WHERE dead = 0 AND queue = ?1 AND visible_at <= ?2
                          AND (message_group IS NULL OR NOT EXISTS
                               (SELECT 1 FROM message AS earlier
                                WHERE earlier.dead = 0 AND earlier.queue = ?1
                                    AND earlier.message_group = message.message_group AND earlier.id < message.id))
                      ORDER BY visible_at, id LIMIT ?4)
                 RETURNING id, body, receives, sent_at",
            )?
            .query_map(params![queue, now_ms, invisible_until, max], |row| {
                Ok(Received {
                    id: row.get::<_, i64>(0)?.to_string(),
                    body: row.get(1)?,
                    receives: row.get(2)?,
                    sent_at: DateTime::from_timestamp_millis(row.get(3)?).unwrap_or_default(),
                })
            })?
            .collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(received)
    }

    /// Deletes messages that were handled.
    pub fn delete<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for id in ids {
            transaction.prepare_cached("DELETE FROM message WHERE id = CAST(?1 AS INTEGER)")?.execute([id])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Returns when the next message becomes visible or the next schedule fires: a past time, if one has. A message that
    /// waits for an earlier one of its group does not count.
    pub fn next_at(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let next: Option<Option<i64>> = self
            .connection()
            .prepare_cached(
                "SELECT min(at) FROM (SELECT min(visible_at) AS at FROM message WHERE dead = 0
                                          AND (message_group IS NULL OR NOT EXISTS
                                               (SELECT 1 FROM message AS earlier
                                                WHERE earlier.dead = 0 AND earlier.queue = message.queue
                                                    AND earlier.message_group = message.message_group
                                                    AND earlier.id < message.id))
                                      UNION ALL SELECT min(at) FROM schedule)",
            )?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(next.flatten().and_then(DateTime::from_timestamp_millis))
    }

    /// Returns the bodies of the dead letters.
    pub fn dead_letters(&self, queue: &str) -> Result<Vec<String>, Error> {
        let connection = self.connection();
        let mut letters = connection.prepare_cached("SELECT body FROM message WHERE dead = 1 AND queue = ?1")?;
        let bodies = letters.query_map([queue], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(bodies)
    }
}

fn fire_schedules(transaction: &rusqlite::Transaction<'_>, now_ms: i64) -> Result<(), rusqlite::Error> {
    transaction
        .prepare_cached(
            "INSERT INTO message (queue, body, sent_at, visible_at) SELECT queue, body, ?1, ?1 FROM schedule WHERE at <= ?1",
        )?
        .execute([now_ms])?;
    transaction.prepare_cached("DELETE FROM schedule WHERE at <= ?1")?.execute([now_ms])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_RECEIVES: i64 = 2;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    /// Receives a batch as `sweep` does.
    fn receive(queues: &Queues, second: i64) -> Vec<Received> {
        queues.receive("q", 10, TimeDelta::seconds(30), at(second)).unwrap()
    }

    fn bodies(queues: &Queues, second: i64) -> Vec<String> {
        receive(queues, second).into_iter().map(|message| message.body).collect()
    }

    #[test]
    fn a_batch_holds_ten_and_a_received_message_is_hidden() {
        let queues = Queues::in_memory(MAX_RECEIVES).unwrap();
        for n in 0..12 {
            queues.send("q", &n.to_string(), TimeDelta::zero(), at(0)).unwrap();
        }
        assert_eq!(bodies(&queues, 0).len(), 10);
        assert_eq!(bodies(&queues, 0), ["10", "11"]);
        assert_eq!(bodies(&queues, 29), [""; 0]);
        assert_eq!(bodies(&queues, 30).len(), 10);
    }

    #[test]
    fn what_keeps_failing_is_dead_lettered() {
        let queues = Queues::in_memory(MAX_RECEIVES).unwrap();
        queues.send("q", "poison", TimeDelta::zero(), at(0)).unwrap();
        for second in [0, 30] {
            assert_eq!(bodies(&queues, second), ["poison"]);
        }
        assert_eq!(bodies(&queues, 60), [""; 0]);
        assert_eq!(queues.dead_letters("q").unwrap(), ["poison"]);
        assert_eq!(queues.next_at().unwrap(), None);
    }

    #[test]
    fn delays_are_kept_and_longer_ones_refused() {
        let queues = Queues::in_memory(MAX_RECEIVES).unwrap();
        queues.send("q", "late", TimeDelta::seconds(900), at(0)).unwrap();
        assert!(matches!(queues.send("q", "later", TimeDelta::seconds(901), at(0)), Err(Error::Delay(901))));
        assert_eq!(bodies(&queues, 899), [""; 0]);
        assert_eq!(queues.next_at().unwrap(), Some(at(900)));
        assert_eq!(bodies(&queues, 900), ["late"]);
    }

    #[test]
    fn a_schedule_fires_once() {
        let queues = Queues::in_memory(MAX_RECEIVES).unwrap();
        queues.schedule("s", at(3_600), "q", "now").unwrap();
        assert_eq!(bodies(&queues, 3_599), [""; 0]);
        let [message] = &receive(&queues, 3_600)[..] else { panic!("one message") };
        queues.delete([message.id.as_str()]).unwrap();
        assert_eq!(queues.next_at().unwrap(), None);
    }

    #[test]
    fn a_fifo_queue_gives_a_group_one_at_a_time_and_a_repetition_once() {
        let queues = Queues::in_memory(MAX_RECEIVES).unwrap();
        for (group, body) in [("a", "a1"), ("a", "a1"), ("a", "a2"), ("b", "b1")] {
            queues.send_fifo("q", group, body, body, at(0)).unwrap();
        }
        let first = receive(&queues, 0);
        assert_eq!(first.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["a1", "b1"]);
        assert_eq!(bodies(&queues, 1), [""; 0], "the rest of the group waits for its first");
        queues.delete([first[0].id.as_str()]).unwrap();
        assert_eq!(bodies(&queues, 1), ["a2"]);
        queues.send_fifo("q", "a", "a1", "a1", at(299)).unwrap();
        queues.send_fifo("q", "c", "c1", "c1", at(299)).unwrap();
        queues.send_fifo("q", "d", "a1", "again", at(300)).unwrap();
        let later = queues.receive("q", 1, TimeDelta::hours(1), at(300)).unwrap();
        assert_eq!(later.len(), 1, "as many as were asked for");
    }

    #[test]
    fn a_message_that_a_dead_worker_holds_blocks_its_group_for_the_visibility_timeout_and_no_other() {
        let queues = Queues::in_memory(MAX_RECEIVES).unwrap();
        let receive = |second| -> Vec<String> {
            let received = queues.receive("q", 1, TimeDelta::seconds(3_960), at(second)).unwrap();
            received.into_iter().map(|message| message.body).collect()
        };
        for (group, body) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
            queues.send_fifo("q", group, body, body, at(0)).unwrap();
        }
        assert_eq!((receive(0), receive(1)), (vec!["a1".to_owned()], vec!["b1".to_owned()]));
        assert_eq!((receive(2), receive(3_959)), (vec![], vec![]));
        assert_eq!(queues.next_at().unwrap(), Some(at(3_960)));
        assert_eq!((receive(3_960), receive(3_961)), (vec!["a1".to_owned()], vec!["b1".to_owned()]));
        assert_eq!(receive(7_920), ["a2"], "its first is a dead letter");
    }

    #[test]
    fn a_file_from_before_fifo_queues_opens() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("queues.db");
        let old = Connection::open(&file).unwrap();
        old.execute_batch(
            "CREATE TABLE message (
                 id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, body TEXT NOT NULL, sent_at INTEGER NOT NULL,
                 visible_at INTEGER NOT NULL, receives INTEGER NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0
             );
             INSERT INTO message (queue, body, sent_at, visible_at) VALUES ('q', 'old', 0, 0);",
        )
        .unwrap();
        drop(old);
        let queues = Queues::open(&file, MAX_RECEIVES).unwrap();
        queues.send_fifo("q", "a", "a1", "new", at(0)).unwrap();
        assert_eq!(bodies(&queues, 0), ["old", "new"]);
    }

    #[test]
    fn messages_survive_a_restart_and_those_in_flight_are_visible_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("queues.db");
        let queues = Queues::open(&file, MAX_RECEIVES).unwrap();
        queues.send("q", "in flight", TimeDelta::zero(), at(0)).unwrap();
        assert_eq!(bodies(&queues, 0), ["in flight"]);
        queues.send("q", "waiting", TimeDelta::seconds(60), at(0)).unwrap();
        drop(queues);
        let queues = Queues::open(&file, MAX_RECEIVES).unwrap();
        assert_eq!(bodies(&queues, 1), ["in flight"]);
        assert_eq!(bodies(&queues, 60), ["waiting"]);
        assert_eq!(queues.dead_letters("q").unwrap(), ["in flight"], "received twice, and never deleted");
    }
}
