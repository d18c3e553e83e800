//! A MySQL or MariaDB server that is loaded into.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::databases::load::client::ask;
use crate::databases::load::compare::{Found, compare};
use crate::databases::load::options::{Failure, LoadOptions};
use crate::format::description::TableCount;
use crate::primitives::ids::{parse_hex, write_hex};
use crate::primitives::progress::Observer;
use crate::source::command::CommandSource;

/// A server.
pub(crate) struct MySql<'a> {
    /// How it is loaded into.
    pub options: &'a LoadOptions,
    /// Asked whether to stop.
    pub observer: &'a dyn Observer,
    /// Its client: `mariadb` or `mysql`.
    client: &'static str,
    /// Whether the client knows MariaDB's sandbox.
    pub knows_sandbox: bool,
    /// Whether the client wants certificates where it need not: that of MariaDB 11.4 does, also over a socket.
    wants_certificate: bool,
    /// Who is connected: user and host.
    pub user: (String, String),
    /// All users, with their hosts.
    pub users: Vec<(String, String)>,
    /// What the server says of its version.
    pub version: String,
}

const CLIENTS: [&str; 2] = ["mariadb", "mysql"];

impl<'a> MySql<'a> {
    /// Finds a client, and connects.
    pub(crate) fn connect(options: &'a LoadOptions, observer: &'a dyn Observer) -> Result<Self, Failure> {
        let mut why = String::new();
        let mut found = None;
        for client in CLIENTS {
            match options.tools.answer_text(client, ["--no-defaults", "--help"], b"") {
                Ok(help) => {
                    found = Some((client, help));
                    break;
                }
                Err(error) => why = error,
            }
        }
        let Some((client, help)) = found else { return Err(Failure::Because(why)) };
        let knows_sandbox = help.contains("--sandbox");
        let wants_certificate = options.to.is_socket() && help.contains("ssl-verify-server-cert");
        let (user, users, version) = Default::default();
        let mut server = Self { options, observer, client, knows_sandbox, wants_certificate, user, users, version };
        let answer = server.ask("select hex(current_user()); select version();")?;
        let mut lines = answer.lines();
        let user = lines.next().and_then(of_hex).unwrap_or_default();
        server.user = user.rsplit_once('@').map(|(u, h)| (u.to_owned(), h.to_owned())).unwrap_or_default();
        server.version = lines.next().unwrap_or_default().to_owned();
        Ok(server)
    }

    /// The client, for a database or for none.
    pub(crate) fn command(&self, database: Option<&str>) -> Result<CommandSource, Failure> {
        let mut arguments = self.options.to.client_options().map_err(|e| Failure::Because(e.to_string()))?;
        let fixed = ["--batch", "--skip-column-names", "--binary-mode", "--default-character-set=utf8mb4"];
        arguments.extend(fixed.iter().map(OsString::from));
        if self.wants_certificate {
            arguments.push("--ssl-verify-server-cert=0".into());
        }
        if let Some(name) = database {
            // An option, so that no name is taken for one.
            arguments.push(format!("--database={name}").into());
        }
        Ok(self.options.tools.command(self.client, self.client, arguments))
    }

    /// What the server answers.
    pub(crate) fn ask(&self, text: &str) -> Result<String, Failure> {
        ask(&self.command(None)?, &format!("{text}\n"), self.observer)
    }

    /// Learns which users there are.
    pub(crate) fn learn_users(&mut self) -> Result<(), Failure> {
        let answer = self.ask("select hex(user), hex(host) from mysql.user;")?;
        let pair = |line: &str| {
            let (user, host) = line.split_once('\t')?;
            Some((of_hex(user)?, of_hex(host)?))
        };
        self.users = answer.lines().filter_map(pair).collect();
        Ok(())
    }

    /// Whether there is a database of this name.
    pub(crate) fn has(&self, database: &str) -> Result<bool, Failure> {
        let name = text(database);
        let answer =
            self.ask(&format!("select count(*) from information_schema.schemata where schema_name = {name};"))?;
        Ok(answer.trim() != "0")
    }

    /// The tables and views of a database: the names, and whether each is a table.
    pub(crate) fn tables(&self, database: &str) -> Result<BTreeMap<String, bool>, Failure> {
        let name = text(database);
        let answer = self.ask(&format!(
            "select hex(convert(table_name using utf8mb4)), table_type from information_schema.tables \
             where table_schema = {name};"
        ))?;
        let row = |line: &str| {
            let (name, kind) = line.split_once('\t')?;
            Some((of_hex(name)?, kind == "BASE TABLE" || kind == "SYSTEM VERSIONED"))
        };
        Ok(answer.lines().filter_map(row).collect())
    }

    /// How many triggers a database has.
    pub(crate) fn triggers(&self, database: &str) -> Result<u64, Failure> {
        let name = text(database);
        let answer =
            self.ask(&format!("select count(*) from information_schema.triggers where trigger_schema = {name};"))?;
        Ok(answer.trim().parse().unwrap_or_default())
    }

    /// Compares tables and rows with those that were saved; what is there beside them is a difference `if_whole`.
    pub(crate) fn check(
        &self,
        database: &str,
        saved: &[TableCount],
        if_whole: bool,
    ) -> Result<Result<(u64, u64), String>, Failure> {
        let saved: Vec<(Vec<String>, &TableCount)> = saved.iter().map(|t| (vec![t.name.clone()], t)).collect();
        let mut found: Vec<(Found, Option<u64>)> = Vec::new();
        for (table, is_table) in self.tables(database)? {
            found.push((Found { key: vec![table.clone()], name: table, counts: is_table }, None));
        }
        let mut counted: Vec<&mut (Found, Option<u64>)> =
            found.iter_mut().filter(|(f, _)| saved.iter().any(|(key, _)| *key == f.key)).collect();
        let count = |table: &str| format!("select count(*) from {}.{};\n", name(database), name(table));
        let script: String = counted.iter().map(|(f, _)| count(&f.name)).collect();
        if !script.is_empty() {
            let answer = self.ask(&script)?;
            for (table, line) in counted.iter_mut().zip(answer.lines()) {
                table.1 = line.trim().parse().ok();
            }
        }
        Ok(compare(&saved, &found, if_whole))
    }
}

/// A name as the server reads it.
pub(crate) fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as the server reads it, however it is set.
pub(crate) fn text(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut hex = String::new();
    write_hex(&mut hex, text.as_bytes()).expect("writing to memory does not fail");
    format!("convert(0x{hex} using utf8mb4)")
}

fn of_hex(text: &str) -> Option<String> {
    String::from_utf8(parse_hex(&text.trim().to_lowercase())?).ok()
}
