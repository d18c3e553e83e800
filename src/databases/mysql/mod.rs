//! Databases of MySQL and MariaDB as sources: a dump for each database, and users with their grants apart.
//!
//! Both are one kind. Oracle's tools and MariaDB's are told apart by what they say of themselves, and each is given the
//! options that it knows and the server needs. Each database is dumped in one transaction of its own: several databases
//! are of several moments. System tables are not saved, because they come back on no other server; grants do.

mod checksums;
pub mod count;
mod dump;
mod generated;
mod grants;
mod privileges;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::ops::backup::{Dump, Source, StreamOptions, dumps_source};
use crate::primitives::component::component;
use crate::primitives::progress::{Observer, Severity};

use dump::DatabaseDump;
use generated::refusal;
use grants::GrantsDump;
pub use server::Connection;
use server::Server;

/// What descriptions call this kind, whichever server it is.
pub const KIND: &str = "mysql";

/// Databases of the server itself; and a folder of the file system that looks like one.
const OF_THE_SERVER: [&str; 5] = ["information_schema", "performance_schema", "sys", "mysql", "#mysql50#lost+found"];

/// What is saved of a server, and how.
#[derive(Default)]
pub struct MysqlOptions {
    /// How it is reached.
    pub connection: Connection,
    /// These databases; none: all.
    pub databases: Vec<String>,
    /// Patterns, of which one must fit a name that is not named; none: all do.
    pub include: Vec<String>,
    /// Patterns of names that are left out unless they are named.
    pub exclude: Vec<String>,
    /// Only these tables, each as `DATABASE.TABLE`; names that hold a dot or a backtick in backticks.
    pub tables: Vec<String>,
    /// Whether users and grants are saved.
    pub users: Users,
    /// What is counted.
    pub count: Count,
}

/// Whether users and grants are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Users {
    /// Of a whole server (no database, table or pattern to include is named), if the account may read them.
    #[default]
    IfAllowed,
    /// They are: that they cannot be read is a failure.
    Always,
    /// They are not.
    Never,
}

/// What is counted of each table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Count {
    /// Its rows, in the dump.
    #[default]
    Rows,
    /// Its rows, and the checksum that the server gives it.
    Checksums,
    /// Nothing.
    Nothing,
}

/// A server as a source of this name.
pub fn mysql_source(name: String, options: MysqlOptions, stream: StreamOptions) -> Box<dyn Source> {
    dumps_source(name, stream, Box::new(move |observer| dumps(&options, observer)))
}

/// What stands in the way of saving it: nothing is saved.
pub fn check(options: &MysqlOptions) -> Vec<String> {
    let (server, mut problems) = match options.connection.open() {
        Ok(server) => (server, Vec::new()),
        Err(e) => return vec![e],
    };
    let tool = server.dump_tool().map_err(|e| problems.push(e)).ok();
    match wanted(options, &server) {
        Ok(wanted) => {
            for database in wanted {
                let found = dump::facts(&server, &database.name, &database.tables);
                problems.extend(found.err());
                let refused = tool.as_ref().map(|tool| refusal(&server, tool, &database.name, &database.tables));
                problems.extend(refused.and_then(Result::err));
            }
        }
        Err(e) => problems.push(e),
    }
    if options.users == Users::Always {
        problems.extend(grants::readable(&server).err().map(|e| format!("users and grants cannot be read: {e}")));
    }
    problems
}

/// A database that is to be saved.
struct Wanted {
    name: String,
    /// Only these tables of it.
    tables: Vec<String>,
}

fn dumps(options: &MysqlOptions, observer: &dyn Observer) -> Result<Vec<Box<dyn Dump>>, String> {
    let server = Arc::new(options.connection.open()?);
    let tool = Arc::new(server.dump_tool()?);
    let wanted = wanted(options, &server)?;
    if wanted.len() > 1 {
        let text = format!("each of the {} databases is dumped at a moment of its own", wanted.len());
        observer.finding(Severity::Note, &text);
    }
    let names: BTreeSet<&str> = wanted.iter().map(|database| database.name.as_str()).collect();
    let users = if names.contains("grants") { "grants (users)" } else { "grants" };
    let mut dumps: Vec<Box<dyn Dump>> = Vec::new();
    let is_named = !options.databases.is_empty() || !options.tables.is_empty();
    let saves_users = match options.users {
        Users::Never => false,
        Users::Always => true,
        Users::IfAllowed if !is_named && options.include.is_empty() => match grants::readable(&server) {
            Ok(()) => true,
            Err(e) => {
                observer.finding(Severity::Note, &format!("users and grants are not saved: {e}"));
                false
            }
        },
        Users::IfAllowed => false,
    };
    if saves_users {
        dumps.push(Box::new(GrantsDump {
            server: server.clone(),
            member: users.to_owned(),
            tool: tool.version.clone(),
        }));
    }
    for Wanted { name, tables } in wanted {
        let file = format!("{}.sql", component(&name));
        let (server, tool) = (server.clone(), tool.clone());
        dumps.push(Box::new(DatabaseDump::new(server, tool, (name, file), tables, is_named, options.count)));
    }
    Ok(dumps)
}

/// The databases that are to be saved, by name: those that are named need not exist, which is then a failure of each.
fn wanted(options: &MysqlOptions, server: &Server) -> Result<Vec<Wanted>, String> {
    if !options.tables.is_empty() {
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for text in &options.tables {
            let (database, table) = table_name(text)?;
            tables.entry(database).or_default().push(table);
        }
        return Ok(tables.into_iter().map(|(name, tables)| Wanted { name, tables }).collect());
    }
    let wanted = |name: String| Wanted { name, tables: Vec::new() };
    if !options.databases.is_empty() {
        let names: BTreeSet<String> = options.databases.iter().cloned().collect();
        return Ok(names.into_iter().map(wanted).collect());
    }
    let (include, exclude) = (patterns(&options.include)?, patterns(&options.exclude)?);
    let fits = |name: &String| {
        let is_own = OF_THE_SERVER.contains(&name.to_ascii_lowercase().as_str());
        !is_own && (options.include.is_empty() || include.is_match(name)) && !exclude.is_match(name)
    };
    let names = server.ask("select schema_name from information_schema.schemata")?;
    let names: BTreeSet<String> = names.into_iter().flatten().filter(fits).collect();
    Ok(names.into_iter().map(wanted).collect())
}

fn patterns(patterns: &[String]) -> Result<GlobSet, String> {
    let bad = |e: globset::Error| format!("{e}");
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(false).build().map_err(bad)?);
    }
    set.build().map_err(bad)
}

/// `DATABASE.TABLE`, either of them perhaps in backticks.
fn table_name(text: &str) -> Result<(String, String), String> {
    let bad = || format!("{text:?} is not the name of a table: write DATABASE.TABLE");
    let (database, rest) = name_at(text).ok_or_else(bad)?;
    let (table, rest) = rest.strip_prefix('.').and_then(name_at).ok_or_else(bad)?;
    if rest.is_empty() { Ok((database, table)) } else { Err(bad()) }
}

/// The name at the beginning, and what follows it.
fn name_at(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('`') else {
        let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        return (!name.is_empty()).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('`')?;
        name.push_str(before);
        match after.strip_prefix('`') {
            Some(after) => {
                name.push('`');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_with_their_database() {
        let of = |text: &str| table_name(text).ok();
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(of("datahub.metadata_aspect_v2"), pair("datahub", "metadata_aspect_v2"));
        assert_eq!(of("`a.b`.`c``d`"), pair("a.b", "c`d"));
        assert_eq!(of("we ird.$(touch x)"), pair("we ird", "$(touch x)"));
        for bad in ["", "a", "a.", ".b", "a.b.c", "`a.b", "`a`b.c", "``.a"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn patterns_take_any_name() {
        let set = patterns(&["tmp_*".to_owned(), "x?".to_owned()]).unwrap();
        assert!(set.is_match("tmp_a/b") && set.is_match("x1") && !set.is_match("my_tmp_a"));
        assert!(patterns(&["[".to_owned()]).is_err());
    }
}
