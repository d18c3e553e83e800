use std::hash::{DefaultHasher, Hash, Hasher};

use super::testing::*;
use super::*;
use crate::crypto::keys::{Domain, Epoch};
use crate::crypto::secret::Secret;
use crate::crypto::sign::Signer;
use crate::format::record::RunKind;
use crate::primitives::ids::{OperationId, RunId};

fn digest(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn try_step(scene: &mut Scene, record: Record, signed: bool) -> Result<Verdict, Broken> {
    let (number, plain) = (scene.state.number + 1, Plain(record, signed));
    step(&mut scene.state, &LogEntry { number, hash: name(99), content: Ok(&plain) })
}

#[test]
fn equal_histories_make_equal_states_with_equal_hashes() {
    let build = |last: Operation| {
        let mut scene = Scene::new();
        let run = scene.ok(ALICE, vec![begin(RunKind::Backup, 1)]);
        scene.ok(ALICE, vec![publish(run, &[1, 2], vec![snapshot(1, &[], 1, 9)]), end(run)]);
        scene.ok(OWNER, vec![last]);
        scene.state
    };
    let hold = || Operation::Hold { snapshots: snaps(&[1]) };
    assert_eq!(build(hold()), build(hold()));
    assert_eq!(digest(&build(hold())), digest(&build(hold())));
    assert_ne!(digest(&build(hold())), digest(&build(note())));
}

#[test]
fn next_leaves_the_old_state_alone_and_agrees_with_step() {
    let mut scene = Scene::new();
    let old = scene.state.clone();
    let plain = Plain(scene.record(ALICE, vec![begin(RunKind::Backup, 1)]), true);
    let entry = LogEntry { number: 2, hash: name(7), content: Ok(&plain) };
    let (state, verdict) = next(&old, &entry).unwrap();
    assert_eq!((verdict, step(&mut scene.state, &entry).unwrap()), (Verdict::Valid, Verdict::Valid));
    assert_eq!(scene.state, state);
    assert_eq!(old.number, 1);
}

/// A machine that was broken into puts whatever it likes at the next number; the log goes on.
#[test]
fn an_object_that_is_no_record_is_void_and_the_log_goes_on() {
    for error in [FormatError::NotOurs, FormatError::WrongKey, FormatError::Forged, FormatError::Signature] {
        let mut scene = Scene::new();
        let before = scene.state.clone();
        let entry = LogEntry { number: 2, hash: name(5), content: Err(&error) };
        assert_eq!(step(&mut scene.state, &entry), Ok(Verdict::Void(VoidReason::Unreadable(error.clone()))));
        assert_nothing_done(&before, &scene.state);
        scene.ok(OWNER, vec![note()]);
    }
}

#[test]
fn a_damaged_a_newer_and_an_unexpected_object_stop_the_fold_and_change_nothing() {
    let mut scene = Scene::new();
    let before = scene.state.clone();
    let mut fold = |number, error| step(&mut scene.state, &LogEntry { number, hash: name(5), content: Err(&error) });
    assert_eq!(fold(2, FormatError::Checksum), Err(Broken::Damaged(2)));
    assert_eq!(fold(2, FormatError::Newer { version: 3 }), Err(Broken::Newer { number: 2, version: 3 }));
    assert_eq!(fold(3, FormatError::Forged), Err(Broken::NotNext { expected: 2, found: 3 }));
    assert_eq!(fold(1, FormatError::Forged), Err(Broken::NotNext { expected: 2, found: 1 }));
    let newer = Record { version: RECORD_VERSION + 1, ..scene.record(OWNER, vec![]) };
    assert_eq!(try_step(&mut scene, newer, true), Err(Broken::Newer { number: 2, version: RECORD_VERSION + 1 }));
    assert_eq!(scene.state, before);
}

#[test]
fn the_owner_s_word_on_another_history_stops_us() {
    let mut scene = Scene::new();
    let before = scene.state.clone();
    let forked = Record { previous: name(1), ..scene.record(OWNER, vec![]) };
    let broken = Broken::WrongPrevious { number: 2, stated: name(1), ours: before.hash };
    assert_eq!(try_step(&mut scene, forked, true), Err(broken));
    let verdict = Record { previous_valid: false, ..scene.record(OWNER, vec![]) };
    assert_eq!(try_step(&mut scene, verdict, true), Err(Broken::WrongVerdict { number: 2, stated: false }));
    assert_eq!(scene.state, before);
}

/// A backup machine that was broken into signs a false `previous`: were it believed, everyone would stop.
#[test]
fn a_backup_credential_s_word_on_another_history_is_void() {
    let mut scene = Scene::new();
    let writer = ALICE.id();
    let forked = Record { previous: name(1), ..scene.record(ALICE, vec![]) };
    assert_eq!(scene.fold(forked), Verdict::Void(VoidReason::WrongPrevious { writer, stated: name(1) }));
    let verdict = Record { previous_valid: true, ..scene.record(ALICE, vec![]) };
    assert_eq!(scene.fold(verdict), Verdict::Void(VoidReason::WrongVerdict { writer, stated: true }));
    scene.ok(OWNER, vec![note()]);
}

/// Anyone who can write can copy an old record of the owner to the next number. Its signature holds and its
/// `previous` does not; taken for the owner's word it would stop everyone.
#[test]
fn an_old_record_of_the_owner_copied_to_the_next_number_is_void() {
    let mut scene = Scene::new();
    let old = scene.record(OWNER, vec![note()]);
    scene.fold(old.clone());
    let reason = VoidReason::WrongNumber { stated: 2, follows: 2 };
    assert_eq!(scene.fold(old), Verdict::Void(reason));
}

#[test]
fn a_record_by_someone_who_may_not_sign_is_void() {
    let mut scene = Scene::new();
    let read = VoidReason::NotAllowed { writer: RITA.id(), what: "sign records" };
    scene.void(RITA, vec![note()], read);
    let nobody = Verifier([99; 32]);
    scene.void(nobody, vec![note()], VoidReason::UnknownWriter(nobody.id()));
    scene.ok(OWNER, vec![revoke(BOB, 1)]);
    scene.void(BOB, vec![note()], VoidReason::RevokedWriter(BOB.id()));
    assert_eq!(verifier(&scene.state, BOB.id()), None);
    assert_eq!(verifier(&scene.state, ALICE.id()), Some((ALICE, Role::Backup)));
    assert_eq!(verifier(&scene.state, OWNER.id()), Some((OWNER, Role::Owner)));
}

/// Without the signature even the owner's name claims nothing.
#[test]
fn a_forged_record_is_void_whatever_it_claims() {
    let mut scene = Scene::new();
    for writer in [OWNER, ALICE] {
        let forged = Record { previous: name(1), ..scene.record(writer, vec![]) };
        assert_eq!(try_step(&mut scene, forged, false), Ok(Verdict::Void(VoidReason::Signature(writer.id()))));
    }
}

#[test]
fn a_real_signature_is_checked() {
    let (owner, stranger) = (Signer::new(&Secret::new([1; 32])), Signer::new(&Secret::new([2; 32])));
    let secret = Secret::new([3; 32]);
    let sealing =
        crate::format::sealed::Sealing { secret: &secret, encapsulation: None, domain: Domain(0), epoch: Epoch(0) };
    let scene = Scene { state: State::new(owner.public(), name(0)) };
    let record = scene.record(owner.public(), vec![note()]);
    for (signer, verdict) in
        [(&owner, Verdict::Valid), (&stranger, Verdict::Void(VoidReason::Signature(owner.public().id())))]
    {
        let bytes = record.encode(signer, &sealing, [4; 32]);
        let signed = SignedRecord::decode(&bytes, |_| Ok(secret.clone())).unwrap();
        let entry = LogEntry { number: 1, hash: signed.hash, content: Ok(&signed) };
        assert_eq!(next(&scene.state, &entry).unwrap().1, verdict);
    }
}

#[test]
fn a_repeated_operation_is_void_and_a_void_one_may_be_repeated() {
    let mut scene = Scene::new();
    let with =
        |scene: &Scene, operations| Record { operation: OperationId([5; 16]), ..scene.record(ALICE, operations) };
    let first = with(&scene, vec![end(9)]);
    assert_eq!(scene.fold(first), Verdict::Void(VoidReason::RunNotOpen(RunId(9))));
    let again = with(&scene, vec![note()]);
    assert_eq!(scene.fold(again), Verdict::Valid);
    let repeated = with(&scene, vec![note()]);
    assert_eq!(scene.fold(repeated), Verdict::Void(VoidReason::RepeatedOperation(OperationId([5; 16]))));
}

#[test]
fn a_record_of_a_version_that_never_was_is_void() {
    let mut scene = Scene::new();
    let record = Record { version: 0, ..scene.record(OWNER, vec![]) };
    assert_eq!(scene.fold(record), Verdict::Void(VoidReason::Version(0)));
}

#[test]
fn judge_refuses_a_record_that_was_made_for_an_earlier_head() {
    let mut scene = Scene::new();
    let stale = scene.record(ALICE, vec![begin(RunKind::Backup, 1)]);
    scene.ok(BOB, vec![note()]);
    assert_eq!(judge(&scene.state, &stale), Err(VoidReason::WrongNumber { stated: 2, follows: 2 }));
}

/// The first operations of a record are undone with the one that is refused.
#[test]
fn a_record_is_all_or_nothing() {
    let mut scene = Scene::new();
    let run = scene.state.number + 1;
    let operations = vec![
        begin(RunKind::Backup, 1),
        publish(run, &[1], vec![snapshot(1, &[], 1, 1)]),
        end(run),
        publish(run, &[2], vec![]),
    ];
    scene.void(ALICE, operations, VoidReason::RunNotOpen(RunId(run)));
}

/// A hostile store and a hostile writer replace a record of the owner by garbage, and append more garbage. Were
/// the next `previous` the hash of the last garbage alone, the exchange would never be noticed.
#[test]
fn the_head_covers_what_stands_before_a_void_record() {
    let garbage = FormatError::Forged;
    let fold = |scene: &mut Scene, hash| {
        let number = scene.state.number + 1;
        step(&mut scene.state, &LogEntry { number, hash, content: Err(&garbage) }).unwrap();
    };
    let (mut ours, mut theirs) = (Scene::new(), Scene::new());
    ours.ok(OWNER, vec![revoke(ALICE, 1)]);
    fold(&mut theirs, name(50));
    fold(&mut ours, name(51));
    fold(&mut theirs, name(51));
    assert_ne!(ours.state.hash, theirs.state.hash);
    let record = ours.record(OWNER, vec![note()]);
    assert!(matches!(try_step(&mut theirs, record, true), Err(Broken::WrongPrevious { number: 4, .. })));
}

#[test]
fn reasons_name_the_thing() {
    let texts = [
        (VoidReason::RunNotOpen(RunId(12)).to_string(), "run 12 is not open"),
        (VoidReason::Held(snap(0xab12_0000_0000_0000)).to_string(), "snapshot ab120000 is held"),
        (
            Broken::WrongVerdict { number: 3, stated: true }.to_string(),
            "record 3 is signed by the owner and holds the one before it to be valid, we do not",
        ),
    ];
    for (text, expected) in texts {
        assert_eq!(text, expected);
    }
}

/// 20,000 records with 100,000 packs. A third of a second without optimization; a copy of the state per record
/// would take hours.
#[test]
fn folding_costs_what_a_record_touches() {
    let mut state = Scene::new().state;
    let record = Scene { state: state.clone() }.record(ALICE, vec![begin(RunKind::Backup, 1)]);
    let mut append = |operations: Vec<Operation>| {
        let number = state.number + 1;
        let operation = OperationId(u128::from(number).to_be_bytes());
        let (previous, previous_valid) = (state.hash, state.valid);
        let plain = Plain(Record { number, previous, previous_valid, operation, operations, ..record.clone() }, true);
        let entry = LogEntry { number, hash: name(number), content: Ok(&plain) };
        assert!(step(&mut state, &entry).unwrap().is_valid());
    };
    append(vec![begin(RunKind::Backup, 1)]);
    for n in 0..20_000u64 {
        let packs: Vec<u64> = (n * 5..n * 5 + 5).map(|p| p.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        append(vec![publish(2, &packs, vec![])]);
    }
    assert_eq!(state.packs.len(), 100_000);
}
