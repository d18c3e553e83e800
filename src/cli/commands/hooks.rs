//! `hooks`: the `always` hooks that are owed, and running them.

use clap::Args;
use serde::Serialize;

use crate::cli::context::Session;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::jobs::hooks::{Payment, discard, is_settled, list, pay};
use crate::cli::output::text::{Side, escape, shortened};
use crate::cli::redact::mask;
use crate::cli::time::{heading, rfc3339, show};
use crate::jobs::debt::Debt;
use crate::jobs::owed::{Entry, State};

/// Options of `hooks`.
#[derive(Args)]
pub struct HooksArguments {
    /// Run the hooks that are owed by runs and restores that were killed
    #[arg(long)]
    pub owed: bool,
    /// Remove a hook from the list without running it
    #[arg(long, value_name = "ID", conflicts_with = "owed")]
    pub discard: Option<String>,
}

/// An `always` hook that is owed.
#[derive(Debug, Serialize)]
pub(crate) struct HookJson {
    /// `hook`.
    pub r#type: &'static str,
    /// Its id.
    pub id: String,
    /// Whether it is to run, and what came of it.
    pub state: &'static str,
    /// Which hook: `always`, or `start` of a restore in place.
    pub hook: &'static str,
    /// The job; of a restore in place, the directories.
    pub job: String,
    /// The source, if it is a source's own hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The run that owes it.
    pub run: String,
    /// The command.
    pub command: String,
    /// The user who owes it.
    pub user: String,
    /// The system user that runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// The machine.
    pub machine: String,
    /// Since when it is owed.
    pub since: Option<String>,
    /// How often it failed.
    pub tries: usize,
    /// Why it failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Lists, runs or discards what is owed.
pub(crate) fn run(session: &Session, arguments: &HooksArguments) -> Result<Exit> {
    if let Some(id) = &arguments.discard {
        return discarded(session, &discard(session, id)?);
    }
    if arguments.owed {
        return paid(session);
    }
    let listing = list(session)?;
    let exit = if listing.unreadable.is_empty() { Exit::Done } else { Exit::Problems };
    if session.global.json {
        for entry in &listing.entries {
            session.print_json(&json(&entry.debt, word(entry.state), entry.tries, error_of(entry)))?;
        }
        return Ok(exit);
    }
    if listing.entries.is_empty() {
        session.print("no hooks are owed")?;
        return Ok(exit);
    }
    let since = heading("SINCE", &session.env.zone);
    let head = ["ID", &since, "STATE", "OF", "RUN", "TRIES", "COMMAND"].map(str::to_owned).to_vec();
    let rows = listing.entries.iter().map(|entry| row(session, entry));
    use Side::{Left, Right, Whole};
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    session.table(&[Whole, Whole, Left, Left, Whole, Right, Left], &rows)?;
    Ok(exit)
}

fn word(state: State) -> &'static str {
    match state {
        State::Held => "held",
        State::Due => "owed",
        State::Running => "waits",
        State::OtherUser => "other_user",
        State::OtherMachine => "other_machine",
        State::Unfinished => "unfinished",
    }
}

fn error_of(entry: &Entry) -> Option<String> {
    let failed = entry.failed.as_ref().map(|(_, error)| error.clone());
    entry.unfinished.clone().filter(|_| entry.state == State::Unfinished).or(failed)
}

fn row(session: &Session, entry: &Entry) -> Vec<String> {
    let debt = &entry.debt;
    let text = |text: &str| escape(text.as_bytes());
    let state = match entry.state {
        State::Held => "its run goes on".to_owned(),
        State::Due => "owed".to_owned(),
        State::Running => "owed, after the run that goes on".to_owned(),
        State::OtherUser => format!("owed by user {}", text(&debt.debtor.user)),
        State::Unfinished => "the restore is not finished".to_owned(),
        State::OtherMachine => format!("owed on {}", text(&debt.debtor.machine)),
    };
    let failed = error_of(entry).map(|error| format!(" ({})", text(&error))).unwrap_or_default();
    vec![
        debt.id.clone(),
        show(debt.owed_ms, &session.env.zone),
        state,
        text(&debt.what()),
        text(&debt.run),
        entry.tries.to_string(),
        shortened(&format!("{}{failed}", text(&mask(&debt.line)))),
    ]
}

fn json(debt: &Debt, state: &'static str, tries: usize, error: Option<String>) -> HookJson {
    HookJson {
        r#type: "hook",
        id: debt.id.clone(),
        state,
        hook: debt.hook().key(),
        job: debt.job.clone(),
        source: debt.source.clone(),
        run: debt.run.clone(),
        command: mask(&debt.line),
        user: debt.debtor.user.clone(),
        run_as: debt.surroundings.run_as.clone(),
        machine: debt.debtor.machine.clone(),
        since: rfc3339(debt.owed_ms),
        tries,
        error,
    }
}

fn discarded(session: &Session, debt: &Debt) -> Result<Exit> {
    if session.global.json {
        session.print_json(&json(debt, "discarded", 0, None))?;
    } else if session.global.tells() {
        session.print(&format!(
            "hook `{}` of {} is not owed any more; it was not run",
            debt.hook().key(),
            escape(debt.what().as_bytes())
        ))?;
    }
    Ok(Exit::Done)
}

/// Runs what is owed.
fn paid(session: &Session) -> Result<Exit> {
    session.listen()?;
    let (payments, listing) = pay(session)?;
    for Payment { debt, error } in &payments {
        let tries = listing.entries.iter().find(|entry| entry.debt.id == debt.id).map_or(0, |entry| entry.tries);
        let (state, tries) = if error.is_some() { ("failed", tries + 1) } else { ("done", tries) };
        if session.global.json {
            session.print_json(&json(debt, state, tries, error.as_deref().map(mask)))?;
        } else if session.global.tells() && error.is_none() {
            session.print(&format!("hook `{}` of {}: done", debt.hook().key(), escape(debt.what().as_bytes())))?;
        }
    }
    let all = is_settled(&payments, &listing);
    if payments.is_empty() && all && session.global.tells() && !session.global.json {
        session.print("no hooks of killed runs are owed")?;
    }
    Ok(if all { Exit::Done } else { Exit::Failed })
}
