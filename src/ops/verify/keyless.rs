//! Verifying without any key: every object against its name or its checksum.

use crate::format::config::Config;
use crate::format::envelope::{Envelope, Kind, check_checksum};
use crate::format::names::{self, ObjectName, PackKind};
use crate::primitives::ids::{ObjectHash, RunId};
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::repository::RepositoryError;
use crate::repository::inventory::all_objects;
use crate::repository::read::object::{self, Whole};
use crate::store::{Listed, Store, StoreError};

use super::VerifyReport;

/// Checks every object's bytes against its name or checksum; needs no key.
pub fn verify_keyless(store: &dyn Store, observer: &dyn Observer) -> Result<VerifyReport, RepositoryError> {
    let (listed, foreign) = all_objects(store)?;
    let is_foreign = |name: &str| observer.finding(Severity::Note, &format!("{name} is not an object of a repository"));
    foreign.examples.iter().for_each(|name| is_foreign(name));
    observer.phase("reading", Some(listed.iter().map(|object| object.size).sum()), Unit::Bytes);
    let mut inventory = Inventory { next_record: 1, ..Inventory::default() };
    let mut report = VerifyReport::default();
    for listed in listed {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        let Some(object) = ObjectName::parse(&listed.name) else {
            is_foreign(&listed.name);
            continue;
        };
        inventory.add(&object, &listed.name, &mut report);
        read(store, &object, &listed, &mut report, observer)?;
        observer.advance(listed.size);
    }
    inventory.finish(store, &mut report)?;
    Ok(report)
}

/// Reads one object and compares its bytes with its name or checksum.
fn read(
    store: &dyn Store,
    object: &ObjectName,
    listed: &Listed,
    report: &mut VerifyReport,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    let name = &listed.name;
    match object::read(store, name) {
        Ok(Whole { bytes, unsteady }) => {
            if unsteady {
                let text = RepositoryError::Unsteady { name: name.clone() }.to_string();
                observer.finding(Severity::Warning, &text);
            }
            report.bytes_read += listed.size;
            if let Err(what) = check(object, &bytes) {
                report.find(name.clone(), what);
            }
        }
        // It was deleted since the listing.
        Err(e) if e.is_missing() => {}
        Err(StoreError::Archived { name }) => report.archived.push(name),
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

/// Which objects there are: without keys, gaps show only in the numbers of records.
#[derive(Default)]
struct Inventory {
    config: bool,
    slots: u64,
    next_record: u64,
    /// Objects that only a log can have brought in.
    needs_log: bool,
    /// The object whose run or number is the newest, and its record's number.
    latest: Option<(u64, String)>,
}

impl Inventory {
    /// Adds an object; they come in the order of their names.
    fn add(&mut self, object: &ObjectName, name: &str, report: &mut VerifyReport) {
        report.objects += 1;
        match object {
            ObjectName::Config => self.config = true,
            ObjectName::Slot(_) => self.slots += 1,
            ObjectName::Record(number) => {
                self.add_record(*number, report);
                report.records += 1;
            }
            ObjectName::Pack(_, RunId(number), _)
            | ObjectName::Segment(RunId(number), _)
            | ObjectName::Checkpoint(number) => {
                self.needs_log = true;
                if self.latest.as_ref().is_none_or(|(later, _)| later < number) {
                    self.latest = Some((*number, name.to_owned()));
                }
            }
        }
    }

    fn add_record(&mut self, number: u64, report: &mut VerifyReport) {
        match number.saturating_sub(self.next_record) {
            0 => {}
            1 => drop(report.find(names::record(self.next_record), "it is missing")),
            n => {
                let what = format!("it is missing, and so are the {} after it", n - 1);
                report.find(names::record(self.next_record), what);
            }
        }
        self.next_record = number.saturating_add(1);
    }

    /// Says what is missing by all that is there.
    fn finish(self, store: &dyn Store, report: &mut VerifyReport) -> Result<(), RepositoryError> {
        if !self.config && report.objects == 0 {
            return Err(RepositoryError::NoRepository { location: store.location() });
        }
        if !self.config {
            report.find(names::CONFIG, "it is missing");
        }
        if report.records == 0 && self.needs_log {
            report.find(names::record(1), "it is missing, and so are all records after it");
        } else if let Some((number, object)) = self.latest.filter(|(number, _)| *number >= self.next_record)
            // What was written since the listing began has its record by now.
            && store.size(&names::record(self.next_record)).is_err_and(|e| e.is_missing())
        {
            let what =
                format!("it is missing, and so are perhaps others after it: {object} belongs to record {number}");
            report.find(names::record(self.next_record), what);
        }
        if self.slots == 0 {
            report.find(names::KEYS, "every key slot is missing");
        }
        Ok(())
    }
}

fn check(object: &ObjectName, bytes: &[u8]) -> Result<(), String> {
    let expected = match object {
        ObjectName::Config => Kind::Config,
        ObjectName::Slot(_) => Kind::Slot,
        ObjectName::Pack(PackKind::Data, ..) => Kind::DataPack,
        ObjectName::Pack(PackKind::Meta, ..) => Kind::MetaPack,
        ObjectName::Segment(..) => Kind::Segment,
        ObjectName::Record(_) => Kind::Record,
        ObjectName::Checkpoint(_) => Kind::Checkpoint,
    };
    match object {
        ObjectName::Pack(_, _, name) | ObjectName::Segment(_, name) => {
            if ObjectHash(*blake3::hash(bytes).as_bytes()) != *name {
                return Err("its bytes do not match its name".to_owned());
            }
        }
        ObjectName::Config => {
            Config::decode(bytes).map_err(|e| e.to_string())?;
        }
        _ => {
            check_checksum(bytes).map_err(|e| e.to_string())?;
        }
    }
    Envelope::expect(bytes, expected).map(drop).map_err(|e| e.to_string())
}
