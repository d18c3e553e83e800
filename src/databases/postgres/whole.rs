//! What is of the whole server: its roles and tablespaces.

use std::ffi::OsString;
use std::sync::Arc;

use crate::format::description::StreamDescription;
use crate::ops::backup::{Dump, Dumped};
use crate::primitives::progress::Severity;
use crate::source::command::CommandSource;

use super::dump::restrict_key;
use super::options::{Globals, PostgresOptions};
use super::server::Server;

/// The member that holds roles and tablespaces.
const GLOBALS: &str = "globals";

/// Its name if a database is called like that.
const GLOBALS_BESIDE: &str = "globals (roles)";

/// What the roles and tablespaces are called among databases of these names.
pub(super) fn globals_name<'a>(databases: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut name = GLOBALS.to_owned();
    while databases.clone().any(|database| database == name) {
        name = if name == GLOBALS { GLOBALS_BESIDE.to_owned() } else { format!("{name}_") };
    }
    name
}

/// Roles and tablespaces.
pub(super) struct GlobalsDump {
    server: Arc<Server>,
    options: Arc<PostgresOptions>,
    name: String,
    has_passwords: bool,
}

impl GlobalsDump {
    pub(super) fn new(server: Arc<Server>, options: Arc<PostgresOptions>, name: String) -> Self {
        let has_passwords = options.globals() == Globals::All;
        Self { server, options, name, has_passwords }
    }
}

/// Why the passwords of roles cannot be read, if they cannot.
pub(super) fn no_passwords(server: &Server) -> Option<String> {
    (!server.facts.reads_passwords).then(|| {
        format!(
            "{} may not read the passwords of roles, which globals = \"all\" needs: connect as a superuser, or set \
             globals = \"no-passwords\" or \"none\"",
            server.facts.user
        )
    })
}

impl Dump for GlobalsDump {
    fn file(&self) -> &'static str {
        "globals.sql"
    }

    fn member(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn begin(&mut self) -> Result<CommandSource, String> {
        if let Some(why) = no_passwords(&self.server).filter(|_| self.has_passwords) {
            return Err(why);
        }
        let mut words: Vec<OsString> = vec![
            "--no-password".into(),
            "--globals-only".into(),
            format!("--lock-wait-timeout={}", self.options.lock_wait().as_millis()).into(),
            self.server.connection.option(None).into(),
            format!("--database={}", self.server.facts.database).into(),
        ];
        if !self.has_passwords {
            words.push("--no-role-passwords".into());
        }
        if let Some(key) = restrict_key(&self.server, &self.options, "pg_dumpall", &self.name) {
            words.push(format!("--restrict-key={key}").into());
        }
        Ok(self.server.tools.command(self.file(), "pg_dumpall", words))
    }

    fn finish(&mut self, _stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        let mut findings = Vec::new();
        if !self.has_passwords {
            let text = "the passwords of roles are not saved (globals = \"no-passwords\"): set them anew after loading";
            findings.push((Severity::Note, text.to_owned()));
        }
        let described = StreamDescription {
            member: Some(self.name.clone()),
            kind: "postgres".to_owned(),
            format: "globals".to_owned(),
            tool: Some(self.server.tool_version.replacen("pg_dump ", "pg_dumpall ", 1)),
            server: Some(self.server.facts.version.clone()),
            properties: vec![("passwords".to_owned(), self.has_passwords.to_string())],
            tables: None,
            // A role that exists is an error, and no reason to stop.
            load: Some("psql --no-psqlrc --dbname=postgres".to_owned()),
            members: Vec::new(),
            line: None,
        };
        Ok(Dumped { described: Some(described), findings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globals_are_called_like_no_database() {
        let name = |names: &[&str]| globals_name(names.iter().copied());
        assert_eq!(name(&["a"]), "globals");
        assert_eq!(name(&["a", "globals"]), "globals (roles)");
        assert_eq!(name(&["globals (roles)", "globals"]), "globals (roles)_");
    }
}
