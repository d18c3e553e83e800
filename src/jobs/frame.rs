//! The hooks around a job or a source: `before`, then `after` or `on_failure`, then `always`.
//!
//! `always` is owed from the moment before `before` begins, and written down first: see [`super::owed`].

use std::path::PathBuf;
use std::sync::Arc;

use crate::ops::backup::{BackupError, Frame, SourceReport};
use crate::primitives::error_chain::error_chain;
use crate::primitives::progress::Observer;
use crate::primitives::system::System;

use super::debt::{Debt, Debtor, what};
use super::hooks::{Ending, Hook, HookError, How, Moment, Surroundings};
use super::owed::{Held, Owed, OwedError};

/// The hooks of a job or source.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// Runs first. If it fails, nothing is saved.
    pub before: Option<String>,
    /// Runs after success.
    pub after: Option<String>,
    /// Runs after anything else.
    pub on_failure: Option<String>,
    /// Runs at the end, whatever happened.
    pub always: Option<String>,
    /// What all of them are run with.
    pub surroundings: Surroundings,
}

/// What hooks belong to.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The job.
    pub job: String,
    /// The source; `None` if they are the job's own.
    pub source: Option<String>,
    /// The run.
    pub run: String,
    /// Who runs it.
    pub debtor: Debtor,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// What is owed could not be written down.
    #[error("nothing was begun, because nobody would know that hook `{}` of {what} must run", hook.key())]
    Owed {
        /// Which hook is owed.
        hook: Moment,
        /// Of which job or source.
        what: String,
        /// Why it could not be written down.
        source: OwedError,
    },
    /// The user had asked to stop before anything began.
    #[error("interrupted")]
    Interrupted,
}

impl FrameError {
    /// Whether the user asked to stop.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Hook(HookError::Interrupted { .. }))
    }
}

/// What hooks need of the process that runs them.
pub struct HookContext {
    /// Where debts are written down.
    pub owed: Owed,
    /// This very program, so that commands end with it that are not owed.
    pub launcher: Option<PathBuf>,
    /// The clock and randomness.
    pub system: Arc<dyn System>,
    /// Takes secrets out of texts.
    pub mask: fn(&str) -> String,
}

impl HookContext {
    /// Milliseconds since `began_ms`.
    pub(super) fn duration_ms(&self, began_ms: i64) -> u64 {
        (self.system.now_ms() - began_ms).max(0).unsigned_abs()
    }
}

/// The hooks around something that is saved.
pub struct HookFrame {
    hooks: Hooks,
    subject: Subject,
    context: HookContext,
    held: Option<Held>,
    began_ms: i64,
    /// Why nothing was saved.
    failed: Option<(How, String)>,
    /// Nothing was begun: no hook is to run.
    is_off: bool,
}

impl HookFrame {
    /// The hooks of a job or source.
    pub fn new(hooks: Hooks, subject: Subject, context: HookContext) -> Self {
        Self { hooks, subject, context, held: None, began_ms: 0, failed: None, is_off: false }
    }

    /// Writes down what is owed and runs `before`. If it fails, nothing is to be saved; [`HookFrame::leave`] is to be
    /// called all the same.
    pub fn enter(&mut self, observer: &dyn Observer) -> Result<(), FrameError> {
        self.began_ms = self.context.system.now_ms();
        let entered = self.try_enter(observer);
        if let Err(e) = &entered {
            let how = if e.is_interrupted() { How::Interrupted } else { How::Failed };
            self.failed = Some((how, error_chain(e)));
        }
        entered
    }

    fn try_enter(&mut self, observer: &dyn Observer) -> Result<(), FrameError> {
        self.is_off = true;
        if observer.interrupted() {
            return Err(FrameError::Interrupted);
        }
        let what = self.what();
        // All hooks run as one user: if that cannot be done, none would succeed.
        self.hook(&what, Moment::Before, "", None).check()?;
        self.is_off = false;
        if let Some(line) = self.hooks.always.clone() {
            let Subject { job, source, run, debtor } = &self.subject;
            let (of, surroundings) = ((job.as_str(), source.as_deref()), self.hooks.surroundings.clone());
            let debt = Debt::new(of, run, &line, surroundings, debtor.clone(), &*self.context.system);
            let hook = Moment::Always;
            self.held = Some(self.context.owed.hold(debt).map_err(|source| FrameError::Owed { hook, what, source })?);
        }
        if let Some(line) = self.hooks.before.clone() {
            self.run(Moment::Before, &line, None, observer)?;
        }
        Ok(())
    }

    /// Runs what comes at the end; why that failed, as far as it did.
    pub fn leave(&mut self, observer: &dyn Observer, ending: Ending) -> Vec<String> {
        if self.is_off {
            return Vec::new();
        }
        let mut ending = match self.failed.take() {
            Some((how, error)) => Ending::without_data(how, &error),
            None => ending,
        };
        ending.error = (self.context.mask)(&ending.error);
        ending.duration_ms = self.context.duration_ms(self.began_ms);
        let mut problems = Vec::new();
        let (moment, line) = match ending.how {
            How::Complete | How::Warnings => (Moment::After, self.hooks.after.clone()),
            How::Partial | How::Failed | How::Interrupted => (Moment::OnFailure, self.hooks.on_failure.clone()),
        };
        if let Some(line) = line {
            problems.extend(self.run(moment, &line, Some(&ending), observer).err().map(|e| error_chain(&e)));
        }
        match (self.held.take(), self.hooks.always.clone()) {
            (Some(held), _) => {
                let id = held.debt().id.clone();
                let paid = held.pay(&ending, observer, &|| self.context.system.now_ms(), self.context.mask);
                problems.extend(paid.err().map(|e| {
                    format!("{}; it stays owed (id {id}): `strongroom hooks --owed` runs it again", error_chain(&e))
                }));
            }
            (None, Some(line)) => {
                let ran = self.run(Moment::Always, &line, Some(&ending), observer);
                problems.extend(ran.err().map(|e| error_chain(&e)));
            }
            (None, None) => {}
        }
        problems
    }

    fn what(&self) -> String {
        what(&self.subject.job, self.subject.source.as_deref())
    }

    fn hook<'a>(&'a self, what: &'a str, moment: Moment, line: &'a str, ending: Option<&'a Ending>) -> Hook<'a> {
        let launcher = self.context.launcher.clone().filter(|_| moment != Moment::Always);
        Hook { moment, what, line, surroundings: &self.hooks.surroundings, ending, launcher }
    }

    /// Runs a hook; its group is written down with what is owed, so that who pays that ends it before.
    fn run(
        &mut self,
        moment: Moment,
        line: &str,
        ending: Option<&Ending>,
        observer: &dyn Observer,
    ) -> Result<(), HookError> {
        let (what, mut held) = (self.what(), self.held.take());
        let mut started = |group: &str| held.iter_mut().for_each(|held| held.started(moment, group));
        let done = self.hook(&what, moment, line, ending).run(observer, &mut started);
        held.iter_mut().for_each(|held| held.ended(moment));
        self.held = held;
        done
    }
}

impl Frame for HookFrame {
    fn before(&mut self, observer: &dyn Observer) -> Result<(), String> {
        self.enter(observer).map_err(|e| error_chain(&e))
    }

    fn after(
        &mut self,
        observer: &dyn Observer,
        reports: &[SourceReport],
        stopped: Option<&BackupError>,
    ) -> Vec<String> {
        self.leave(observer, Ending::of(reports, stopped.map(stopped_by)))
    }
}

/// How a backup ended that ended with this error, and why.
pub fn stopped_by(error: &BackupError) -> (How, String) {
    let how = if matches!(error, BackupError::Interrupted) { How::Interrupted } else { How::Failed };
    (how, error_chain(error))
}
