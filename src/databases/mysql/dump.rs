//! The dump of one database.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use super::checksums::checksums;
use super::count::Counter;
use super::generated::refusal;
use super::privileges::hidden;
use super::server::{DumpTool, Server, literal, quoted};
use super::{Count, KIND};
use crate::format::description::{StreamDescription, TableCount};
use crate::ops::backup::{Dump, Dumped, Origin};
use crate::primitives::progress::Severity;

/// Engines whose tables are read as they were at the beginning of the dump.
const TRANSACTIONAL: [&str; 5] = ["innodb", "rocksdb", "tokudb", "ndbcluster", "myrocks"];

/// Engines whose rows the tools leave out: they lie in other tables, or on other servers.
const WITHOUT_ROWS: [&str; 3] = ["mrg_myisam", "mrg_isam", "federated"];

/// So many names are listed in a text.
const LISTED_MAX: usize = 5;

/// What is known of a database before it is dumped.
pub(super) struct Facts {
    character_set: String,
    collation: String,
    tables: Vec<TableFacts>,
}

struct TableFacts {
    name: String,
    engine: String,
    is_versioned: bool,
}

/// The dump of one database.
pub(super) struct DatabaseDump {
    server: Arc<Server>,
    tool: Arc<DumpTool>,
    name: String,
    file: String,
    /// Only these tables.
    tables: Vec<String>,
    /// Whether it was asked for by its name.
    is_named: bool,
    count: Count,
    counter: Counter,
    facts: Option<Facts>,
    /// The checksums of its tables before it began.
    before: BTreeMap<String, String>,
}

impl DatabaseDump {
    pub(super) fn new(
        server: Arc<Server>,
        tool: Arc<DumpTool>,
        (name, file): (String, String),
        tables: Vec<String>,
        is_named: bool,
        count: Count,
    ) -> Self {
        let (counter, before) = (Counter::default(), BTreeMap::new());
        Self { server, tool, name, file, tables, is_named, count, counter, facts: None, before }
    }

    fn arguments(&self) -> Vec<OsString> {
        let parts: [&str; 3] = match self.tables.is_empty() {
            true => ["--routines", "--events", "--triggers"],
            false => ["--skip-routines", "--skip-events", "--skip-triggers"],
        };
        // Behind `--`, a name that begins with a dash is no option.
        let names = std::iter::once(&self.name).chain(&self.tables);
        parts.into_iter().chain(["--"]).map(OsString::from).chain(names.map(OsString::from)).collect()
    }

    fn table_names(&self) -> Vec<String> {
        let facts = self.facts.iter().flat_map(|facts| &facts.tables);
        facts.map(|table| table.name.clone()).collect()
    }

    /// The tables with their rows, if they could be counted.
    fn counted(&mut self, stop: &dyn Fn() -> bool, findings: &mut Vec<(Severity, String)>) -> Option<Vec<TableCount>> {
        if self.count == Count::Nothing {
            return None;
        }
        let rows = match self.counter.finish() {
            Ok(rows) => rows,
            Err(why) => {
                findings.push((Severity::Warning, format!("its rows could not be counted: {why}")));
                return None;
            }
        };
        let mut after = BTreeMap::new();
        if self.count == Count::Checksums {
            match checksums(&self.server, &self.name, &self.table_names(), stop) {
                Ok(found) => after = found,
                Err(why) => findings.push((Severity::Warning, format!("it has no checksums: {why}"))),
            }
        }
        let without_rows = |name: &str| {
            let mut all = self.facts.iter().flat_map(|facts| &facts.tables);
            all.any(|table| table.name == name && WITHOUT_ROWS.contains(&table.engine.as_str()))
        };
        let tables = rows.into_iter().map(|(name, rows)| {
            let name = String::from_utf8_lossy(&name).into_owned();
            // One that changed meanwhile says nothing of the dump.
            let checksum = after.get(&name).filter(|sum| self.before.get(&name) == Some(*sum)).cloned();
            TableCount { name, rows, checksum }
        });
        let tables: Vec<TableCount> = tables.filter(|table| !without_rows(&table.name)).collect();
        let changed = tables.iter().filter(|table| after.contains_key(&table.name) && table.checksum.is_none());
        let changed: Vec<&str> = changed.map(|table| table.name.as_str()).collect();
        if !changed.is_empty() {
            let text = format!("no checksum of tables that changed during the dump: {}", listed(&changed));
            findings.push((Severity::Note, text));
        }
        Some(tables)
    }
}

impl Dump for DatabaseDump {
    fn file(&self) -> &str {
        &self.file
    }

    fn member(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn open(&mut self, stop: &dyn Fn() -> bool) -> Result<Origin, String> {
        self.counter = Counter::default();
        self.facts = Some(facts(&self.server, &self.name, &self.tables)?);
        refusal(&self.server, &self.tool, &self.name, &self.tables)?;
        if self.count == Count::Checksums {
            self.before = checksums(&self.server, &self.name, &self.table_names(), stop)?;
        }
        Ok(Origin::Command(self.server.dumping(&self.file, &self.tool, self.arguments())))
    }

    fn saw(&mut self, bytes: &[u8]) {
        if self.count != Count::Nothing {
            self.counter.saw(bytes);
        }
    }

    fn finish(&mut self, stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        let mut findings = Vec::new();
        let tables = self.counted(stop, &mut findings);
        let facts = self.facts.as_ref();
        findings.extend(facts.into_iter().flat_map(Facts::notes));
        if self.tables.is_empty() {
            findings.extend(hidden(&self.server, &self.name).into_iter().map(|text| (Severity::Note, text)));
        }
        let property = |name: &str, value: &String| (name.to_owned(), value.clone());
        let properties = facts.map(|facts| {
            vec![property("character_set", &facts.character_set), property("collation", &facts.collation)]
        });
        let described = StreamDescription {
            member: Some(self.name.clone()),
            kind: KIND.to_owned(),
            format: "plain".to_owned(),
            tool: Some(self.tool.version.clone()),
            server: Some(self.server.version.clone()),
            properties: properties.unwrap_or_default(),
            tables,
            load: Some(load_command(self.server.loader(), &self.name)),
            ..StreamDescription::default()
        };
        Ok(Dumped { described: Some(described), findings })
    }

    fn gone(&mut self) -> Option<String> {
        let is_gone = !self.is_named && schema(&self.server, &self.name).is_ok_and(|found| found.is_none());
        is_gone.then(|| "it was dropped after the databases were listed".to_owned())
    }
}

impl Facts {
    /// What a reader of the dump should know of its tables.
    fn notes(&self) -> Vec<(Severity, String)> {
        let of = |is: &dyn Fn(&TableFacts) -> bool| -> Vec<&str> {
            self.tables.iter().filter(|table| is(table)).map(|table| table.name.as_str()).collect()
        };
        let rowless = of(&|table| WITHOUT_ROWS.contains(&table.engine.as_str()));
        let loose = of(&|table| {
            let known = TRANSACTIONAL.contains(&table.engine.as_str()) || WITHOUT_ROWS.contains(&table.engine.as_str());
            !known && !table.engine.is_empty()
        });
        let versioned = of(&|table| table.is_versioned);
        let texts = [
            (rowless, "without their rows, which lie in other tables or on other servers"),
            (loose, "not as of one moment, because their engine has no transactions"),
            (versioned, "without the history of their rows"),
        ];
        let said = texts.into_iter().filter(|(names, _)| !names.is_empty());
        said.map(|(names, how)| (Severity::Note, format!("tables saved {how}: {}", listed(&names)))).collect()
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names[..names.len().min(LISTED_MAX)].join(", ");
    match names.len().checked_sub(LISTED_MAX) {
        None | Some(0) => shown,
        Some(more) => format!("{shown} and {more} more"),
    }
}

/// What is known of a database and of these tables of it, or of all; an error if it or one of them does not exist.
pub(super) fn facts(server: &Server, name: &str, tables: &[String]) -> Result<Facts, String> {
    let Some([_, character_set, collation]) = schema(server, name)? else {
        return Err(format!("there is no database {}, or the account may not see it", quoted(name)));
    };
    let rows = server.ask(&format!(
        "select table_schema, table_name, table_type, ifnull(engine, '') from information_schema.tables \
         where table_schema = {} and table_type in ('BASE TABLE', 'SYSTEM VERSIONED')",
        literal(name)
    ))?;
    let mut all: Vec<TableFacts> = rows
        .into_iter()
        .filter_map(|row| <[String; 4]>::try_from(row).ok())
        .filter(|[schema, ..]| schema == name)
        .map(|[_, name, kind, engine]| TableFacts {
            name,
            engine: engine.to_ascii_lowercase(),
            is_versioned: kind == "SYSTEM VERSIONED",
        })
        .collect();
    if !tables.is_empty() {
        if let Some(missing) = tables.iter().find(|table| !all.iter().any(|known| known.name == **table)) {
            let (name, table) = (quoted(name), quoted(missing));
            return Err(format!("there is no table {table} in database {name}, or the account may not see it"));
        }
        all.retain(|table| tables.contains(&table.name));
    }
    Ok(Facts { character_set, collation, tables: all })
}

/// A database's name, character set and collation, if it exists.
fn schema(server: &Server, name: &str) -> Result<Option<[String; 3]>, String> {
    let rows = server.ask(&format!(
        "select schema_name, default_character_set_name, default_collation_name from information_schema.schemata \
         where schema_name = {}",
        literal(name)
    ))?;
    let rows = rows.into_iter().filter_map(|row| <[String; 3]>::try_from(row).ok());
    // Comparisons of the server may take two names for one.
    Ok(rows.into_iter().find(|row| row[0] == name))
}

/// What a person would type to load it.
fn load_command(client: &str, name: &str) -> String {
    let dashes = if name.starts_with('-') { "-- " } else { "" };
    let name = shlex::try_quote(name).map_or_else(|_| "NAME".to_owned(), |name| name.into_owned());
    format!("{client} {dashes}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_loads_names_the_database_as_one_word() {
        assert_eq!(load_command("mariadb", "shop"), "mariadb shop");
        assert_eq!(load_command("mysql", "$(touch x)"), "mysql '$(touch x)'");
        assert_eq!(load_command("mysql", "-x"), "mysql -- -x");
    }

    #[test]
    fn what_is_not_in_the_dump_is_said_of_tables() {
        let table =
            |name: &str, engine: &str| TableFacts { name: name.into(), engine: engine.into(), is_versioned: false };
        let mut facts = Facts {
            character_set: String::new(),
            collation: String::new(),
            tables: vec![table("a", "innodb"), table("b", "myisam"), table("c", "mrg_myisam"), table("broken", "")],
        };
        facts.tables[0].is_versioned = true;
        let notes: Vec<String> = facts.notes().into_iter().map(|(_, text)| text).collect();
        assert!(notes[0].ends_with("other servers: c") && notes[1].ends_with("transactions: b"), "{notes:?}");
        assert!(notes[2].ends_with("history of their rows: a") && notes.len() == 3);
        assert_eq!(listed(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }
}
