//! Scripts that behave, and scripts that do not. Each runs in the real sandbox, under its own limits: it may start 64
//! processes, take 256 MB for each, and is ended after some seconds, so none of them can harm the machine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should end where it stands")]

mod environment;
mod escapes;
mod function;
mod leftovers;
mod limits;
mod metadata;
mod outcomes;
mod sandboxes;
