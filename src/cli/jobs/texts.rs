//! Values of the configuration as they are used: with what is filled in.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::env::Env;
use crate::cli::error::{CliError, Result};
use crate::jobs::config::Source;
use crate::jobs::config::expand::{Filling, expand, expand_names};
use crate::jobs::config::find::check_private;
use crate::jobs::config::tree::{Node, Table, Value};

/// Fills in what stands in braces.
pub(in crate::cli) struct Texts<'a> {
    pub(in crate::cli) env: &'a Env,
    pub(in crate::cli) host: &'a str,
    pub(in crate::cli) job: &'a str,
}

impl Texts<'_> {
    pub(in crate::cli) fn filled(&self, text: &str, source: Option<&str>) -> Result<String> {
        self.with_filling(source, |filling| expand(text, filling))
    }

    /// Names in a list, each of which may stand for several.
    pub(in crate::cli) fn names(&self, table: &Table, key: &str, source: &str) -> Result<Vec<String>> {
        let Some(Node { value: Value::List(list), .. }) = table.get(key) else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for node in list {
            if let Value::Text(text) = &node.value {
                names.extend(self.with_filling(Some(source), |filling| expand_names(text, filling))?);
            }
        }
        Ok(names)
    }

    fn with_filling<T>(
        &self,
        source: Option<&str>,
        work: impl FnOnce(&Filling<'_>) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let filling = Filling {
            host: self.host,
            job: Some(self.job),
            source,
            variable: &|name| self.variable(name),
            file: &|file| {
                let path = self.env.cwd.join(file);
                check_private(&path)?;
                std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))
            },
        };
        work(&filling).map_err(CliError::Usage)
    }

    /// A variable of the process, else of the file of variables.
    pub(in crate::cli) fn variable(&self, name: &str) -> Option<String> {
        self.env.variable(name).map(|value| value.to_string_lossy().into_owned())
    }

    /// What the tools and commands of a source are given beside the environment of this process.
    pub(in crate::cli) fn variables(&self, source: &Source) -> Result<Vec<(OsString, OsString)>> {
        let mut variables = self.env.file_variables();
        let own = [("STRONGROOM_JOB", self.job), ("STRONGROOM_SOURCE", &source.name), ("STRONGROOM_HOST", self.host)];
        variables.extend(own.map(|(name, value)| (name.into(), value.into())));
        for entry in source.table.table("env").map(|env| env.0.as_slice()).unwrap_or_default() {
            if let Value::Text(value) = &entry.node.value {
                variables.push((entry.key.clone().into(), self.filled(value, Some(&source.name))?.into()));
            }
        }
        Ok(variables)
    }

    /// The paths of a source of files.
    pub(in crate::cli) fn paths(&self, source: &Source) -> Result<Vec<PathBuf>> {
        let paths: Vec<PathBuf> =
            self.list(&source.table, "paths", &source.name)?.into_iter().map(PathBuf::from).collect();
        match paths.iter().find(|path| !path.is_absolute()) {
            Some(relative) => {
                let (name, relative) = (format!("{}/{}", self.job, source.name), relative.display());
                Err(CliError::Usage(format!("source `{name}`: `{relative}` is not an absolute path")))
            }
            None => Ok(paths),
        }
    }

    pub(in crate::cli) fn list(&self, table: &Table, key: &str, source: &str) -> Result<Vec<String>> {
        let Some(Node { value: Value::List(list), .. }) = table.get(key) else { return Ok(Vec::new()) };
        let texts = list.iter().filter_map(|node| match &node.value {
            Value::Text(text) => Some(self.filled(text, Some(source))),
            _ => None,
        });
        texts.collect()
    }
}
