//! Registered scripts.

use domain::{Interpreter, Label, Revision, Script, ScriptId};
use store::Page;

use crate::{Actor, Error, Medic};

/// A script to be created.
#[derive(Debug, Clone)]
pub struct NewScript {
    pub name: Label,
    pub content: String,
    pub interpreter: Interpreter,
    pub timeout_seconds: u32,
}

/// An update: what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct ScriptUpdate {
    pub name: Option<Label>,
    pub content: Option<String>,
    pub interpreter: Option<Interpreter>,
    pub timeout_seconds: Option<u32>,
}

impl Medic {
    pub async fn create_script(&self, new: NewScript, actor: &Actor) -> Result<Script, Error> {
        let NewScript { name, content, interpreter, timeout_seconds } = new;
        let id = self.table.next_script_id().await?;
        let revision = Revision::beginning(actor.at);
        self.create(Script { id, name, content, interpreter, timeout_seconds, revision }, actor).await
    }

    /// Returns scripts, newest first.
    pub async fn scripts(&self, after: Option<ScriptId>, limit: usize) -> Result<Page<Script>, Error> {
        Ok(self.table.scripts(after, limit).await?)
    }

    pub async fn update_script(&self, id: ScriptId, update: &ScriptUpdate, actor: &Actor) -> Result<Script, Error> {
        let ScriptUpdate { name, content, interpreter, timeout_seconds } = update;
        let decide = |script: Script| {
            Ok(Script {
                name: name.clone().unwrap_or(script.name),
                content: content.clone().unwrap_or(script.content),
                interpreter: interpreter.unwrap_or(script.interpreter),
                timeout_seconds: timeout_seconds.unwrap_or(script.timeout_seconds),
                ..script
            })
        };
        self.update(id, actor, decide).await
    }
}
