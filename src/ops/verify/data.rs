//! Reading everything: each pack's bytes against its name, each frame opened, each chunk id recomputed.

use std::sync::Arc;

use crossbeam_channel::bounded;
use parking_lot::Mutex;

use crate::cache::locations::PackPlace;
use crate::format::names;
use crate::format::state::PackState;
use crate::primitives::ids::ObjectHash;
use crate::primitives::progress::{Observer, Unit};
use crate::repository::{Repository, RepositoryError};

use super::objects::BadObject;
use super::{Part, VerifyReport};

/// What is wrong with a pack: with all of it, or with some frames.
struct PackDamage {
    pack: PackPlace,
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
pub fn check(
    repository: &Arc<Repository>,
    part: Part,
    budget_ms: Option<i64>,
    report: &mut VerifyReport,
    bad: &mut BadObject,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
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
    let packs = chosen(packs, part);
    let began_ms = repository.system.now_ms();
    observer.phase("reading", Some(packs.iter().map(|p| p.len).sum()), Unit::Bytes);
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    let (sender, todo) = bounded::<PackPlace>(1);
    let (wrong, failure) = (Mutex::new(Vec::new()), Mutex::new(None));
    let archived = Mutex::new(Vec::new());
    let mut sent = 0;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (todo, wrong, failure, archived) = (todo.clone(), &wrong, &failure, &archived);
            scope.spawn(move || {
                for pack in todo {
                    if observer.interrupted() {
                        continue;
                    }
                    let (len, row) = (pack.len, pack.row);
                    match check_pack(repository, pack) {
                        Ok(found) => locked(wrong).extend(found),
                        Err(e) if e.archived().is_some() => {
                            locked(archived).extend(e.archived().map(|name| (row, name.to_owned())));
                        }
                        Err(e) => drop(locked(failure).get_or_insert(e)),
                    }
                    observer.advance(len);
                }
            });
        }
        for pack in &packs {
            if budget_ms.is_some_and(|budget| repository.system.now_ms() - began_ms >= budget) {
                break;
            }
            // The threads go on until the channel is closed.
            let _ = sender.send(pack.clone());
            sent += 1;
        }
        drop(sender);
    });
    let packs = &packs[..sent];
    if observer.interrupted() {
        return Err(RepositoryError::Interrupted);
    }
    if let Some(e) = failure.into_inner() {
        return Err(e);
    }
    let mut archived = archived.into_inner();
    archived.sort_by(|a, b| a.1.cmp(&b.1));
    let unread: std::collections::HashSet<i64> = archived.iter().map(|(row, _)| *row).collect();
    report.archived.extend(archived.into_iter().map(|(_, name)| name));
    report.bytes_read += packs.iter().filter(|p| !unread.contains(&p.row)).map(|p| p.len).sum::<u64>();
    let mut wrong = wrong.into_inner();
    if !wrong.is_empty() {
        // What a prune has condemned meanwhile may be gone.
        let state = repository.refresh_by_name()?;
        wrong.retain(|w| state.packs.get(&w.pack.name).is_some_and(PackState::live));
    }
    let affected: std::collections::HashSet<i64> = wrong.iter().map(|w| w.pack.row).collect();
    // What could not be compared with its segment was read, and is not vouched for.
    let unknown: std::collections::HashSet<ObjectHash> = repository.cache().without_content()?.into_iter().collect();
    let is_sound =
        |p: &&PackPlace| !affected.contains(&p.row) && !unread.contains(&p.row) && !unknown.contains(&p.name);
    let sound = packs.iter().filter(is_sound);
    report.sound.extend(sound.map(|p| p.name));
    repository.clear_suspects(&report.sound)?;
    for PackDamage { pack, what, frames } in wrong {
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

fn locked<T>(mutex: &Mutex<T>) -> parking_lot::MutexGuard<'_, T> {
    mutex.lock()
}

fn check_pack(repository: &Repository, place: PackPlace) -> Result<Option<PackDamage>, RepositoryError> {
    let object = names::pack(place.kind, place.run, &place.name);
    let whole = |what: String| Ok(Some(PackDamage { pack: place.clone(), what, frames: None }));
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
    Ok(what.map(|what| PackDamage { pack: place, what, frames: Some(bad_frames) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::names::PackKind;
    use crate::format::pack::DirectoryPlace;
    use crate::primitives::ids::RunId;

    fn packs() -> Vec<(u64, PackPlace)> {
        let pack = |n: u8| PackPlace {
            row: i64::from(n),
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
