//! Which statements of `pg_dumpall --globals-only` are run on another server, and which are left out.
//!
//! Roles that are missing are made; those that are there are changed only if that is asked for, and the role that the
//! server is connected with never. What only a superuser may say is left out for others, and named. Nothing is run here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::dump_text::is_of_frame;
use super::sql::{self, Piece, Splitter, Word, WordKind, words};

/// What the server has.
#[derive(Debug, Clone, Default)]
pub(super) struct Existing {
    /// The role that is connected.
    pub user: String,
    /// Whether it is a superuser.
    pub is_superuser: bool,
    /// All roles.
    pub roles: BTreeSet<String>,
    /// All tablespaces.
    pub tablespaces: BTreeSet<String>,
}

/// Statements that belong together, and what they are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// For messages: `role "app"`.
    pub what: String,
    /// They are run in one transaction.
    pub sql: String,
}

/// What is run, in this order, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RolesPlan {
    /// Roles with their attributes and settings.
    pub roles: Vec<Step>,
    /// Names of roles that are made.
    pub made: Vec<String>,
    /// Memberships, and rights on parameters.
    pub grants: Vec<Step>,
    /// Tablespaces, each statement alone: some servers allow none.
    pub tablespaces: Vec<Step>,
    /// What is left out, and why.
    pub left_out: Vec<String>,
    /// Roles that were there and stay as they are.
    pub kept: Vec<String>,
    /// Roles that can log in and have no password in the dump.
    pub without_password: Vec<String>,
    /// All roles of the dump.
    pub all: BTreeSet<String>,
}

/// Words of `ALTER ROLE ... WITH` that only a superuser may say, whether they give or take.
const OF_SUPERUSERS: [&str; 6] =
    ["superuser", "nosuperuser", "replication", "noreplication", "bypassrls", "nobypassrls"];

/// Statements of one role.
#[derive(Default)]
struct OfRole {
    create: bool,
    statements: Vec<String>,
}

/// Plans what is run of a dump of globals.
pub(super) fn plan(dump: &[u8], existing: &Existing, alter: bool) -> Result<RolesPlan, String> {
    let mut planning =
        Planning { existing, alter, plan: RolesPlan::default(), roles: BTreeMap::new(), order: Vec::new() };
    let mut splitter = Splitter::new();
    let mut sink = |piece: Piece<'_>| {
        match piece {
            Piece::Statement(statement) => planning.statement(statement),
            Piece::Command(command) if is_of_frame(command) => {}
            Piece::Command(_) => {
                return Err(io::Error::other("the dump has a command of psql that pg_dumpall does not write"));
            }
            Piece::Part(part) if words(part).is_empty() => {}
            Piece::Part(_) | Piece::Data(_) => return Err(io::Error::other("this is no dump of globals")),
        }
        Ok(())
    };
    splitter.push(dump, &mut sink).and_then(|()| splitter.finish(&mut sink)).map_err(|e| e.to_string())?;
    Ok(planning.finish())
}

struct Planning<'a> {
    existing: &'a Existing,
    alter: bool,
    plan: RolesPlan,
    roles: BTreeMap<String, OfRole>,
    order: Vec<String>,
}

impl Planning<'_> {
    fn statement(&mut self, statement: &[u8]) {
        let words = words(statement);
        let at = |n: usize| words.get(n);
        let is = |n: usize, keyword: &str| at(n).is_some_and(|word| word.is(keyword));
        let name = |n: usize| at(n).and_then(Word::name).map(str::to_owned);
        let text = text_of(statement, &words);
        match () {
            () if is(0, "set") || is(0, "select") => {}
            () if is(0, "create") && (is(1, "role") || is(1, "user") || is(1, "group")) => {
                let Some(name) = name(2) else { return };
                let role = self.role(&name);
                role.create = true;
                role.statements.insert(0, text);
            }
            () if is(0, "alter") && is(1, "role") && is(3, "in") => {
                self.plan.left_out.push(format!("{}: settings of a role within a database", shown(&text)));
            }
            () if is(0, "alter") && is(1, "role") && is(3, "with") => {
                let Some(name) = name(2) else { return };
                let allowed = self.allowed(&name, statement, &words);
                self.role(&name).statements.push(allowed);
            }
            () if is(0, "alter") && is(1, "role") => {
                let Some(name) = name(2) else { return };
                self.role(&name).statements.push(text);
            }
            () if (is(0, "comment") || is(0, "security")) && words.iter().any(|word| word.is("role")) => {
                let role = words.iter().position(|word| word.is("role")).and_then(|n| name(n + 1));
                let Some(name) = role else { return };
                self.role(&name).statements.push(text);
            }
            () if words.iter().any(|word| word.is("tablespace")) => self.tablespace(&words, text),
            () if is(0, "grant") && is(2, "to") => self.membership(&words),
            () if is(0, "grant") || is(0, "revoke") => {
                let what = shown(&text);
                match self.existing.is_superuser {
                    true => self.plan.grants.push(Step { what, sql: text }),
                    false => self.plan.left_out.push(format!("{what}: only a superuser may say so")),
                }
            }
            () => self.plan.left_out.push(format!("{}: not understood", shown(&text))),
        }
    }

    fn role(&mut self, name: &str) -> &mut OfRole {
        if !self.roles.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.roles.entry(name.to_owned()).or_default()
    }

    /// `ALTER ROLE ... WITH` without what the connected role may not say.
    fn allowed(&mut self, name: &str, statement: &[u8], words: &[Word]) -> String {
        let is_new = !self.existing.roles.contains(name) && !is_of_system(name);
        let has = |keyword: &str| words.iter().skip(4).any(|word| word.is(keyword));
        if has("login") && !has("password") && is_new {
            self.plan.without_password.push(name.to_owned());
        }
        if self.existing.is_superuser {
            return text_of(statement, words);
        }
        let mut kept = format!("ALTER ROLE {} WITH", sql::name(name));
        for word in words.iter().skip(4).filter(|word| word.kind != WordKind::Sign) {
            if word.kind == WordKind::Bare && OF_SUPERUSERS.contains(&word.text.as_str()) {
                if !word.text.starts_with("no") && (is_new || self.alter) {
                    let what = word.text.to_uppercase();
                    self.plan.left_out.push(format!("{what} of role {name}: only a superuser may give it"));
                }
                continue;
            }
            kept.push(' ');
            kept.push_str(&String::from_utf8_lossy(&statement[word.at.clone()]));
        }
        kept + ";"
    }

    fn membership(&mut self, words: &[Word]) {
        let (Some(role), Some(member)) = (words.get(1).and_then(Word::name), words.get(3).and_then(Word::name)) else {
            return;
        };
        let what = format!("membership of {member} in {role}");
        let existing = self.existing;
        if member == existing.user {
            self.plan.left_out.push(format!("{what}: it is the role that is connected"));
        } else if is_of_system(member) {
            self.plan.left_out.push(format!("{what}: it is a role of the system"));
        } else if is_of_system(role) && !existing.is_superuser {
            self.plan.left_out.push(format!("{what}: only a superuser may give it"));
        } else if !self.alter && existing.roles.contains(member) && existing.roles.contains(role) {
            // Both were there, and stay as they are.
        } else {
            // By whom it was granted is left out: that role may not exist, or not be allowed to.
            let by = words.iter().position(|word| word.is("granted")).unwrap_or(words.len());
            let options = words[4..by].iter().filter(|word| word.kind == WordKind::Bare);
            let options: Vec<String> = options.map(|word| word.text.to_uppercase()).collect();
            let options = joined(&options);
            let sql = format!("GRANT {} TO {}{options};", sql::name(role), sql::name(member));
            self.plan.grants.push(Step { what, sql });
        }
    }

    fn tablespace(&mut self, words: &[Word], text: String) {
        let at = words.iter().position(|word| word.is("tablespace"));
        let Some(name) = at.and_then(|at| words.get(at + 1)).and_then(Word::name) else { return };
        let is_there = self.existing.tablespaces.contains(name);
        if is_there && !self.alter {
            return;
        }
        if is_there && words[0].is("create") {
            return;
        }
        self.plan.tablespaces.push(Step { what: format!("tablespace {name}"), sql: text });
    }

    fn finish(mut self) -> RolesPlan {
        for name in &self.order {
            let role = &self.roles[name];
            self.plan.all.insert(name.clone());
            let is_there = self.existing.roles.contains(name);
            if is_of_system(name) {
                self.plan.left_out.push(format!("role {name}: it is a role of the system"));
            } else if *name == self.existing.user {
                self.plan.left_out.push(format!("role {name}: it is the role that is connected"));
            } else if is_there && !self.alter {
                self.plan.kept.push(name.clone());
            } else {
                let skipped = usize::from(role.create && is_there);
                let sql = role.statements[skipped..].join("\n");
                if !is_there {
                    self.plan.made.push(name.clone());
                }
                self.plan.roles.push(Step { what: format!("role {name}"), sql });
            }
        }
        self.plan
    }
}

/// The options of a membership as they are written: before version 16 a list of words, since then with commas.
fn joined(options: &[String]) -> String {
    if options.is_empty() {
        return String::new();
    }
    let (mut text, mut left) = (" WITH".to_owned(), options.iter().skip(1).peekable());
    while let Some(name) = left.next() {
        text.push_str(if text.ends_with("WITH") { " " } else { ", " });
        text.push_str(name);
        if let Some(value) = left.next_if(|word| matches!(word.as_str(), "OPTION" | "TRUE" | "FALSE")) {
            text.push(' ');
            text.push_str(value);
        }
    }
    text
}

/// Whether the server itself makes the role.
fn is_of_system(name: &str) -> bool {
    name.starts_with("pg_")
}

/// A statement without what stands before it.
fn text_of(statement: &[u8], words: &[Word]) -> String {
    let from = words.first().map_or(0, |word| word.at.start);
    String::from_utf8_lossy(&statement[from..]).into_owned()
}

/// The beginning of a statement, for messages: passwords stand behind it.
fn shown(text: &str) -> String {
    let words: Vec<&str> =
        text.split_whitespace().take(6).take_while(|w| !w.eq_ignore_ascii_case("password")).collect();
    words.join(" ").trim_end_matches(';').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict x\n\nSET default_transaction_read_only = off;\n\n\
CREATE ROLE \"we;ird\";\nALTER ROLE \"we;ird\" WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION \
NOBYPASSRLS CONNECTION LIMIT 5 PASSWORD 'SCRAM-SHA-256$4096:a;b';\nCOMMENT ON ROLE \"we;ird\" IS 'it''s';\n\
CREATE ROLE app;\nALTER ROLE app WITH SUPERUSER INHERIT LOGIN REPLICATION BYPASSRLS;\nALTER ROLE app SET search_path TO 'a';\n\
CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER LOGIN PASSWORD 'md5x';\n\
CREATE ROLE old;\nALTER ROLE old WITH NOSUPERUSER LOGIN PASSWORD 'md5y' VALID UNTIL 'infinity';\n\
CREATE TABLESPACE fast OWNER app LOCATION '/mnt/fast';\n\
GRANT app TO \"we;ird\" WITH ADMIN OPTION GRANTED BY postgres;\nGRANT pg_monitor TO app WITH ADMIN OPTION, INHERIT TRUE GRANTED BY postgres;\n\
GRANT old TO old2;\n\\unrestrict x\n--\n-- PostgreSQL database cluster dump complete\n--\n\n";

    fn existing(is_superuser: bool) -> Existing {
        let roles = ["postgres", "old", "old2"].map(str::to_owned).into();
        Existing { user: "postgres".to_owned(), is_superuser, roles, tablespaces: BTreeSet::new() }
    }

    #[test]
    fn missing_roles_are_made_and_others_stay() {
        let plan = plan(DUMP.as_bytes(), &existing(true), false).unwrap();
        let what: Vec<&str> = plan.roles.iter().map(|step| step.what.as_str()).collect();
        assert_eq!(what, ["role we;ird", "role app"]);
        assert!(plan.roles[0].sql.starts_with("CREATE ROLE \"we;ird\";\nALTER ROLE"), "{}", plan.roles[0].sql);
        assert!(plan.roles[0].sql.ends_with("COMMENT ON ROLE \"we;ird\" IS 'it''s';"));
        assert!(plan.roles[1].sql.contains("SET search_path TO 'a'") && plan.roles[1].sql.contains("BYPASSRLS"));
        assert_eq!(
            (plan.kept.clone(), plan.without_password.clone()),
            (vec!["old".to_owned()], vec!["app".to_owned()])
        );
        let grants: Vec<&str> = plan.grants.iter().map(|step| step.sql.as_str()).collect();
        let expected = [
            "GRANT \"app\" TO \"we;ird\" WITH ADMIN OPTION;",
            "GRANT \"pg_monitor\" TO \"app\" WITH ADMIN OPTION, INHERIT TRUE;",
        ];
        assert_eq!(grants, expected);
        assert_eq!(plan.left_out, ["role postgres: it is the role that is connected"]);
        assert_eq!(plan.tablespaces.len(), 1);
    }

    #[test]
    fn a_role_that_is_there_is_changed_if_that_is_asked_for_and_the_connected_one_never() {
        let plan = plan(DUMP.as_bytes(), &existing(true), true).unwrap();
        let old = plan.roles.iter().find(|step| step.what == "role old").unwrap();
        assert!(old.sql.starts_with("ALTER ROLE old WITH"), "{}", old.sql);
        assert!(!plan.roles.iter().any(|step| step.what == "role postgres"));
        assert!(plan.grants.iter().any(|step| step.what == "membership of old2 in old"));
    }

    /// A managed server refuses what only superusers may say, even if it takes: `NOSUPERUSER`.
    #[test]
    fn what_only_a_superuser_may_say_is_left_out_for_others_and_named() {
        let plan = plan(DUMP.as_bytes(), &existing(false), false).unwrap();
        let odd = "ALTER ROLE \"we;ird\" WITH INHERIT NOCREATEROLE NOCREATEDB LOGIN CONNECTION LIMIT 5 PASSWORD \
                   'SCRAM-SHA-256$4096:a;b';";
        assert!(plan.roles[0].sql.contains(odd), "{}", plan.roles[0].sql);
        for what in [
            "SUPERUSER of role app",
            "REPLICATION of role app",
            "BYPASSRLS of role app",
            "membership of app in pg_monitor",
        ] {
            assert!(plan.left_out.iter().any(|text| text.starts_with(what)), "{what}: {:?}", plan.left_out);
        }
        assert!(!plan.left_out.iter().any(|text| text.contains("we;ird")), "{:?}", plan.left_out);
    }

    #[test]
    fn what_is_no_dump_of_globals_is_refused() {
        for text in ["\\! id\n", "create role x", "COPY t FROM stdin;\n1\n\\.\n"] {
            assert!(plan(text.as_bytes(), &existing(true), false).is_err(), "{text}");
        }
    }
}
