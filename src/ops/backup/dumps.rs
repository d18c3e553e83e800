//! Sources that are dumps of something: one stream, or one for each database of a server.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::format::description::Figures;
use crate::primitives::progress::{Observer, Severity};
use crate::repository::Repository;

use super::BackupError;
use super::dump::Dump;
use super::foreseen::{ForeseenContent, ForeseenStream};
use super::report::SourceReport;
use super::snapshot_writer::{SnapshotWriter, Source};
use super::stream::{Input, Saved, StreamOptions, store_stream};

/// Lists the dumps of a source when its turn has come. An error is why nothing can be saved of it.
pub type ListDumps = Box<dyn FnOnce(&dyn Observer) -> Result<Vec<Box<dyn Dump>>, String> + Send>;

/// A source that consists of dumps. They are listed when its turn comes, and several are made at a time if the options
/// say so; one that fails stops no other.
pub fn dumps_source(name: String, options: StreamOptions, list: ListDumps) -> Box<dyn Source> {
    Box::new(Dumps { name, options, list })
}

struct Dumps {
    name: String,
    options: StreamOptions,
    list: ListDumps,
}

impl Source for Dumps {
    fn name(&self) -> &str {
        &self.name
    }

    fn store(self: Box<Self>, writer: &mut SnapshotWriter<'_>) -> Result<(), BackupError> {
        let Self { name, options, list } = *self;
        let observer = writer.observer();
        let failed = |writer: &mut SnapshotWriter<'_>, error: String| {
            observer.finding(Severity::Error, &format!("{name}: {error}"));
            writer.report(SourceReport::failed(name.clone(), Figures::default(), error));
        };
        let dumps = match list(observer) {
            Ok(dumps) => dumps,
            Err(error) => {
                failed(writer, error);
                return Ok(());
            }
        };
        if dumps.is_empty() {
            failed(writer, "there is nothing to save".to_owned());
            return Ok(());
        }
        // Those that turn out to be gone are taken out.
        let members = Mutex::new(dumps.iter().filter_map(|dump| dump.member().map(str::to_owned)).collect());
        writer.each(dumps, &|writer: &mut SnapshotWriter<'_>, dump: Box<dyn Dump>| {
            let member = dump.member().map(str::to_owned);
            if store_stream(writer, &name, Input::Dump(dump), &options, &members)? == Saved::Gone {
                members.lock().retain(|known: &String| Some(known) != member.as_ref());
                member.into_iter().for_each(|member| writer.lacks(&name, &member));
            }
            Ok(())
        })?;
        if writer.reports().is_empty() {
            failed(writer, "there is nothing left to save".to_owned());
        }
        Ok(())
    }

    fn foresee(
        self: Box<Self>,
        _repository: &Arc<Repository>,
        observer: &dyn Observer,
    ) -> Result<ForeseenContent, BackupError> {
        let stream = |dump: Box<dyn Dump>| ForeseenStream {
            file: dump.file().to_owned(),
            member: dump.member().map(str::to_owned),
            refused: dump.refused().map(str::to_owned),
        };
        Ok(match (self.list)(observer) {
            Ok(dumps) if dumps.is_empty() => ForeseenContent::Failure("there is nothing to save".to_owned()),
            Ok(dumps) => ForeseenContent::Streams(dumps.into_iter().map(stream).collect()),
            Err(why) => ForeseenContent::Failure(why),
        })
    }
}
