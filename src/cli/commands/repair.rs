//! `repair`: at present the end of the log, where anyone who may add can put garbage.

use super::super::arguments::RepairArguments;
use super::super::error::{CliError, Result};
use super::super::exit::Exit;
use super::super::session::Session;
use super::super::settings::Settings;

/// Says, as the owner, that what stops everyone at the end of the log is garbage.
pub fn run(session: &Session, arguments: &RepairArguments) -> Result<Exit> {
    let settings = Settings::find(session.global, session.around, false)?;
    let repository = settings.open_for_repair(session.global, session.around)?;
    let question = "If the log ends in bytes that nobody can read, they will be taken for garbage from now on. If they were a \
                    record that was damaged, what it published is lost. Do it? [y/N]";
    if !arguments.yes && !session.progress.suspended(|| session.around.agrees(question)) {
        return Err(CliError::Usage("nothing was changed: --yes agrees beforehand".to_owned()));
    }
    let number = session.with(&repository, |repository| Ok(repository.overrule_garbage()?))?;
    if session.global.json {
        session.print_json(&serde_json::json!({ "type": "repair", "garbage_record": number }))?;
    } else if session.global.tells() {
        session.print(&match number {
            Some(number) => format!("record {number} is garbage from now on; everyone goes on behind it"),
            None => "the log is sound: nothing to repair".to_owned(),
        })?;
    }
    Ok(Exit::Done)
}
