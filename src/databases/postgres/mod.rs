//! PostgreSQL servers as sources: every database a member, roles and tablespaces another.
//!
//! libpq's own tools connect in libpq's own ways. The databases are listed when the source's turn comes, so that new ones
//! are saved by themselves. Each dump is of a moment of its own; the rows of its tables are counted in the same moment.

pub mod base_backup;
mod connection;
mod dump;
mod installed;
mod options;
pub mod plain;
mod restrict;
mod select;
mod server;
mod session;
mod statement;
mod tables;
mod whole;

use std::sync::Arc;

use crate::ops::backup::{Dump, Source, StreamOptions, dumps_source};
use crate::primitives::progress::{Observer, Severity};

use base_backup::{BaseBackup, no_base_backup};
use dump::{DatabaseDump, Refused};
use select::select;
use server::Server;
use whole::{GlobalsDump, globals_name, no_passwords};

pub use connection::Connection;
pub use options::{Format, Globals, PostgresOptions};
pub use tables::Counting;

/// A PostgreSQL server as a source.
pub fn postgres_source(options: PostgresOptions, streams: StreamOptions) -> Box<dyn Source> {
    let name = options.name.clone();
    dumps_source(name, streams, Box::new(move |observer| dumps(options, observer)))
}

fn find(options: &PostgresOptions) -> Result<Server, String> {
    if let Some(what) = options.contradiction() {
        return Err(what);
    }
    Server::find(&options.tools, &options.connection, &options.databases, options.tool())
}

fn dumps(options: PostgresOptions, observer: &dyn Observer) -> Result<Vec<Box<dyn Dump>>, String> {
    let server = Arc::new(find(&options)?);
    let note = |text: &str| observer.finding(Severity::Note, &format!("{}: {text}", options.name));
    server.notes.iter().for_each(|text| note(text));
    if options.format == Format::BaseBackup {
        return Ok(vec![Box::new(BaseBackup::new(server, Arc::new(options)))]);
    }
    let selected = select(server.databases()?, &options, &server.facts.user);
    selected.notes.iter().for_each(|text| note(text));
    if selected.databases.len() > 1 {
        note(&format!("each of the {} databases is dumped at a moment of its own", selected.databases.len()));
    }
    let names = selected.databases.iter().map(|database| database.name.as_str());
    let globals = globals_name(names.chain(selected.refused.iter().map(|(name, _)| name.as_str())));
    let options = Arc::new(options);
    let mut dumps: Vec<Box<dyn Dump>> = Vec::new();
    if options.globals() != Globals::None {
        dumps.push(Box::new(GlobalsDump::new(server.clone(), options.clone(), globals)));
    }
    for (name, why) in selected.refused {
        dumps.push(Box::new(Refused::new(name, why)));
    }
    for database in selected.databases {
        dumps.push(Box::new(DatabaseDump::new(server.clone(), options.clone(), database)));
    }
    Ok(dumps)
}

/// What stands in the way of saving a server: whether it answers, tools that fit, databases that are named, rights.
pub fn check(options: &PostgresOptions) -> Vec<String> {
    let server = match find(options) {
        Ok(server) => server,
        Err(e) => return vec![e],
    };
    if options.format == Format::BaseBackup {
        return no_base_backup(&server, options).into_iter().collect();
    }
    let mut problems = Vec::new();
    if options.globals() == Globals::All {
        problems.extend(no_passwords(&server));
    }
    match server.databases() {
        Ok(all) => {
            let selected = select(all, options, &server.facts.user);
            problems.extend(selected.refused.iter().map(|(name, why)| format!("database {name:?}: {why}")));
            if selected.databases.is_empty() && selected.refused.is_empty() {
                problems.push("no database is saved".to_owned());
            }
        }
        Err(e) => problems.push(e),
    }
    problems
}
