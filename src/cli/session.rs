//! What all commands do alike: open the repository, print, and leave the cache as the next one wants it.

use std::io::Write;
use std::sync::Arc;

use serde::Serialize;

use crate::machinery::repository::Repository;
use crate::words::observer::{Observer, Severity};

use super::arguments::GlobalArguments;
use super::error::{CliError, Result, chain};
use super::json::FindingsJson;
use super::progress::{Findings, Progress};
use super::settings::Settings;
use super::surroundings::Surroundings;

/// One command that runs.
pub struct Session<'a> {
    /// Options of all commands.
    pub global: &'a GlobalArguments,
    /// The world.
    pub around: &'a Surroundings,
    /// Shows what goes on.
    pub progress: Progress<'a>,
}

impl<'a> Session<'a> {
    /// A command with these options.
    pub fn new(global: &'a GlobalArguments, around: &'a Surroundings) -> Self {
        Self { global, around, progress: Progress::new(global, around) }
    }

    /// Opens the repository that is configured.
    pub fn open(&self) -> Result<Arc<Repository>> {
        Settings::find(self.global, self.around, false)?.open(self.global, self.around)
    }

    /// Opens the repository, calls `work`, and keeps what was learned of it, whether `work` succeeded or not.
    pub fn with_repository<T>(&self, work: impl FnOnce(&Arc<Repository>) -> Result<T>) -> Result<T> {
        let repository = self.open()?;
        self.with(&repository, work)
    }

    /// Calls `work` with an open repository, and keeps what was learned of it.
    pub fn with<T>(&self, repository: &Arc<Repository>, work: impl FnOnce(&Arc<Repository>) -> Result<T>) -> Result<T> {
        let done = work(repository);
        for damage in repository.take_damage() {
            self.progress.finding(Severity::Warning, &chain(&damage));
        }
        if let Err(e) = repository.save_cache() {
            // It costs the next command time, and nothing else.
            self.progress.finding(Severity::Warning, &format!("the cache was not saved: {}", chain(&e)));
        }
        done
    }

    /// Listens to signals from now on.
    pub fn listen(&self) -> Result<()> {
        self.around.signals.listen().map_err(|source| CliError::System { action: "listen to signals", source })
    }

    /// Takes the progress bar away and hands out what was found, for JSON.
    pub fn finish(&self) -> FindingsJson {
        let Findings { first, warnings, errors } = self.progress.finish();
        FindingsJson { warnings, errors, findings: first }
    }

    /// Prints lines to standard output.
    pub fn print(&self, text: &str) -> Result<()> {
        let mut out = self.around.out();
        out.write_all(text.as_bytes()).map_err(CliError::Output)?;
        if text.ends_with('\n') || text.is_empty() { Ok(()) } else { out.write_all(b"\n").map_err(CliError::Output) }
    }

    /// Prints one object on one line.
    pub fn print_json(&self, object: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(object).map_err(|e| CliError::Output(e.into()))?;
        line.push('\n');
        self.print(&line)
    }

    /// Bytes of a name for standard output: as they are for a program, harmless for a terminal.
    pub fn name(&self, bytes: &[u8]) -> Vec<u8> {
        match self.around.output_is_terminal {
            true => super::text::escape(bytes).into_bytes(),
            false => bytes.to_vec(),
        }
    }
}
