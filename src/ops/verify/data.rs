//! Reading everything: each pack's bytes against its name, each frame opened, each chunk id recomputed.

use std::collections::HashSet;
use std::sync::Arc;

use crate::cache::locations::PackPlace;
use crate::format::names;
use crate::format::state::PackState;
use crate::parallel::{self, cores};
use crate::primitives::ids::ObjectHash;
use crate::primitives::progress::{Observer, Unit};
use crate::repository::{Repository, RepositoryError};

use super::objects::BadObject;
use super::{Part, VerifyReport};

/// What is wrong with a pack: with all of it, or with some frames.
struct PackDamage {
    what: String,
    frames: Option<Vec<u32>>,
}

/// Which of the packs are to be read: `last` of each is the record that says when it was read last.
fn chosen(mut packs: Vec<(u64, PackPlace)>, part: Part) -> Vec<PackPlace> {
    packs.sort_by_key(|(last, p)| (*last, p.name));
    let total: u64 = packs.iter().map(|(_, p)| p.len).sum();
    let enough = match part {
        Part::All | Part::Group { .. } => u64::MAX,
        Part::Share(share) => (total as f64 * share).ceil() as u64,
        Part::Bytes(bytes) => bytes,
    };
    let in_group = |p: &PackPlace| match part {
        Part::Group { n, of } => {
            let hash = u64::from_le_bytes(p.name.0[..8].try_into().expect("a name has 32 bytes"));
            hash % of.max(1) == n - 1
        }
        _ => true,
    };
    let mut taken = 0u64;
    let mut take = |p: &PackPlace| {
        let takes = in_group(p) && taken < enough;
        taken += if takes { p.len } else { 0 };
        takes
    };
    packs.into_iter().map(|(_, p)| p).filter(|p| take(p)).collect()
}

/// Reads live packs that are there: `part` of them, until `budget_ms` are over.
pub(super) fn check(
    repository: &Arc<Repository>,
    part: Part,
    budget_ms: Option<i64>,
    report: &mut VerifyReport,
    bad: &mut BadObject,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    let packs = chosen(candidates(repository, report, bad)?, part);
    let read = read_packs(repository, packs, budget_ms, observer)?;
    settle(repository, read, report, bad)
}

/// Live packs that are not known to be bad, each with the record that says when it was read last.
fn candidates(
    repository: &Repository,
    report: &mut VerifyReport,
    bad: &BadObject,
) -> Result<Vec<(u64, PackPlace)>, RepositoryError> {
    let state = repository.state();
    let mut packs = Vec::new();
    for (name, pack) in state.packs.iter().filter(|(_, p)| p.live()) {
        report.packs += 1;
        match repository.cache().pack_by_name(name)? {
            Some(place) if !bad.packs.contains_key(&place.row) => packs.push((pack.vouched.unwrap_or(0), place)),
            Some(_) => {}
            None => {
                let object = names::pack(pack.kind, pack.run, name);
                report.find(object, "its directory cannot be read, so its blocks cannot be found");
            }
        }
    }
    Ok(packs)
}

/// What came of reading a pack.
enum Verdict {
    Sound,
    Damaged(PackDamage),
    /// It must be brought back from an archive first: the object's name.
    Archived(String),
}

fn read_packs(
    repository: &Repository,
    packs: Vec<PackPlace>,
    budget_ms: Option<i64>,
    observer: &dyn Observer,
) -> Result<Vec<(PackPlace, Verdict)>, RepositoryError> {
    observer.phase("reading", Some(packs.iter().map(|p| p.len).sum()), Unit::Bytes);
    let began_ms = repository.system.now_ms();
    let in_time = |_: &PackPlace| budget_ms.is_none_or(|budget| repository.system.now_ms() - began_ms < budget);
    let read = |pack: PackPlace| {
        if observer.interrupted() {
            return Err(RepositoryError::Interrupted);
        }
        let verdict = match check_pack(repository, &pack) {
            Ok(None) => Verdict::Sound,
            Ok(Some(damage)) => Verdict::Damaged(damage),
            Err(e) => match e.archived() {
                Some(name) => Verdict::Archived(name.to_owned()),
                None => return Err(e),
            },
        };
        observer.advance(pack.len);
        Ok((pack, verdict))
    };
    parallel::map_each(cores(), packs.into_iter().take_while(in_time), read).into_iter().collect()
}

/// Puts down what was found, and which packs are sound.
fn settle(
    repository: &Repository,
    read: Vec<(PackPlace, Verdict)>,
    report: &mut VerifyReport,
    bad: &mut BadObject,
) -> Result<(), RepositoryError> {
    // What could not be compared with its segment was read, and is not vouched for.
    let unknown: HashSet<ObjectHash> = repository.cache().without_content()?.into_iter().collect();
    let mut wrong = Vec::new();
    for (pack, verdict) in read {
        match verdict {
            Verdict::Archived(name) => {
                report.archived.push(name);
                continue;
            }
            Verdict::Sound if unknown.contains(&pack.name) => {}
            Verdict::Sound => report.sound.push(pack.name),
            Verdict::Damaged(damage) => wrong.push((pack.clone(), damage)),
        }
        report.bytes_read += pack.len;
    }
    report.archived.sort_unstable();
    if !wrong.is_empty() {
        // What a prune has condemned meanwhile may be gone.
        let state = repository.refresh_by_name()?;
        wrong.retain(|(pack, _)| state.packs.get(&pack.name).is_some_and(PackState::live));
    }
    repository.clear_suspects(&report.sound)?;
    for (pack, PackDamage { what, frames }) in wrong {
        let object = names::pack(pack.kind, pack.run, &pack.name);
        repository.note_suspect(&object);
        let finding = report.find(object, what);
        bad.touched.insert(pack.row, finding);
        match frames {
            None => drop(bad.packs.insert(pack.row, finding)),
            Some(frames) => bad.frames.extend(frames.into_iter().map(|f| ((pack.row, f), finding))),
        }
    }
    Ok(())
}

fn check_pack(repository: &Repository, place: &PackPlace) -> Result<Option<PackDamage>, RepositoryError> {
    let object = names::pack(place.kind, place.run, &place.name);
    let whole = |what: String| Ok(Some(PackDamage { what, frames: None }));
    let bytes = match repository.get(&object) {
        Ok(bytes) => bytes,
        Err(e) if e.is_damage() => return whole("it is missing".to_owned()),
        Err(e) => return Err(e),
    };
    let named_right = ObjectHash(*blake3::hash(&bytes).as_bytes()) == place.name;
    let pack = match repository.open_pack_bytes(place.clone(), &bytes) {
        Ok(pack) => pack,
        Err(RepositoryError::Damaged { cause, .. }) => return whole(cause.to_string()),
        Err(e) => return Err(e),
    };
    let mut bad_frames = Vec::new();
    let mut what = None;
    for frame in repository.cache().frames(place.row)? {
        let range = pack.range(frame.place, frame.place + 1)?;
        let sealed = bytes[range.start as usize..range.end as usize].to_vec();
        let known = repository.cache().frame_directory(frame.row)?;
        let same = known.is_none_or(|d| pack.directory.frames.get(frame.place as usize) == Some(&d));
        let opened = repository.open_frame(&pack, frame.place, sealed);
        match opened {
            Ok(_) if same => {}
            Ok(_) => {
                what.get_or_insert("its directory differs from the segment's".to_owned());
                bad_frames.push(frame.place);
            }
            Err(RepositoryError::Damaged { cause, .. }) => {
                what.get_or_insert(cause.to_string());
                bad_frames.push(frame.place);
            }
            Err(e) => return Err(e),
        }
    }
    if !named_right {
        what.get_or_insert("its bytes do not match its name".to_owned());
    }
    Ok(what.map(|what| PackDamage { what, frames: Some(bad_frames) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::locations::PackRow;
    use crate::format::names::PackKind;
    use crate::format::pack::DirectoryPlace;
    use crate::primitives::ids::RunId;

    fn packs() -> Vec<(u64, PackPlace)> {
        let pack = |n: u8| PackPlace {
            row: PackRow(i64::from(n)),
            name: ObjectHash([n; 32]),
            kind: PackKind::Data,
            run: RunId(1),
            len: 100,
            directory: DirectoryPlace { offset: 0, len: 0 },
            frames: 1,
        };
        vec![(9, pack(1)), (0, pack(2)), (4, pack(3)), (0, pack(4))]
    }

    fn numbers(part: Part) -> Vec<u8> {
        chosen(packs(), part).iter().map(|p| p.name.0[0]).collect()
    }

    #[test]
    fn those_that_were_read_longest_ago_come_first() {
        assert_eq!(numbers(Part::All), [2, 4, 3, 1]);
        assert_eq!(numbers(Part::Bytes(150)), [2, 4]);
        assert_eq!(numbers(Part::Share(0.75)), [2, 4, 3]);
        assert_eq!(numbers(Part::Share(0.01)), [2]);
    }

    #[test]
    fn groups_share_nothing_and_leave_nothing_out() {
        let mut all: Vec<u8> = (1..=3).flat_map(|n| numbers(Part::Group { n, of: 3 })).collect();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3, 4]);
    }
}
