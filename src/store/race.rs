//! The race: does the store create an object only if it is absent, when several try at once?
//!
//! A server may ignore the condition, or check it and store without holding anything in between. Asking twice tells
//! the first; only racing tells the second. Everything that keeps machines from overwriting each other's records
//! rests on this.

use std::sync::Barrier;

use bytes::Bytes;

use super::{Created, Store, StoreError, VersionKind, Versions};

/// How many race, and how often. Contended rounds are slow on some servers (seconds), and a server that races loses
/// nearly every one.
const RACERS: usize = 8;
const ROUNDS: usize = 2;

/// Names below which the race leaves its objects, if it may not delete them.
const FOLDER: &str = "probe";

/// Races on fresh names; `salt` makes them fresh.
///
/// [`StoreError::NotConditional`] if more than one won, or if what stands there is not the winner's.
pub fn check_conditional_create(store: &dyn Store, salt: [u8; 16]) -> Result<(), StoreError> {
    let salt: String = salt.iter().map(|b| format!("{b:02x}")).collect();
    for round in 0..ROUNDS {
        let name = format!("{FOLDER}/{salt}-{round}");
        let found = race(store, &name);
        // Those who may only add leave it there; a prune removes it.
        let _ = store.delete(&name).and_then(|()| remove_versions(store, &name));
        if let Some(found) = found? {
            let (location, server) = (store.location(), named(store.server()));
            return Err(StoreError::NotConditional { location, server, found, advice: advice(store) });
        }
    }
    Ok(())
}

/// Removes for good what a bucket with versions keeps of the race: nobody else will.
fn remove_versions(store: &dyn Store, name: &str) -> Result<(), StoreError> {
    let Some(versions) = store.versions().filter(|_| store.has_given_versions()) else { return Ok(()) };
    let mut all = Vec::new();
    versions.list_versions(FOLDER, &mut |version| all.extend((version.name == name).then_some(version)))?;
    // While the marker is there, the object is not.
    all.sort_by_key(|version| version.kind == VersionKind::DeleteMarker);
    all.iter().try_for_each(|version| versions.remove_version(version))
}

/// What to do about a store that lets several win.
pub fn advice(store: &dyn Store) -> &'static str {
    let keeps = |versions: &dyn Versions| versions.keeps_versions().unwrap_or(false);
    match store.has_given_versions() || store.versions().is_some_and(keeps) {
        true => {
            "this bucket keeps versions, and some servers, such as Ceph, do so only without: suspend versioning, use a bucket \
             that never had it, use another server (Amazon S3, SeaweedFS and MinIO do)"
        }
        false => "use another server (Amazon S3, SeaweedFS, MinIO, and Ceph in a bucket without versions, do)",
    }
}

/// What is wrong, if something is.
fn race(store: &dyn Store, name: &str) -> Result<Option<String>, StoreError> {
    let barrier = Barrier::new(RACERS);
    let bytes = |me: usize| Bytes::from(format!("racer {me} of {name}"));
    let answers: Vec<Result<Created, StoreError>> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS)
            .map(|me| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    store.create(name, bytes(me))
                })
            })
            .collect();
        racers.into_iter().map(|r| r.join().expect("a racer does nothing but create")).collect()
    });
    let mut winners = Vec::new();
    let mut unknown = None;
    for (me, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(Created::New) => winners.push(me),
            Ok(Created::AlreadyThere) => {}
            // It may have won, and another than it cannot have then.
            Err(e @ StoreError::Ambiguous { .. }) => unknown = Some(e),
            Err(e) => return Err(e),
        }
    }
    if winners.len() > 1 {
        return Ok(Some(format!("of {RACERS} that tried at once, {} were told that they had", winners.len())));
    }
    let stands = match store.get(name) {
        Ok(bytes) => bytes,
        Err(StoreError::Missing { .. }) => {
            return match unknown {
                // Nobody was told that it had, and nobody had: it does not store at all now.
                Some(unknown) if winners.is_empty() => Err(unknown),
                _ => Ok(Some("after the race nothing stood there".to_owned())),
            };
        }
        Err(e) => return Err(e),
    };
    match (winners.first(), unknown) {
        (Some(winner), _) if stands != bytes(*winner) => Ok(Some("what stood there was not the winner's".to_owned())),
        (None, _) if !(0..RACERS).any(|me| stands == bytes(me)) => Ok(Some("what stood there was nobody's".to_owned())),
        // If nobody was told that it had, the answer was lost on the way, and trying again met the object: whoever
        // creates compares.
        _ => match store.create(name, Bytes::from_static(b"late"))? {
            Created::AlreadyThere => Ok(None),
            Created::New => Ok(Some("what was there was replaced".to_owned())),
        },
    }
}

/// A name for people; some servers are known to be like this.
fn named(server: Option<String>) -> String {
    let Some(server) = server else { return "this server".to_owned() };
    // What calls itself AmazonS3 and fails here is the library that `rclone serve s3` is made of.
    let known =
        [("garage", "Garage"), ("rclone", "rclone"), ("amazons3", "rclone"), ("juicefs", "JuiceFS"), ("s3s", "s3s-fs")];
    let lower = server.to_ascii_lowercase();
    match known.iter().find(|(part, _)| lower.contains(part)) {
        Some((_, name)) => format!("{name} ({server})"),
        None => format!("this server ({server})"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::{Fault, MemoryStore, SimulatedStore, Verb, list_all};

    #[test]
    fn a_sound_store_passes_and_nothing_is_left() {
        let store = MemoryStore::new();
        check_conditional_create(&store, [1; 16]).unwrap();
        assert!(list_all(&store, "").unwrap().is_empty());
    }

    #[test]
    fn a_store_that_takes_nothing_in_is_not_called_unconditional() {
        let store = SimulatedStore::new(Arc::new(MemoryStore::new()));
        store.fail(Some(Verb::Create), "probe/", 0, u64::MAX, Fault::Lost);
        let error = check_conditional_create(&store, [1; 16]).unwrap_err();
        assert!(matches!(error, StoreError::Ambiguous { .. }), "{error}");
    }

    #[test]
    fn servers_are_called_by_the_names_that_people_know() {
        assert_eq!(named(Some("rclone/v1.74".to_owned())), "rclone (rclone/v1.74)");
        assert_eq!(named(Some("AmazonS3".to_owned())), "rclone (AmazonS3)");
        assert_eq!(named(Some("Garage".to_owned())), "Garage (Garage)");
        assert_eq!(named(None), "this server");
    }
}
