//! `key`: ways to the master key. The passphrase that opens the repository is given as always; the new one by
//! `--new-password-file`, or by a person.

use crate::format::slot::SlotKind;
use crate::ops::keys::{self, Removed};

use super::super::context::Session;
use super::super::error::Result;
use super::super::exit::Exit;
use super::super::output::text::Side;
use super::super::passphrase::{Passphrase, SecretSource};
use super::super::time::{self, rfc3339, show};
use crate::cli::args::NewSecretArguments;
use clap::Args;
use clap::Subcommand;

/// What can be done with key slots.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Add a passphrase, a key file or recovery words
    Add(KeyAddArguments),
    /// List the key slots
    #[command(visible_alias = "ls")]
    List,
    /// Remove a key slot; the last one stays
    Remove(KeyRemoveArguments),
    /// Change the passphrase in use
    Passwd(NewSecretArguments),
}

/// Options of `key add`.
#[derive(Args)]
pub struct KeyAddArguments {
    /// Where it comes from
    #[command(flatten)]
    pub new: NewSecretArguments,
    /// Label the key slot as a key file
    #[arg(long, requires = "new_password_file")]
    pub key_file: bool,
    /// Generate twelve recovery words and print them
    #[arg(long, conflicts_with_all = ["new_password_file", "key_file"])]
    pub words: bool,
}

/// Options of `key remove`.
#[derive(Args)]
pub struct KeyRemoveArguments {
    /// An ID prefix
    #[arg(value_name = "KEY")]
    pub key: String,
}

/// Does what the subcommand says.
pub(crate) fn run(session: &Session, command: &KeyCommand) -> Result<Exit> {
    match command {
        KeyCommand::Add(arguments) => add(session, arguments),
        KeyCommand::List => list(session),
        KeyCommand::Remove(arguments) => {
            let removed = session.with_repository(|repository| Ok(keys::remove(repository, &arguments.key)?))?;
            let text = format!("removed key slot {}", &removed.id[..8]);
            told(session, "key-remove", &removed.id, &text)?;
            Ok(gone(session, &removed))
        }
        KeyCommand::Passwd(arguments) => {
            let repository = session.open()?;
            let secret = new_secret(session, arguments)?;
            let (new, old) = session.with(&repository, |r| Ok(keys::change(r, secret.bytes())?))?;
            let text = format!(
                "key slot {} has the new passphrase; {}, which had the old one, is removed",
                &new[..8],
                &old.id[..8]
            );
            told(session, "key-passwd", &new, &text)?;
            Ok(gone(session, &old))
        }
    }
}

fn told(session: &Session, what: &'static str, id: &str, text: &str) -> Result<Exit> {
    if session.global.json {
        session.print_object(serde_json::json!({ "type": what, "id": id }))?;
    } else if session.global.tells() {
        session.print(text)?;
    }
    Ok(Exit::Done)
}

/// Whether a removed slot is gone for good; if not, says so.
fn gone(session: &Session, removed: &Removed) -> Exit {
    let Some(why) = &removed.kept else { return Exit::Done };
    session.env.eprint_line(&format!(
        "the bucket may still keep slot {} as a noncurrent version, which its old secret opens: {why}",
        &removed.id[..8]
    ));
    Exit::Problems
}

fn new_secret(session: &Session, arguments: &NewSecretArguments) -> Result<Passphrase> {
    let env = session.env;
    let source = match &arguments.new_password_file {
        Some(path) => SecretSource::File(env.cwd.join(path)),
        None => SecretSource::Ask,
    };
    source.get(env, true)
}

fn add(session: &Session, arguments: &KeyAddArguments) -> Result<Exit> {
    let repository = session.open()?;
    if arguments.words {
        let (id, words) = session.with(&repository, |r| Ok(keys::add_words(r)?))?;
        if session.global.json {
            session.print_object(serde_json::json!({ "type": "key-add", "id": id, "words": words.as_str() }))?;
        } else {
            let text = format!(
                "recovery words, shown this once; write them down and keep them where no computer reads them:\n\n  {}\n\n\
                 they open the repository wherever a passphrase is asked for (key slot {})",
                words.as_str(),
                &id[..8]
            );
            session.print(&text)?;
        }
        return Ok(Exit::Done);
    }
    let secret = new_secret(session, &arguments.new)?;
    let way = if arguments.key_file { SlotKind::KeyFile } else { SlotKind::Passphrase };
    let id = session.with(&repository, |r| Ok(keys::add(r, way, secret.bytes())?))?;
    told(session, "key-add", &id, &format!("added key slot {}", &id[..8]))
}

fn list(session: &Session) -> Result<Exit> {
    let all = session.with_repository(|repository| Ok(keys::list(repository)?))?;
    let word = |way: SlotKind| match way {
        SlotKind::Passphrase => "passphrase",
        SlotKind::KeyFile => "key file",
        SlotKind::Words => "recovery words",
    };
    if session.global.json {
        return all
            .iter()
            .try_for_each(|s| {
                session.print_object(serde_json::json!({
                    "type": "key",
                    "id": s.id,
                    "opened_by": s.slot.as_ref().ok().map(|(way, _)| word(*way)),
                    "memory_kib": s.slot.as_ref().ok().map(|(_, cost)| cost.memory_kib),
                    "damage": s.slot.as_ref().err(),
                    "made": rfc3339(s.made_ms),
                    "used": s.used,
                }))
            })
            .map(|()| Exit::Done);
    }
    let made = time::heading("MADE", &session.env.zone);
    let heading = ["ID", "OPENED BY", "COST", &made, "STATE"].map(str::to_owned).to_vec();
    let rows = all.iter().map(|s| {
        let (way, cost) = match &s.slot {
            Ok((way, c)) => {
                (word(*way).to_owned(), format!("Argon2id {} MiB, {} passes", c.memory_kib >> 10, c.passes))
            }
            Err(what) => ("damaged".to_owned(), what.clone()),
        };
        let used = if s.used { "used now" } else { "" };
        vec![s.id[..8].to_owned(), way, cost, show(s.made_ms, &session.env.zone), used.to_owned()]
    });
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    session.table(&[Side::Whole, Side::Left, Side::Left, Side::Whole, Side::Left], &rows)?;
    Ok(Exit::Done)
}
