//! The transitions of the commit log: what each record does to the state, the same for everyone.
//!
//! Pure functions of a [`State`] and the next object of the log. [`step`] folds one object: a valid record does
//! all it says, a void one nothing. [`judge`] tells a writer beforehand what everyone will say of its record.
//! Neither reads a store, a clock or a pack; the model checker runs these same functions.
//!
//! # All or nothing, without copying the state
//!
//! A record is judged operation by operation against a draft: a layer above the unchanged state that holds
//! only the entries the record touches, so that later operations see the effect of earlier ones. If one
//! operation is refused the draft is dropped; else its entries are moved into the state. A record costs what it
//! touches, times a logarithm of what there is; a Rewrite also looks once at every run.
//!
//! # Void, or broken
//!
//! *Void* must not depend on who reads, and must not let a hostile writer stop the log. Whatever a writer can put
//! at the next number by itself is therefore void: bytes that cannot be opened or decoded, a signature that does
//! not match, a stranger, a broken rule. A client stops ([`Broken`]) only for what no one but the owner can
//! cause:
//!
//! - A record whose `previous` or `previous_valid` is not what we hold is a claim that our history is damaged or
//!   forked. **The owner's claim is believed** and stops us. The same claim by a backup credential makes its
//!   record void ([`VoidReason::WrongPrevious`], [`VoidReason::WrongVerdict`]) and is reported: a machine that
//!   was broken into could otherwise stop every other one with one false word. Nothing is lost by this: if the
//!   fork is real, the next record of the owner says so too.
//! - The claim must be made *for this number*. Anyone with write access can copy an old record of the owner to
//!   the next number; its signature holds, and its `previous` is of course wrong. A record that states another
//!   number than the one it stands at is void, whoever signed it, before its claims are looked at.
//! - Whoever signed it, a record that was made for another history or another number shows that somebody lies, or that an
//!   object of the log was exchanged. It is kept in `State::contradicted`: until the owner has settled it, nothing is
//!   deleted on the word of this history.
//! - A newer format stops us, and bytes that fail their own checksum are damage; neither can be judged. (Both
//!   can be put there by a hostile writer. The log's reader decides what to do about that; here, a guess would
//!   make two clients disagree.)
//!
//! # What the hash covers
//!
//! `State::hash` is what the next record must name. After a valid record it is the hash of its bytes, and as
//! those contain the hash before them, it covers all history. The bytes of a *void* record contain nothing that
//! can be relied on: if the next record named them alone, what precedes them would no longer be covered, and a
//! hostile store with one hostile writer could exchange, say, a Revoke for garbage unseen. So after a void
//! record the hash is that of the hash before it and of its bytes ([`head`]). That also binds the verdict: two
//! clients that ever disagreed about any record have different heads from there on.
//!
//! # What must never come back
//!
//! - A *run* cannot: its id is the number of its record.
//! - A *pack or segment* is named by run and hash, and only its open run can publish it. While the run is open
//!   a condemned name must be remembered; so `Swept` names only packs and segments of runs that are over, and
//!   then their entries can be dropped, because nothing can publish that name again.
//! - A *snapshot id* must not: a file cache that has read under a snapshot reuses content unread as long as that
//!   id is live. If an id could be forgotten and then published again, content deleted in between would be
//!   reused. So forgotten ids are remembered (`State::forgotten`).
//! - An *operation id* of a valid record; a *credential*, revoked or not.

use crate::crypto::sign::Verifier;
use crate::format::envelope::FormatError;
use crate::format::record::{Operation, RECORD_VERSION, Record, Role, SignedRecord};
use crate::format::state::State;
use crate::primitives::ids::{CredentialId, ObjectHash};

mod credentials;
mod maintenance;
mod publish;
mod queries;
mod rewrite;
mod runs;
mod snapshots;
mod staged;
mod void_reason;

#[cfg(test)]
mod random;
#[cfg(test)]
mod testing;

pub use queries::{Sweepable, condemnable, condemnable_packs, covered, oldest_other_open_run, orphaned, sweepable};
pub use rewrite::newest_doom;
use staged::{Changes, Staged};
pub use void_reason::VoidReason;

const HEAD_CONTEXT: &str = "strongroom 2026-11 head of the log after a void record";

/// A record with a signature that can be checked. The model checker brings its own, without cryptography.
pub trait Signed {
    /// What the record says.
    fn record(&self) -> &Record;
    /// Whether the key of `verifier` signed it.
    fn signed_by(&self, verifier: &Verifier) -> bool;
}

impl Signed for SignedRecord {
    fn record(&self) -> &Record {
        &self.record
    }

    fn signed_by(&self, verifier: &Verifier) -> bool {
        self.verify(verifier).is_ok()
    }
}

/// The object that stands at a number of the log.
#[derive(Clone, Copy)]
pub struct LogEntry<'a> {
    /// The number in its name.
    pub number: u64,
    /// BLAKE3 of its bytes.
    pub hash: ObjectHash,
    /// The record, or why its bytes are none. The error must follow from the bytes alone, never from which keys
    /// the reader happens to hold.
    pub content: Result<&'a dyn Signed, &'a FormatError>,
}

/// What everyone holds of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It did what it says.
    Valid,
    /// It did nothing.
    Void(VoidReason),
}

impl Verdict {
    /// Whether the record did what it says.
    pub fn is_valid(&self) -> bool {
        *self == Self::Valid
    }
}

/// Why the log cannot be followed: damage or a fork, not a void record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The caller skipped a record or folds one twice.
    #[error("record {found} was given where record {expected} comes next")]
    NotNext {
        /// Number of the record that comes next.
        expected: u64,
        /// Number of the record that was given.
        found: u64,
    },
    /// The owner names another history.
    #[error("record {number} is signed by the owner and follows another history: it names {stated}, ours is {ours}")]
    WrongPrevious {
        /// Number of the record that says so.
        number: u64,
        /// What it names.
        stated: ObjectHash,
        /// What we hold.
        ours: ObjectHash,
    },
    /// The owner judges the record before otherwise than we do.
    #[error(
        "record {number} is signed by the owner and holds the one before it to be {}, we do not",
        if *.stated { "valid" } else { "void" }
    )]
    WrongVerdict {
        /// Number of the record that says so.
        number: u64,
        /// Whether it holds the record before it to be valid.
        stated: bool,
    },
    /// Written by a newer program.
    #[error("record {number} was written by a newer program (version {version})")]
    Newer {
        /// Its number.
        number: u64,
        /// Its version.
        version: u32,
    },
    /// The bytes are not those that were written.
    #[error("record {0} is damaged: its bytes do not match their checksum")]
    Damaged(u64),
}

/// Folds the object that stands at the next number into the state.
///
/// A void record changes nothing but `number`, `hash`, `valid`, `void` and `contradicted`. On an error nothing changes.
pub fn step(state: &mut State, entry: &LogEntry<'_>) -> Result<Verdict, Broken> {
    let expected = state.number.saturating_add(1);
    if entry.number != expected || state.number == u64::MAX {
        return Err(Broken::NotNext { expected, found: entry.number });
    }
    let verdict = match examine(state, entry)? {
        Ok(changes) => {
            changes.apply(state);
            Verdict::Valid
        }
        Err(reason) => {
            state.void.insert(entry.number);
            if let Some(writer) = signed_for_another_place(&reason, entry) {
                state.contradicted.insert(entry.number, writer);
            }
            Verdict::Void(reason)
        }
    };
    state.number = entry.number;
    state.valid = verdict.is_valid();
    state.hash = head(&state.hash, &entry.hash, state.valid);
    Ok(verdict)
}

/// Who signed the record, if it is void because it was made for another history or another number. Nobody who abides by
/// the rules leaves one here: either its writer lies, or an object before it, or this one, was exchanged.
fn signed_for_another_place(reason: &VoidReason, entry: &LogEntry<'_>) -> Option<CredentialId> {
    let contradicts = matches!(
        reason,
        VoidReason::WrongPrevious { .. } | VoidReason::WrongVerdict { .. } | VoidReason::WrongNumber { .. }
    );
    entry.content.ok().filter(|_| contradicts).map(|signed| signed.record().writer)
}

/// As [`step`], into a new state: for model checkers, which keep the old one.
pub fn next(state: &State, entry: &LogEntry<'_>) -> Result<(State, Verdict), Broken> {
    let mut state = state.clone();
    let verdict = step(&mut state, entry)?;
    Ok((state, verdict))
}

/// Whether the record would be valid as the next one, its signature taken for granted.
///
/// For whoever is about to append it: `Ok` promises that everyone will hold it to be valid if it comes to stand
/// at the next number.
pub fn judge(state: &State, record: &Record) -> Result<(), VoidReason> {
    staged(state, record).map(drop)
}

/// What the record after this one must name as `previous`, from what this one had to name and the hash of its
/// bytes.
pub fn head(previous: &ObjectHash, bytes: &ObjectHash, valid: bool) -> ObjectHash {
    if valid {
        return *bytes;
    }
    let mut hasher = blake3::Hasher::new_derive_key(HEAD_CONTEXT);
    hasher.update(&previous.0).update(&bytes.0);
    ObjectHash(*hasher.finalize().as_bytes())
}

/// The key that checks what `writer` signs now, and its role; `None` if it is unknown or revoked.
pub fn verifier(state: &State, writer: CredentialId) -> Option<(Verifier, Role)> {
    if writer == state.owner.id() {
        return Some((state.owner, Role::Owner));
    }
    let known = state.credentials.get(&writer).filter(|c| c.revoked.is_none())?;
    Some((known.certificate.verifier, known.certificate.role))
}

fn examine(state: &State, entry: &LogEntry<'_>) -> Result<Result<Changes, VoidReason>, Broken> {
    let number = entry.number;
    if state.settled.strays.get(&number) == Some(&entry.hash) {
        return Ok(Err(VoidReason::Stray));
    }
    let signed = match entry.content {
        Ok(signed) => signed,
        Err(FormatError::Newer { version }) => return Err(Broken::Newer { number, version: (*version).into() }),
        Err(FormatError::Checksum) => return Err(Broken::Damaged(number)),
        Err(error) => return Ok(Err(VoidReason::Unreadable(error.clone()))),
    };
    let record = signed.record();
    let Some((verifier, role)) = verifier(state, record.writer) else {
        return Ok(Err(stranger(state, record.writer)));
    };
    if !signed.signed_by(&verifier) {
        return Ok(Err(VoidReason::Signature(record.writer)));
    }
    if record.version > RECORD_VERSION {
        return Err(Broken::Newer { number, version: record.version });
    }
    // Only now, and only for a record that was made for this number, is a claim of the owner's a claim.
    if role == Role::Owner && record.number == number {
        believe(state, record)?;
    }
    Ok(staged(state, record))
}

/// The owner's word on our history.
fn believe(state: &State, record: &Record) -> Result<(), Broken> {
    let number = record.number;
    if record.previous != state.hash {
        return Err(Broken::WrongPrevious { number, stated: record.previous, ours: state.hash });
    }
    if record.previous_valid != state.valid {
        return Err(Broken::WrongVerdict { number, stated: record.previous_valid });
    }
    Ok(())
}

fn stranger(state: &State, writer: CredentialId) -> VoidReason {
    match state.credentials.contains_key(&writer) {
        true => VoidReason::RevokedWriter(writer),
        false => VoidReason::UnknownWriter(writer),
    }
}

/// What the record does, if it is valid.
fn staged(state: &State, record: &Record) -> Result<Changes, VoidReason> {
    check_record(state, record)?;
    let mut staged = Staged::new(state, record);
    for operation in &record.operations {
        apply(&mut staged, operation)?;
    }
    Ok(staged.finish(record.operation))
}

/// The rules for a record as a whole.
fn check_record(state: &State, record: &Record) -> Result<(), VoidReason> {
    let writer = record.writer;
    match verifier(state, writer) {
        None => return Err(stranger(state, writer)),
        Some((_, Role::Read)) => return Err(VoidReason::NotAllowed { writer, what: "sign records" }),
        Some(_) => {}
    }
    if record.version != RECORD_VERSION {
        return Err(VoidReason::Version(record.version));
    }
    if Some(record.number) != state.number.checked_add(1) {
        return Err(VoidReason::WrongNumber { stated: record.number, follows: state.number });
    }
    if record.previous != state.hash {
        return Err(VoidReason::WrongPrevious { writer, stated: record.previous });
    }
    if record.previous_valid != state.valid {
        return Err(VoidReason::WrongVerdict { writer, stated: record.previous_valid });
    }
    if state.operations.contains(&record.operation) {
        return Err(VoidReason::RepeatedOperation(record.operation));
    }
    Ok(())
}

fn apply(staged: &mut Staged<'_>, operation: &Operation) -> Result<(), VoidReason> {
    match operation {
        Operation::Begin { kind, host, .. } => runs::begin(staged, *kind, *host),
        Operation::End { run, outcome, .. } => runs::end(staged, *run, *outcome),
        Operation::Publish { run, packs, segments, inline, snapshots } => {
            let arrival = publish::Arrival { run: *run, packs, segments, inline: inline.as_ref() };
            publish::publish(staged, &arrival, snapshots)
        }
        Operation::Close { run } => runs::close(staged, *run),
        Operation::Forget { snapshots } => snapshots::forget(staged, snapshots),
        Operation::Hold { snapshots } => snapshots::hold(staged, snapshots, true),
        Operation::Unhold { snapshots } => snapshots::hold(staged, snapshots, false),
        Operation::Doom { packs } => rewrite::doom(staged, packs),
        Operation::Rewrite { run, packs, segments, inline, condemned_packs, condemned_segments } => {
            let arrival = publish::Arrival { run: *run, packs, segments, inline: inline.as_ref() };
            rewrite::rewrite(staged, &arrival, condemned_packs, condemned_segments)
        }
        Operation::Lost { packs, damaged } => maintenance::lost(staged, packs, damaged),
        Operation::Vouch { packs } => maintenance::vouch(staged, packs),
        Operation::Swept { packs, segments, orphans } => maintenance::swept(staged, packs, segments, orphans),
        Operation::Credential { certificate } => credentials::admit(staged, certificate),
        Operation::Revoke { credential, epoch, public, sealed } => {
            let next = credentials::NextEpoch { epoch: *epoch, public: *public, sealed };
            credentials::revoke(staged, *credential, next)
        }
        Operation::Healed { snapshots } => snapshots::healed(staged, snapshots),
        Operation::Note { .. } => Ok(()),
        Operation::Beyond { run } => maintenance::beyond(staged, *run),
        Operation::Settle { strays, run } => maintenance::settle(staged, strays, *run),
        Operation::Found { packs } => maintenance::found(staged, packs),
    }
}

#[cfg(test)]
mod tests;
