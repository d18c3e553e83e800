//! Users, roles and their rights, as statements that can be run on a server that has some of them already.
//!
//! First come all users and roles, then what they may do, then their default roles. A user that exists keeps its password.
//! Accounts of the server itself are left out. The order is always the same.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;

use super::KIND;
use super::server::{Server, quoted};
use crate::format::description::StreamDescription;
use crate::ops::backup::{Dump, Dumped, Origin};

/// Accounts that a server makes for itself.
const OF_THE_SERVER: [&str; 4] = ["mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema"];

/// The role that everybody has.
const PUBLIC: &str = "PUBLIC";

/// Name of the file.
pub(super) const FILE: &str = "grants.sql";

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Account {
    name: String,
    /// `None` of MariaDB's roles.
    host: Option<String>,
}

impl Account {
    fn quoted(&self) -> String {
        match &self.host {
            Some(host) => format!("{}@{}", quoted(&self.name), quoted(host)),
            None if self.name == PUBLIC => PUBLIC.to_owned(),
            None => quoted(&self.name),
        }
    }
}

/// Users and grants as a stream.
pub(super) struct GrantsDump {
    pub(super) server: Arc<Server>,
    pub(super) member: String,
    pub(super) tool: String,
}

impl Dump for GrantsDump {
    fn file(&self) -> &str {
        FILE
    }

    fn member(&self) -> Option<&str> {
        Some(&self.member)
    }

    fn open(&mut self, _stop: &dyn Fn() -> bool) -> Result<Origin, String> {
        Ok(Origin::Reader(Box::new(Cursor::new(read(&self.server)?.into_bytes()))))
    }

    fn finish(&mut self, _stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        let described = StreamDescription {
            member: Some(self.member.clone()),
            kind: KIND.to_owned(),
            format: "grants".to_owned(),
            tool: Some(self.tool.clone()),
            server: Some(self.server.version.clone()),
            load: Some(self.server.loader().to_owned()),
            ..StreamDescription::default()
        };
        Ok(Dumped { described: Some(described), findings: Vec::new() })
    }
}

/// The statements; or why they cannot be read.
fn read(server: &Server) -> Result<String, String> {
    let accounts = accounts(server)?;
    let mut created = Vec::new();
    let (mut granted, mut defaults) = (Vec::new(), BTreeSet::new());
    let mut seen = BTreeSet::new();
    for account in &accounts {
        let name = account.quoted();
        match &account.host {
            None if account.name == PUBLIC => {}
            None => created.push(format!("CREATE ROLE IF NOT EXISTS {name}")),
            Some(_) => {
                let hex =
                    if server.is_mysql_since((8, 0, 17)) { "set print_identified_with_as_hex = 1;\n" } else { "" };
                let said = server.ask(&format!("{hex}show create user {name}"))?;
                let said = said.into_iter().flatten().next().ok_or(format!("no answer was given for user {name}"))?;
                let (create, default) = without(&said, "DEFAULT ROLE", &["REQUIRE", "WITH", "PASSWORD", "ACCOUNT"]);
                let rest = create.strip_prefix("CREATE USER ").ok_or(format!("unexpected answer for user {name}"))?;
                created.push(format!("CREATE USER IF NOT EXISTS {rest}"));
                defaults.extend(default.map(|default| format!("ALTER USER {name} {default}")));
            }
        }
        for said in server.ask(&format!("show grants for {name}"))?.into_iter().flatten() {
            if said.starts_with("SET DEFAULT ROLE ") {
                defaults.insert(said);
                continue;
            }
            // The password stands with the user: whoever exists keeps the own one.
            let (grant, _) = without(&said, "IDENTIFIED", &["REQUIRE", "WITH"]);
            // Of a role, MariaDB lists what its roles may do as well.
            if seen.insert(grant.clone()) {
                granted.push(grant);
            }
        }
    }
    let server = if server.is_mariadb { "MariaDB" } else { "MySQL" };
    let mut sql = format!("-- Users and grants of a {server} server\n");
    for (title, statements) in
        [("Users and roles", created), ("Grants", granted), ("Default roles", defaults.into_iter().collect())]
    {
        sql.push_str(&format!("\n-- {title}\n"));
        statements.iter().for_each(|statement| sql.push_str(&format!("{statement};\n")));
    }
    Ok(sql)
}

fn accounts(server: &Server) -> Result<BTreeSet<Account>, String> {
    let role = if server.is_mariadb { "is_role" } else { "'N'" };
    let rows = server.ask(&format!("select user, host, {role} from mysql.user"))?;
    let accounts = rows.into_iter().filter_map(|row| match &row[..] {
        [name, host, role] => {
            let host = Some(host.clone()).filter(|_| role != "Y");
            Some(Account { name: name.clone(), host })
        }
        _ => None,
    });
    Ok(accounts.filter(|account| !OF_THE_SERVER.contains(&account.name.as_str())).collect())
}

/// A statement without the clause that begins with `clause` outside quotes and goes on to one of these words; and that
/// clause.
fn without(statement: &str, clause: &str, until: &[&str]) -> (String, Option<String>) {
    let Some(start) = find_outside(statement, 0, &[clause]) else { return (statement.to_owned(), None) };
    let end = find_outside(statement, start + clause.len(), until).unwrap_or(statement.len());
    let removed = statement[start..end].trim_end().to_owned();
    let mut rest = statement[..start].trim_end().to_owned();
    if end < statement.len() {
        rest.push(' ');
        rest.push_str(&statement[end..]);
    }
    (rest, Some(removed))
}

/// Where one of these words begins, outside quotes, from `from` on.
pub(super) fn find_outside(statement: &str, from: usize, words: &[&str]) -> Option<usize> {
    let bytes = statement.as_bytes();
    let (mut quote, mut at) = (None, 0);
    while let Some(b) = bytes.get(at).copied() {
        match quote {
            Some(open) if b == open => quote = None,
            Some(open) if b == b'\\' && open != b'`' => at += 1,
            Some(_) => {}
            None if matches!(b, b'\'' | b'"' | b'`') => quote = Some(b),
            None => {
                let begins = at == 0 || bytes[at - 1] == b' ';
                let is = |word: &&str| {
                    let rest = &bytes[at..];
                    rest.starts_with(word.as_bytes()) && rest.get(word.len()).is_none_or(|next| *next == b' ')
                };
                if begins && at >= from && words.iter().any(is) {
                    return Some(at);
                }
            }
        }
        at += 1;
    }
    None
}

/// Whether the account may read what [`read`] reads: the question alone.
pub(super) fn readable(server: &Server) -> Result<(), String> {
    server.ask("select 1 from mysql.user limit 1").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `GRANT USAGE ... IDENTIFIED BY PASSWORD` would give an account that exists the password of another server.
    #[test]
    fn grants_carry_no_passwords_and_users_no_default_roles() {
        let of = |text: &str| without(text, "IDENTIFIED", &["REQUIRE", "WITH"]).0;
        assert_eq!(
            of("GRANT ALL PRIVILEGES ON *.* TO `r`@`h` WITH GRANT OPTION"),
            "GRANT ALL PRIVILEGES ON *.* TO `r`@`h` WITH GRANT OPTION"
        );
        assert_eq!(of("GRANT USAGE ON *.* TO `u`@`h` IDENTIFIED BY PASSWORD '*AB'"), "GRANT USAGE ON *.* TO `u`@`h`");
        let odd = "GRANT USAGE ON *.* TO `a IDENTIFIED ``b`@`h` IDENTIFIED VIA x USING ' WITH \\' REQUIRE ' OR unix_socket REQUIRE SSL WITH GRANT OPTION";
        assert_eq!(of(odd), "GRANT USAGE ON *.* TO `a IDENTIFIED ``b`@`h` REQUIRE SSL WITH GRANT OPTION");
        let user = "CREATE USER `u`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x24 DEFAULT ROLE `r`@`%` REQUIRE NONE PASSWORD EXPIRE DEFAULT";
        let (create, default) = without(user, "DEFAULT ROLE", &["REQUIRE"]);
        assert_eq!(default.as_deref(), Some("DEFAULT ROLE `r`@`%`"));
        assert_eq!(
            create,
            "CREATE USER `u`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x24 REQUIRE NONE PASSWORD EXPIRE DEFAULT"
        );
    }
}
