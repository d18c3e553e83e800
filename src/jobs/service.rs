//! A service that is stopped while its directory is restored, and started again.
//!
//! `start` is owed from the moment before `stop` begins, and written down first: see [`super::owed`]. While the directory is
//! written to, the debt says so. A process that pays it later would otherwise start the service on a directory of which
//! a part is old and a part is new.

use crate::primitives::error_chain::error_chain;
use crate::primitives::progress::Observer;

use super::debt::{Debt, Debtor, what_restore};
use super::frame::{FrameError, HookContext};
use super::hooks::{Ending, Hook, HookError, How, Moment, Surroundings};
use super::owed::{Held, OwedError, State};

/// The commands around a restore.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Stops the service.
    pub stop: Option<String>,
    /// Starts it.
    pub start: Option<String>,
    /// What both are run with.
    pub surroundings: Surroundings,
    /// The directories, in words.
    pub places: String,
    /// What the restore is called.
    pub restore: String,
    /// Who restores.
    pub debtor: Debtor,
}

/// A service around a restore.
pub struct Service {
    options: ServiceOptions,
    context: HookContext,
    held: Option<Held>,
    began_ms: i64,
}

/// What became of `start` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It ran, or there is none.
    Done,
    /// It failed, and is owed.
    Failed {
        /// Why.
        error: String,
        /// Id of the debt.
        id: String,
    },
}

impl Service {
    /// A service that is not stopped yet.
    pub fn new(options: ServiceOptions, context: HookContext) -> Self {
        Self { options, began_ms: context.system.now_ms(), context, held: None }
    }

    /// Whether another process restores into the same directories now.
    pub fn is_restored_by_another(&self) -> Result<bool, OwedError> {
        let listing = self.context.owed.list(&self.options.debtor)?;
        let is_same = |debt: &Debt| debt.restore && debt.job == self.options.places;
        Ok(listing.entries.iter().any(|entry| entry.state == State::Held && is_same(&entry.debt)))
    }

    /// Writes down what is owed and stops the service. If that fails, [`Service::start`] is to be called all the same.
    pub fn stop(&mut self, observer: &dyn Observer) -> Result<(), FrameError> {
        self.began_ms = self.context.system.now_ms();
        let what = what_restore(&self.options.places);
        if let Some(line) = &self.options.start {
            let ServiceOptions { places, restore, surroundings, debtor, .. } = &self.options;
            let debt =
                Debt::of_restore(places, restore, line, surroundings.clone(), debtor.clone(), &*self.context.system);
            let hold = self.context.owed.hold(debt);
            self.held = Some(hold.map_err(|source| FrameError::Owed { hook: Moment::Start, what, source })?);
        }
        match self.options.stop.clone() {
            Some(line) => Ok(self.run_stop(&line, observer)?),
            None => Ok(()),
        }
    }

    fn run_stop(&mut self, line: &str, observer: &dyn Observer) -> Result<(), HookError> {
        let (moment, what) = (Moment::Stop, what_restore(&self.options.places));
        let (surroundings, launcher) = (&self.options.surroundings, self.context.launcher.clone());
        let hook = Hook { moment, what: &what, line, surroundings, ending: None, launcher };
        let held = &mut self.held;
        let done = hook.run(observer, &mut |group| held.iter_mut().for_each(|held| held.started(moment, group)));
        self.held.iter_mut().for_each(|held| held.ended(moment));
        done
    }

    /// Writes down that the directories are being changed: from now on, nobody else may start the service.
    pub fn changing(&mut self, why: &str) -> Result<(), OwedError> {
        self.held.as_mut().map_or(Ok(()), |held| held.unfinished(why))
    }

    /// Writes down that the directories are whole again.
    pub fn whole(&mut self) -> Result<(), OwedError> {
        self.held.as_mut().map_or(Ok(()), Held::finished)
    }

    /// Leaves the service as it is, because its directories are not whole. The id of the debt that remains.
    pub fn leave_stopped(self) -> Option<String> {
        self.held.map(|held| held.debt().id.clone())
    }

    /// Starts the service.
    pub fn start(mut self, observer: &dyn Observer, how: How, error: &str) -> Started {
        let Some(held) = self.held.take() else { return Started::Done };
        let id = held.debt().id.clone();
        let mut ending = Ending::without_data(how, &(self.context.mask)(error));
        ending.duration_ms = self.context.duration_ms(self.began_ms);
        match held.pay(&ending, observer, &|| self.context.system.now_ms(), self.context.mask) {
            Ok(()) => Started::Done,
            Err(e) => Started::Failed { error: error_chain(&e), id },
        }
    }
}
