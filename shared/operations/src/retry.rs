//! What to do about a write that lost a race: read again, and decide again.

use std::fmt::Display;

use crate::Error;

/// How often a write that lost a race is decided anew. The heartbeats of one service meet each other most.
const ATTEMPTS: usize = 24;

/// Runs `attempt`, which reads, decides and writes, until its write is made. It returns `None` when somebody else was
/// first.
///
/// # Errors
///
/// Those of `attempt`; and that `what` is contended, when others were first each time. Then a timer or the caller tries
/// again.
pub(crate) async fn retry_on_conflict<T, F>(what: impl Display, attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<Option<T>, Error>>,
{
    for _ in 0..ATTEMPTS {
        if let Some(done) = attempt().await? {
            return Ok(done);
        }
    }
    Err(Error::contended(what))
}
