//! Reading everything: each pack's bytes against its name, each frame opened, each chunk id recomputed.

use std::sync::{Arc, Mutex};

use crossbeam_channel::bounded;

use crate::formats::names;
use crate::machinery::repository::cache::places::PackPlace;
use crate::machinery::repository::{Repository, RepositoryError};
use crate::words::ids::ObjectHash;
use crate::words::observer::{Observer, Unit};

use super::VerifyReport;
use super::objects::Bad;

/// What is wrong with a pack: with all of it, or with some frames.
struct Wrong {
    pack: PackPlace,
    what: String,
    frames: Option<Vec<u32>>,
}

/// Reads every live pack that is there.
pub fn check(
    repository: &Arc<Repository>,
    report: &mut VerifyReport,
    bad: &mut Bad,
    observer: &dyn Observer,
) -> Result<(), RepositoryError> {
    let state = repository.state();
    let mut packs = Vec::new();
    for (name, pack) in state.packs.iter().filter(|(_, p)| p.live()) {
        match repository.cache().pack_by_name(name)? {
            Some(place) if !bad.packs.contains_key(&place.row) => packs.push(place),
            Some(_) => {}
            None => {
                let object = names::pack(pack.kind, pack.run, name);
                report.find(object, "its directory cannot be read, so its blocks cannot be found");
            }
        }
    }
    observer.phase("reading", Some(packs.iter().map(|p| p.len).sum()), Unit::Bytes);
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    let (sender, todo) = bounded::<PackPlace>(1);
    let (wrong, failure) = (Mutex::new(Vec::new()), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (todo, wrong, failure) = (todo.clone(), &wrong, &failure);
            scope.spawn(move || {
                for pack in todo {
                    if observer.interrupted() {
                        continue;
                    }
                    let len = pack.len;
                    match check_pack(repository, pack) {
                        Ok(found) => locked(wrong).extend(found),
                        Err(e) => drop(locked(failure).get_or_insert(e)),
                    }
                    observer.advance(len);
                }
            });
        }
        for pack in &packs {
            // The threads go on until the channel is closed.
            let _ = sender.send(pack.clone());
        }
        drop(sender);
    });
    if observer.interrupted() {
        return Err(RepositoryError::Interrupted);
    }
    if let Some(e) = failure.into_inner().expect("nothing panics while it holds the lock") {
        return Err(e);
    }
    report.bytes_read += packs.iter().map(|p| p.len).sum::<u64>();
    for Wrong { pack, what, frames } in wrong.into_inner().expect("nothing panics while it holds the lock") {
        let finding = report.find(names::pack(pack.kind, pack.run, &pack.name), what);
        bad.touched.insert(pack.row, finding);
        match frames {
            None => drop(bad.packs.insert(pack.row, finding)),
            Some(frames) => bad.frames.extend(frames.into_iter().map(|f| ((pack.row, f), finding))),
        }
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds the lock")
}

fn check_pack(repository: &Repository, place: PackPlace) -> Result<Option<Wrong>, RepositoryError> {
    let object = names::pack(place.kind, place.run, &place.name);
    let whole = |what: String| Ok(Some(Wrong { pack: place.clone(), what, frames: None }));
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
    Ok(what.map(|what| Wrong { pack: place, what, frames: Some(bad_frames) }))
}
