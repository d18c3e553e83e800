//! A server: what it says of itself and of its databases, and the tools that fit it.

use std::ffi::OsString;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::databases::tool::Tools;

use super::connection::Connection;
use super::installed::{Major, choose, places};

/// The oldest version whose catalogs are known.
const OLDEST: u32 = 90_600;

/// From this version on, a server looks whether the client of a running query is still there.
const CHECKS_CLIENTS: u32 = 140_000;

/// Seconds that a connection may take, unless the environment says otherwise.
const CONNECT_WITHIN: &str = "15";

/// A server that answers.
#[derive(Debug)]
pub(super) struct Server {
    /// The tools, of a version that fits, with the environment that they need.
    pub tools: Tools,
    /// Where it is.
    pub connection: Connection,
    /// What it says of itself.
    pub facts: Facts,
    /// What the tool that writes the dumps says of its version.
    pub tool_version: String,
    /// What was noticed.
    pub notes: Vec<String>,
}

/// What a server says of itself and of who asks.
#[derive(Debug, Deserialize)]
pub(super) struct Facts {
    pub version: String,
    pub number: u32,
    /// The database that was asked.
    pub database: String,
    /// Who asks.
    pub user: String,
    /// Whether the passwords of roles may be read.
    pub reads_passwords: bool,
    /// Whether it is a standby.
    pub is_standby: bool,
    /// Whether a base backup may be made.
    pub replicates: bool,
    /// Tablespaces beside the own two: name and place.
    pub tablespaces: Vec<(String, String)>,
}

const FACTS: &str = "select pg_catalog.json_build_object(
 'version', pg_catalog.current_setting('server_version'),
 'number', pg_catalog.current_setting('server_version_num')::int,
 'database', pg_catalog.current_database(),
 'user', current_user,
 'reads_passwords', pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'select'),
 'is_standby', pg_catalog.pg_is_in_recovery(),
 'replicates', (select rolreplication or rolsuper from pg_catalog.pg_roles where rolname = current_user),
 'tablespaces', (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(spcname,
   pg_catalog.pg_tablespace_location(oid)) order by spcname), '[]') from pg_catalog.pg_tablespace
   where spcname not in ('pg_default', 'pg_global')));";

/// A database, as the catalogs have it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Database {
    pub name: String,
    #[serde(default)]
    pub is_template: bool,
    /// Whether it takes connections at all.
    #[serde(default)]
    pub takes_connections: bool,
    /// Whether who asks may connect.
    #[serde(default)]
    pub may_connect: bool,
    #[serde(default)]
    pub connection_limit: i64,
    /// Values that are needed to make it again.
    #[serde(default)]
    pub properties: Vec<(String, Option<String>)>,
    /// Settings: `name=value`.
    #[serde(default)]
    pub settings: Option<Vec<String>>,
    /// Settings of roles in it: the role, and these.
    #[serde(default)]
    pub role_settings: Option<Vec<(String, Vec<String>)>>,
    /// Privileges, as the server writes them.
    #[serde(default)]
    pub privileges: Option<Vec<String>>,
}

/// The query that lists the databases of a server of this version.
fn databases_query(number: u32) -> String {
    let provider = if number >= 150_000 { "d.datlocprovider::text" } else { "'c'" };
    let icu_locale = match number {
        170_000.. => "d.datlocale",
        150_000.. => "d.daticulocale",
        _ => "null",
    };
    let icu_rules = if number >= 160_000 { "d.daticurules" } else { "null" };
    format!(
        "select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
 'name', d.datname, 'is_template', d.datistemplate, 'takes_connections', d.datallowconn,
 'may_connect', pg_catalog.has_database_privilege(d.oid, 'connect'), 'connection_limit', d.datconnlimit,
 'properties', pg_catalog.json_build_array(
   pg_catalog.json_build_array('owner', pg_catalog.pg_get_userbyid(d.datdba)),
   pg_catalog.json_build_array('encoding', pg_catalog.pg_encoding_to_char(d.encoding)),
   pg_catalog.json_build_array('collate', d.datcollate), pg_catalog.json_build_array('ctype', d.datctype),
   pg_catalog.json_build_array('provider', {provider}), pg_catalog.json_build_array('icu_locale', {icu_locale}),
   pg_catalog.json_build_array('icu_rules', {icu_rules}),
   pg_catalog.json_build_array('tablespace', t.spcname),
   pg_catalog.json_build_array('connection_limit', d.datconnlimit::text),
   pg_catalog.json_build_array('comment', pg_catalog.shobj_description(d.oid, 'pg_database'))),
 'settings', (select s.setconfig from pg_catalog.pg_db_role_setting s where s.setdatabase = d.oid and s.setrole = 0),
 'role_settings', (select pg_catalog.json_agg(pg_catalog.json_build_array(pg_catalog.pg_get_userbyid(s.setrole), s.setconfig)
   order by s.setrole) from pg_catalog.pg_db_role_setting s where s.setdatabase = d.oid and s.setrole <> 0),
 'privileges', d.datacl::text[]) order by d.datname), '[]')
from pg_catalog.pg_database d join pg_catalog.pg_tablespace t on t.oid = d.dattablespace;"
    )
}

impl Database {
    /// What is said of it with its dump.
    pub(super) fn described(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        let values = self.properties.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        all.extend(values);
        let lists = [("set", &self.settings), ("acl", &self.privileges)];
        for (name, list) in lists {
            all.extend(list.iter().flatten().map(|text| (name.to_owned(), text.clone())));
        }
        for (role, settings) in self.role_settings.iter().flatten() {
            // As JSON: the name of a role may hold anything.
            all.extend(
                settings.iter().map(|text| ("role_set".to_owned(), serde_json::json!([role, text]).to_string())),
            );
        }
        all
    }

    /// Why it cannot be connected to, if it cannot.
    pub(super) fn refusal(&self, user: &str) -> Option<String> {
        if self.connection_limit == -2 {
            Some("is what an interrupted DROP DATABASE left: drop it".to_owned())
        } else if !self.takes_connections {
            Some("takes no connections (ALLOW_CONNECTIONS is false)".to_owned())
        } else if !self.may_connect {
            Some(format!("may not be connected to by {user}: GRANT CONNECT ON DATABASE lets it"))
        } else {
            None
        }
    }
}

impl Server {
    /// Asks a server, and finds the tools that fit it. `named` are databases that may be there to be asked, if the usual
    /// ones are not. `tool` is the one that is to fit.
    pub(super) fn find(tools: &Tools, connection: &Connection, named: &[String], tool: &str) -> Result<Self, String> {
        let mut tools = tools.clone();
        let own = [("PGAPPNAME", "strongroom"), ("PGCONNECT_TIMEOUT", CONNECT_WITHIN)];
        for (name, value) in own {
            let is_set = tools.env.iter().any(|(known, _)| known == name);
            if !is_set && (name == "PGAPPNAME" || std::env::var_os(name).is_none()) {
                tools.env.push((name.into(), value.into()));
            }
        }
        let asking = Tools { bin: places(&tools).into_iter().next().flatten(), ..tools.clone() };
        let facts = ask_any(&asking, connection, named)?;
        if facts.number < OLDEST {
            return Err(format!("the server is PostgreSQL {}: 9.6 is the oldest that is supported", facts.version));
        }
        let (bin, tool_version) = choose(&tools, tool, Major::of_number(facts.number), &facts.version)?;
        tools.bin = bin;
        let mut server = Self { tools, connection: connection.clone(), facts, tool_version, notes: Vec::new() };
        server.have_clients_checked();
        Ok(server)
    }

    /// Has the server end the queries of a client that is gone, where it can.
    fn have_clients_checked(&mut self) {
        if self.facts.number < CHECKS_CLIENTS {
            return;
        }
        // Of several, the last one counts.
        let known = self.tools.env.iter().rfind(|(name, _)| name == "PGOPTIONS").map(|(_, value)| value.clone());
        let mut options: OsString = known.or_else(|| std::env::var_os("PGOPTIONS")).unwrap_or_default();
        if !options.is_empty() {
            options.push(" ");
        }
        options.push("-c client_connection_check_interval=10000");
        let mut tools = self.tools.clone();
        tools.env.retain(|(name, _)| name != "PGOPTIONS");
        tools.env.push(("PGOPTIONS".into(), options));
        // A pooler between may take no options, and not every system can do it.
        match ask::<u32>(&tools, &self.connection, Some(&self.facts.database), "select 1;") {
            Ok(_) => self.tools = tools,
            Err(e) => self.notes.push(format!(
                "the server is not asked to end queries of clients that are gone, because it takes no PGOPTIONS: {e}"
            )),
        }
    }

    /// What a database answers, as JSON.
    pub(super) fn ask<T: DeserializeOwned>(&self, database: &str, sql: &str) -> Result<T, String> {
        ask(&self.tools, &self.connection, Some(database), sql)
    }

    /// All its databases, by name.
    pub(super) fn databases(&self) -> Result<Vec<Database>, String> {
        self.ask(&self.facts.database, &databases_query(self.facts.number))
    }

    /// Whether it answers, and has no such database any more.
    pub(super) fn lacks(&self, database: &str) -> bool {
        let names = "select pg_catalog.json_agg(datname) from pg_catalog.pg_database;";
        let names = self.ask::<Vec<String>>(&self.facts.database, names);
        names.is_ok_and(|names| !names.iter().any(|name| name == database))
    }

    /// Whether a tool knows an option.
    pub(super) fn tool_knows(&self, tool: &str, option: &str) -> bool {
        self.tools.answer_text(tool, ["--help"], b"").is_ok_and(|help| help.contains(option))
    }
}

/// The words of psql for a script that comes by standard input and answers in rows, unaligned.
pub(super) fn psql_words(connection: &Connection, database: Option<&str>) -> Vec<OsString> {
    let options = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password", "--set=ON_ERROR_STOP=1"];
    let words = options.iter().map(OsString::from);
    words.chain(["--file=-".into(), connection.option(database).into()]).collect()
}

/// The environment of psql: it answers in UTF-8, and says nothing else.
pub(super) fn psql_tools(tools: &Tools) -> Tools {
    let mut tools = tools.clone();
    tools.env.push(("PGCLIENTENCODING".into(), "UTF8".into()));
    tools
}

fn ask<T: DeserializeOwned>(
    tools: &Tools,
    connection: &Connection,
    database: Option<&str>,
    sql: &str,
) -> Result<T, String> {
    let said = psql_tools(tools).answer("psql", psql_words(connection, database), sql.as_bytes())?;
    serde_json::from_slice(&said).map_err(|e| format!("psql: its answer is not understood: {e}"))
}

/// Asks the database that the service names, or the first that answers of the usual ones and those that are named.
fn ask_any(tools: &Tools, connection: &Connection, named: &[String]) -> Result<Facts, String> {
    let mut asked: Vec<Option<&str>> = Vec::new();
    if connection.service.is_some() {
        asked.push(None);
    }
    asked.extend([Some("postgres"), Some("template1"), named.first().map(String::as_str)]);
    let mut first = None;
    for database in asked.iter().enumerate().filter(|(n, name)| *n == 0 || name.is_some()).map(|(_, name)| *name) {
        match ask(tools, connection, database, FACTS) {
            Ok(facts) => return Ok(facts),
            Err(e) => first = first.or(Some(e)),
        }
    }
    Err(format!("the server does not answer: {}", first.unwrap_or_default()))
}
