//! What all commands do alike: open the repository, print, and leave the cache as the next one wants it.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;
use crate::repository::doubt::Doubt;

use super::env::Env;
use super::error::{CliError, Result, error_text};
use super::exit::Exit;
use super::output::json::FindingsJson;
use super::output::progress::{Findings, Progress};
use super::output::text::{Side, table};
use super::settings::Settings;
use crate::cli::args::GlobalArguments;

/// One command that runs.
pub struct Session<'a> {
    /// Options of all commands.
    pub global: &'a GlobalArguments,
    /// The world.
    pub env: &'a Env,
    /// Shows what goes on.
    pub progress: Progress<'a>,
    /// What contradicts the history, as far as it was told; `None` where it is not told but found.
    doubts: RefCell<Option<Vec<Doubt>>>,
    /// Whether it still is.
    doubted: Cell<bool>,
}

fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, v)| !v.is_null()).map(|(name, v)| (name, without_nulls(v))).collect()
        }
        Value::Array(all) => all.into_iter().map(without_nulls).collect(),
        value => value,
    }
}

impl<'a> Session<'a> {
    /// A command with these options.
    pub fn new(global: &'a GlobalArguments, env: &'a Env) -> Self {
        let doubts = RefCell::new(Some(Vec::new()));
        Self { global, env, progress: Progress::new(global, env), doubts, doubted: Cell::new(false) }
    }

    /// Leaves it to the command to tell what contradicts the history.
    pub fn finds_doubts_itself(&self) {
        *self.doubts.borrow_mut() = None;
    }

    /// How the command ends: not without a word if the history is contradicted.
    pub fn exit(&self, exit: Exit) -> Exit {
        if self.doubted.get() && exit == Exit::Done { Exit::Problems } else { exit }
    }

    fn tell_doubts(&self, repository: &Repository) {
        let mut told = self.doubts.borrow_mut();
        let Some(told) = &mut *told else { return };
        let doubts = repository.doubts();
        self.doubted.set(!doubts.is_empty());
        for doubt in doubts {
            if !told.contains(&doubt) {
                self.progress.finding(Severity::Warning, &error_text(&doubt));
                told.push(doubt);
            }
        }
    }

    /// Opens the repository that is configured.
    pub fn open(&self) -> Result<Arc<Repository>> {
        Settings::find(self.global, self.env, false)?.open(self.global, self.env)
    }

    /// Opens the repository, calls `work`, and keeps what was learned of it, whether `work` succeeded or not.
    pub fn with_repository<T>(&self, work: impl FnOnce(&Arc<Repository>) -> Result<T>) -> Result<T> {
        let repository = self.open()?;
        self.with(&repository, work)
    }

    /// Calls `work` with an open repository, and keeps what was learned of it.
    pub fn with<T>(&self, repository: &Arc<Repository>, work: impl FnOnce(&Arc<Repository>) -> Result<T>) -> Result<T> {
        self.tell_doubts(repository);
        let done = work(repository);
        self.tell_doubts(repository);
        for damage in repository.take_damage() {
            self.progress.finding(Severity::Warning, &error_text(&damage));
        }
        if let Err(e) = repository.save_cache() {
            // It costs the next command time, and nothing else.
            self.progress.finding(Severity::Warning, &format!("the cache was not saved: {}", error_text(&e)));
        }
        done
    }

    /// Listens to signals from now on.
    pub fn listen(&self) -> Result<()> {
        self.env.signals.listen().map_err(|source| CliError::OsSystem { action: "listen to signals", source })
    }

    /// Takes the progress bar away and hands out what was found, for JSON.
    pub fn finish(&self) -> FindingsJson {
        let Findings { first, warnings, errors } = self.progress.finish();
        FindingsJson { warnings, errors, findings: first }
    }

    /// Prints lines to standard output.
    pub fn print(&self, text: &str) -> Result<()> {
        self.env.log_line(text);
        let mut out = self.env.out();
        out.write_all(text.as_bytes()).map_err(CliError::Output)?;
        if text.ends_with('\n') || text.is_empty() { Ok(()) } else { out.write_all(b"\n").map_err(CliError::Output) }
    }

    /// Prints one object on one line.
    pub fn print_json(&self, object: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(object).map_err(|e| CliError::Output(e.into()))?;
        line.push('\n');
        self.print(&line)
    }

    /// Prints an object whose fields stand in the order that they are written in; those that say nothing are left out.
    pub fn print_object(&self, object: serde_json::Value) -> Result<()> {
        self.print_json(&without_nulls(object))
    }

    /// Prints a table, as wide as the terminal at most.
    pub fn table(&self, sides: &[Side], rows: &[Vec<String>]) -> Result<()> {
        self.print(&table(sides, rows, (self.env.output_width)()))
    }

    /// Bytes of a name for standard output: as they are for a program, harmless for a terminal.
    pub fn name(&self, bytes: &[u8]) -> Vec<u8> {
        match self.env.output_is_terminal {
            true => super::output::text::escape(bytes).into_bytes(),
            false => bytes.to_vec(),
        }
    }
}
