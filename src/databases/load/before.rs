//! What a load would replace, and how that is saved first.
//!
//! It is saved by the same sources that save a server every night. They reach the server with the very words with which
//! the load reaches it, so that nothing else is saved than what will be replaced.

use glob::Pattern;

use crate::databases::mysql::{self, MysqlOptions, Users, mysql_source};
use crate::databases::postgres::{Globals, PostgresOptions, postgres_source};
use crate::format::description::StreamDescription;
use crate::ops::backup::{Source, StreamOptions};
use crate::primitives::progress::Observer;
use crate::repository::Repository;

use super::client::Stream;
use super::item::{Item, Role};
use super::mysql::database::Load as MySqlLoad;
use super::mysql::server::MySql;
use super::options::{LoadError, LoadOptions};
use super::postgres::database::Load as PostgresLoad;
use super::postgres::server::{LOADING, Postgres};

/// The databases whose content would be replaced or kept under another name, as they are called on the server. Nothing is
/// changed.
pub fn replaced(
    repository: &Repository,
    items: &[Item],
    options: &LoadOptions,
    observer: &dyn Observer,
) -> Result<Vec<String>, LoadError> {
    let databases = items.iter().filter_map(|item| match &item.role {
        Role::Database(target) if !target.starts_with(LOADING) => Some((item, target)),
        _ => None,
    });
    let databases: Vec<(&Item, &String)> = databases.collect();
    let mut replaced = Vec::new();
    let Some((first, _)) = databases.first() else { return Ok(replaced) };
    if first.stream.kind == "postgres" {
        let server = Postgres::connect(options, observer)?;
        let roles = Default::default();
        for (item, target) in databases {
            let stream = Stream { repository, snapshot: &item.snapshot };
            if (PostgresLoad { server: &server, item, stream, target, roles: &roles }).replaces()? {
                replaced.push(target.clone());
            }
        }
    } else {
        let server = MySql::connect(options, observer)?;
        for (item, target) in databases {
            let stream = Stream { repository, snapshot: &item.snapshot };
            if (MySqlLoad { server: &server, item, stream, target }).replaces()? {
                replaced.push(target.clone());
            }
        }
    }
    Ok(replaced)
}

/// Whether the load may change roles or users that are there: then they are saved first, too.
pub fn changes_roles(items: &[Item], options: &LoadOptions) -> bool {
    options.globals && options.alter_roles && items.iter().any(|item| item.role == Role::Globals)
}

/// Whether a snapshot is of roles, or of users and grants.
pub fn is_of_roles(stream: &StreamDescription) -> bool {
    matches!((stream.kind.as_str(), stream.format.as_str()), ("postgres", "globals") | ("mysql", "grants"))
}

/// These databases of the server that is loaded into, and its roles or users if the load may change them, as a source of
/// this name.
pub fn source(
    name: String,
    items: &[Item],
    databases: Vec<String>,
    options: &LoadOptions,
) -> Result<Box<dyn Source>, LoadError> {
    let streams = StreamOptions::default();
    let with_roles = changes_roles(items, options);
    // Without a name, a source is of all databases.
    let no_database = databases.is_empty();
    let is_postgres = items.iter().any(|item| item.is_for_server() && item.stream.kind == "postgres");
    if is_postgres {
        let options = PostgresOptions {
            name,
            connection: options.to.as_source(),
            tools: options.tools.clone(),
            databases,
            exclude: no_database.then(|| Pattern::new("*").expect("a star is a pattern")).into_iter().collect(),
            globals: Some(if with_roles { Globals::All } else { Globals::None }),
            ..PostgresOptions::default()
        };
        return Ok(postgres_source(options, streams));
    }
    let words = options.to.client_options().map_err(|e| LoadError::Server(e.to_string()))?;
    let tools = options.tools.clone();
    let connection = mysql::Connection { tools, options: Some(words), ..mysql::Connection::default() };
    let users = if with_roles { Users::Always } else { Users::Never };
    let exclude = no_database.then(|| "*".to_owned()).into_iter().collect();
    Ok(mysql_source(name, MysqlOptions { connection, databases, exclude, users, ..MysqlOptions::default() }, streams))
}
