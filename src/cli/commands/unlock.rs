//! `unlock`: there is nothing to unlock.

use serde::Serialize;

use super::super::context::Session;
use super::super::error::Result;
use super::super::exit::Exit;

const WHY: &str = "there are no locks to remove: backups, restores and prunes run at the same time.
An interrupted run blocks nobody: the next run on the same machine ends it and finds its uploads again.";

/// `type: "unlock"`.
#[derive(Serialize)]
struct UnlockJson {
    r#type: &'static str,
    locks: u64,
    message: &'static str,
}

/// Says why.
pub(crate) fn run(session: &Session) -> Result<Exit> {
    match session.global.json {
        true => session.print_json(&UnlockJson { r#type: "unlock", locks: 0, message: WHY })?,
        false if session.global.quiet => {}
        false => session.print(WHY)?,
    }
    Ok(Exit::Done)
}
