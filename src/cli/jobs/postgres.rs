//! Sources of the kind `postgres`.

use std::path::PathBuf;
use std::time::Duration;

use glob::Pattern;

use crate::cli::error::{CliError, Result};
use crate::cli::{launcher, values};
use crate::crypto::secret::Secret;
use crate::databases::postgres::{Connection, Counting, Format, Globals, PostgresOptions};
use crate::databases::tool::Tools;
use crate::jobs::config::Source;
use crate::jobs::config::tree::{Table, Value};

use super::secrets::secret;
use super::texts::Texts;

/// What the key of `\restrict` is made from.
pub(in crate::cli) const RESTRICT_PURPOSE: &str = "strongroom 2026-12 restrict keys of a credential";

/// What a source says, with what is filled in. `name` is what it is called in the repository.
pub(in crate::cli) fn options(
    name: String,
    source: &Source,
    texts: &Texts<'_>,
    restrict_secret: Option<Secret>,
) -> Result<PostgresOptions> {
    let table = &source.table;
    let wrong = |what: String| CliError::Usage(format!("source `{name}`: {what}"));
    let text = |key: &str| table.text(key).map(|text| texts.filled(text, Some(&source.name))).transpose();
    let port = match table.get("port").map(|node| &node.value) {
        Some(Value::Integer(port)) => Some(port.to_string()),
        _ => text("port")?,
    };
    // A password of the source counts before one of all its tools.
    let mut env = texts.variables(source)?;
    let password = secret(table, "password", texts, Some(&source.name)).map_err(|e| wrong(e.to_string()))?;
    env.extend(password.map(|password| ("PGPASSWORD".into(), password.as_str().into())));
    let patterns = |key: &str| -> Result<Vec<Pattern>> {
        let texts = texts.list(table, key, &source.name)?;
        let patterns =
            texts.iter().map(|text| Pattern::new(text).map_err(|e| wrong(format!("`{key}`: {text:?}: {e}"))));
        patterns.collect()
    };
    let lock_wait = table.text("lock_timeout").map(values::duration_ms).transpose().map_err(wrong)?;
    let options = PostgresOptions {
        connection: Connection {
            service: text("service")?,
            host: text("host")?,
            port,
            user: text("user")?,
            more: Vec::new(),
        },
        tools: Tools {
            bin: text("pg_bin")?.or(text("bin")?).map(PathBuf::from),
            container: text("container")?,
            run_as: text("run_as")?,
            env,
            launcher: launcher(),
        },
        databases: texts.names(table, "databases", &source.name)?,
        include: patterns("include")?,
        exclude: patterns("exclude")?,
        tables: texts.list(table, "tables", &source.name)?,
        format: format(table),
        globals: globals(table),
        counting: counting(table),
        scratch_dir: text("scratch_dir")?.map(PathBuf::from),
        restrict_secret,
        lock_wait: lock_wait.map(|ms| Duration::from_millis(ms.unsigned_abs())),
        name: name.clone(),
    };
    match options.contradiction() {
        Some(what) => Err(wrong(what)),
        None => Ok(options),
    }
}

fn format(table: &Table) -> Format {
    match table.text("format") {
        Some("plain") => Format::Plain,
        Some("directory") => Format::Directory,
        Some("basebackup") => Format::BaseBackup,
        _ => Format::Custom,
    }
}

fn globals(table: &Table) -> Option<Globals> {
    match table.text("globals")? {
        "no-passwords" => Some(Globals::NoPasswords),
        "none" => Some(Globals::None),
        _ => Some(Globals::All),
    }
}

fn counting(table: &Table) -> Counting {
    match table.get("count").map(|node| &node.value) {
        Some(Value::Bool(false)) => Counting::Off,
        Some(Value::Text(_)) => Counting::Checksums,
        _ => Counting::Rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::env;
    use crate::jobs::config::Config;

    /// A file of variables has a password for most servers; a source that names another one was given that of the file.
    #[test]
    fn the_password_of_a_source_counts_before_that_of_a_file_of_variables() {
        let text = "version = 1\n[repositories.m]\nurl = \"/r\"\n[defaults]\nrepository = \"m\"\n[jobs.a.sources]\n\
                    x = { kind = \"postgres\", password_env = \"OWN\" }\ny = { kind = \"postgres\" }\n";
        let config = Config::of_files(std::path::Path::new("/x.toml"), &|_| Ok(text.to_owned())).unwrap();
        let mut env = env();
        env.variables.insert("OWN".into(), "own".into());
        env.of_file.set([("PGPASSWORD".into(), "of all".into())].into()).unwrap();
        let texts = Texts { env: &env, host: "h", job: "a" };
        for (source, password) in config.jobs[0].sources.iter().zip(["own", "of all"]) {
            let given = options("a/x".to_owned(), source, &texts, None).unwrap().tools.env;
            let last = given.iter().rfind(|(name, _)| name == "PGPASSWORD");
            assert_eq!(last.map(|(_, value)| value.as_os_str()), Some(password.as_ref()));
        }
    }
}
