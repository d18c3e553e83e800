//! Values of the configuration as they are used: with what is filled in.

use crate::cli::env::Env;
use crate::cli::error::{CliError, Result};
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

    pub(in crate::cli) fn list(&self, table: &Table, key: &str, source: &str) -> Result<Vec<String>> {
        let Some(Node { value: Value::List(list), .. }) = table.get(key) else { return Ok(Vec::new()) };
        let texts = list.iter().filter_map(|node| match &node.value {
            Value::Text(text) => Some(self.filled(text, Some(source))),
            _ => None,
        });
        texts.collect()
    }
}
