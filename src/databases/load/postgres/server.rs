//! A PostgreSQL server that is loaded into: who is connected, and what it has.

use std::collections::BTreeSet;
use std::ffi::OsString;

use serde_json::Value;

use crate::primitives::progress::Observer;
use crate::source::command::CommandSource;

use crate::databases::load::client::ask;
use crate::databases::load::options::{Failure, LoadOptions};
use crate::databases::load::roles::Existing;
use crate::databases::load::sql;

/// How databases are called while they are loaded, with some digits behind.
pub(crate) const LOADING: &str = "strongroom_loading_";

/// A server.
pub(crate) struct Postgres<'a> {
    /// How it is loaded into.
    pub options: &'a LoadOptions,
    /// Asked whether to stop.
    pub observer: &'a dyn Observer,
    /// Its version, such as 150018.
    pub version: u32,
    /// What it has.
    pub existing: Existing,
    /// The version of pg_restore.
    pub pg_restore: u32,
    /// The database that is connected to for what concerns no database.
    pub admin: String,
}

/// A database that is there.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    /// What tells it from another of its name.
    pub oid: String,
    /// Sessions in it, without our own.
    pub sessions: u64,
    /// Whether it may be connected to and is no template.
    pub is_usual: bool,
    /// Its encoding.
    pub encoding: String,
    /// Its owner.
    pub owner: String,
}

const WHO: &str = "select json_build_object('version', current_setting('server_version_num')::int, \
    'user', current_user, 'super', (select rolsuper from pg_roles where rolname = current_user), \
    'admin', current_database(), \
    'roles', (select coalesce(json_agg(rolname), '[]') from pg_roles), \
    'spaces', (select coalesce(json_agg(spcname), '[]') from pg_tablespace));";

impl<'a> Postgres<'a> {
    /// Connects, and learns what there is. The tools are compared with the server.
    pub(crate) fn connect(options: &'a LoadOptions, observer: &'a dyn Observer) -> Result<Self, Failure> {
        let mut server =
            Self { options, observer, version: 0, existing: Existing::default(), pg_restore: 0, admin: String::new() };
        server.pg_restore = server.major_of("pg_restore")?;
        server.major_of("psql")?;
        let answer = server.ask_at(server.first_database().as_deref(), WHO)?;
        let who: Value = serde_json::from_str(answer.trim())
            .map_err(|e| Failure::Because(format!("the server answered in an unknown way: {e}")))?;
        let names = |key: &str| -> BTreeSet<String> {
            let all = who[key].as_array().into_iter().flatten();
            all.filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        server.version = who["version"].as_u64().unwrap_or_default() as u32;
        server.admin = who["admin"].as_str().unwrap_or("postgres").to_owned();
        server.existing = Existing {
            user: who["user"].as_str().unwrap_or_default().to_owned(),
            is_superuser: who["super"].as_bool().unwrap_or_default(),
            roles: names("roles"),
            tablespaces: names("spaces"),
        };
        Ok(server)
    }

    /// The major version of the server.
    pub(crate) fn major(&self) -> u32 {
        self.version / 10_000
    }

    /// The database of `--to`; else that which each server has.
    fn first_database(&self) -> Option<String> {
        let is_elsewhere = self.options.to.get("service").is_some() || std::env::var_os("PGDATABASE").is_some();
        let named = self.options.to.get("dbname").map(str::to_owned);
        named.or_else(|| (!is_elsewhere).then(|| "postgres".to_owned()))
    }

    fn major_of(&self, tool: &str) -> Result<u32, Failure> {
        let said = self.options.tools.answer_text(tool, ["--version"], b"")?;
        major(&said).ok_or_else(|| Failure::Because(format!("{tool}: its version is not known: {said}")))
    }

    /// The client for a database.
    pub(crate) fn psql(&self, database: Option<&str>) -> CommandSource {
        let fixed = ["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse", "-d"];
        let mut arguments: Vec<OsString> = fixed.iter().map(OsString::from).collect();
        arguments.push(self.options.to.conninfo(database).into());
        arguments.extend(["-f", "-"].map(OsString::from));
        self.options.tools.command("psql", "psql", arguments)
    }

    fn ask_at(&self, database: Option<&str>, text: &str) -> Result<String, Failure> {
        let text = format!("set client_encoding = 'UTF8';\n{text}\n");
        ask(&self.psql(database), &text, self.observer)
    }

    /// Asks within a database.
    pub(crate) fn ask(&self, database: &str, text: &str) -> Result<String, Failure> {
        self.ask_at(Some(database), text)
    }

    /// Asks for what concerns no database.
    pub(crate) fn admin(&self, text: &str) -> Result<String, Failure> {
        self.ask(&self.admin, text)
    }

    /// The database of this name.
    pub(crate) fn database(&self, name: &str) -> Result<Option<Database>, Failure> {
        let text = format!(
            "select json_build_object('oid', d.oid::text, 'usual', d.datallowconn and not d.datistemplate, \
             'encoding', pg_encoding_to_char(d.encoding), 'owner', pg_get_userbyid(d.datdba), \
             'sessions', (select count(*) from pg_stat_activity a where a.datid = d.oid and a.pid <> pg_backend_pid() \
             and a.backend_type = 'client backend')) from pg_database d where d.datname = {};",
            sql::text(name)
        );
        let answer = self.admin(&text)?;
        if answer.trim().is_empty() {
            return Ok(None);
        }
        let found: Value = serde_json::from_str(answer.trim()).map_err(|e| Failure::Because(e.to_string()))?;
        let word = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Ok(Some(Database {
            oid: word("oid"),
            sessions: found["sessions"].as_u64().unwrap_or_default(),
            is_usual: found["usual"].as_bool().unwrap_or_default(),
            encoding: word("encoding"),
            owner: word("owner"),
        }))
    }

    /// Whether a database has nothing that somebody made.
    pub(crate) fn is_empty(&self, database: &str) -> Result<bool, Failure> {
        let of_system = "n.nspname in ('pg_catalog', 'information_schema') or n.nspname like 'pg\\_t%'";
        let text = format!(
            "select not exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where not ({of_system})) \
             and not exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace where not ({of_system})) \
             and not exists (select from pg_type t join pg_namespace n on n.oid = t.typnamespace where not ({of_system})) \
             and not exists (select from pg_namespace n where not ({of_system} or n.nspname = 'public')) \
             and not exists (select from pg_extension where extname <> 'plpgsql') \
             and not exists (select from pg_largeobject_metadata);"
        );
        Ok(self.ask(database, &text)?.trim() == "t")
    }

    /// Databases that loads left which did not finish, with what is said of each.
    pub(crate) fn left_loading(&self) -> Result<Vec<(String, String)>, Failure> {
        let text = format!(
            "select coalesce(json_agg(json_build_array(datname, coalesce(shobj_description(oid, 'pg_database'), ''))), '[]') \
             from pg_database where datname like {};",
            sql::text(&format!("{}%", LOADING.replace('_', "\\_")))
        );
        let answer = self.admin(&text)?;
        serde_json::from_str(answer.trim()).map_err(|e| Failure::Because(e.to_string()))
    }

    /// Makes the connected role a member of others, so that it can give them what they own. Returns those that it was
    /// not a member of, to be left again.
    pub(crate) fn join(&self, roles: &BTreeSet<String>, notes: &mut Vec<String>) -> Result<Vec<String>, Failure> {
        if self.existing.is_superuser || roles.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = roles.iter().map(|name| sql::text(name)).collect();
        let right = if self.version >= 160_000 { "SET" } else { "MEMBER" };
        let text = format!(
            "select coalesce(json_agg(rolname), '[]') from pg_roles where rolname in ({}) and rolname not like 'pg\\_%' \
             and not rolsuper and not pg_has_role(current_user, oid, '{right}');",
            names.join(", ")
        );
        let missing: Vec<String> = serde_json::from_str(self.admin(&text)?.trim()).unwrap_or_default();
        let options = if self.version >= 160_000 { " WITH INHERIT TRUE, SET TRUE" } else { "" };
        let mut joined = Vec::new();
        for role in missing {
            let text = format!("grant {} to {}{options};", sql::name(&role), sql::name(&self.existing.user));
            match self.admin(&text) {
                Ok(_) => joined.push(role),
                Err(Failure::Because(why)) => {
                    notes.push(format!("{} is no member of role {role}: {why}", self.existing.user))
                }
                Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            }
        }
        Ok(joined)
    }

    /// Leaves the roles again.
    pub(crate) fn leave(&self, roles: &[String]) -> Result<(), Failure> {
        let user = sql::name(&self.existing.user);
        let text: String = roles.iter().map(|role| format!("revoke {} from {user};\n", sql::name(role))).collect();
        if text.is_empty() { Ok(()) } else { self.admin(&text).map(drop) }
    }
}

/// The major version in what a tool says of itself: `pg_dump (PostgreSQL) 15.18`.
pub(crate) fn major(said: &str) -> Option<u32> {
    let number = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_say() {
        let said = "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)";
        assert_eq!((major(said), major("17beta1"), major("none")), (Some(15), Some(17), None));
    }
}
