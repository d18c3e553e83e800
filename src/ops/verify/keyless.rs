//! Verifying without any key: every object against its name or its checksum.

use crate::format::config::Config;
use crate::format::envelope::{Envelope, Kind, check_checksum};
use crate::format::names::{self, ObjectName, PackKind};
use crate::primitives::ids::{ObjectHash, RunId};
use crate::primitives::progress::{Observer, Severity, Unit};
use crate::repository::RepositoryError;
use crate::repository::inventory::all_objects;
use crate::repository::read::object::{self, Whole};
use crate::store::{Store, StoreError};

use super::VerifyReport;

/// Checks every object's bytes against its name or checksum; needs no key.
pub fn verify_keyless(store: &dyn Store, observer: &dyn Observer) -> Result<VerifyReport, RepositoryError> {
    let mut report = VerifyReport::default();
    let (listed, foreign) = all_objects(store)?;
    let listed: Vec<(String, u64)> = listed.into_iter().map(|object| (object.name, object.size)).collect();
    for name in foreign.examples {
        observer.finding(Severity::Note, &format!("{name} is not an object of a repository"));
    }
    observer.phase("reading", Some(listed.iter().map(|(_, size)| size).sum()), Unit::Bytes);
    let (mut config, mut slots, mut next_record, mut needs_log) = (false, 0, 1, false);
    let mut latest: Option<(u64, String)> = None;
    for (name, size) in listed {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        let Some(object) = ObjectName::parse(&name) else {
            observer.finding(Severity::Note, &format!("{name} is not an object of a repository"));
            continue;
        };
        match object {
            ObjectName::Config => config = true,
            ObjectName::Slot(_) => slots += 1,
            ObjectName::Record(number) => {
                match number.saturating_sub(next_record) {
                    0 => {}
                    1 => drop(report.find(names::record(next_record), "it is missing")),
                    n => {
                        let what = format!("it is missing, and so are the {} after it", n - 1);
                        report.find(names::record(next_record), what);
                    }
                }
                next_record = number.saturating_add(1);
                report.records += 1;
            }
            ObjectName::Pack(..) | ObjectName::Segment(..) | ObjectName::Checkpoint(_) => needs_log = true,
        }
        if let ObjectName::Pack(_, RunId(number), _)
        | ObjectName::Segment(RunId(number), _)
        | ObjectName::Checkpoint(number) = object
            && latest.as_ref().is_none_or(|(later, _)| *later < number)
        {
            latest = Some((number, name.clone()));
        }
        report.objects += 1;
        match object::read(store, &name) {
            Ok(Whole { bytes, unsteady }) => {
                if unsteady {
                    let text = RepositoryError::Unsteady { name: name.clone() }.to_string();
                    observer.finding(Severity::Warning, &text);
                }
                report.bytes_read += size;
                if let Err(what) = check(&object, &bytes) {
                    report.find(name, what);
                }
            }
            Err(e) if e.is_missing() => {}
            Err(StoreError::Archived { name }) => report.archived.push(name),
            Err(e) => return Err(e.into()),
        }
        observer.advance(size);
    }
    if !config && report.objects == 0 {
        return Err(RepositoryError::NoRepository { location: store.location() });
    }
    if !config {
        report.find(names::CONFIG, "it is missing");
    }
    if report.records == 0 && needs_log {
        report.find(names::record(1), "it is missing, and so are all records after it");
    } else if let Some((number, object)) = latest.filter(|(number, _)| *number >= next_record)
        // What was written since the listing began has its record by now.
        && store.size(&names::record(next_record)).is_err_and(|e| e.is_missing())
    {
        let what = format!("it is missing, and so are perhaps others after it: {object} belongs to record {number}");
        report.find(names::record(next_record), what);
    }
    if slots == 0 {
        report.find(names::KEYS, "every key slot is missing");
    }
    Ok(report)
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
