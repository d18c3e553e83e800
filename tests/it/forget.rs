//! Forget, hold and unhold on whole repositories.

use std::fs;

use crate::harness::{Bench, options, text};
use jiff::tz::TimeZone;
use strongroom::format::record::Role;
use strongroom::ops::backup::{BackupOptions, backup};
use strongroom::ops::forget::policy::{Keep, Period, Policy};
use strongroom::ops::forget::{ForgetError, ForgetOptions, ForgetReport, GroupBy, Which, forget, hold};
use strongroom::ops::verify::{VerifyDepth, verify};
use strongroom::primitives::progress::Silent;
use strongroom::repository::RepositoryError;
use strongroom::repository::snapshots::SnapshotFilter;

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_790_000_000_000;

/// Nights of two hosts.
fn nights(bench: &Bench, count: i64) {
    let root = tempfile::tempdir().unwrap();
    let repository = bench.open();
    for night in 0..count {
        fs::write(root.path().join("a"), text(night as u64, 50_000)).unwrap();
        for host in ["one", "two"] {
            let time_ms = Some(START_MS + night * DAY_MS);
            let options = BackupOptions { host: host.to_owned(), time_ms, ..options(&[root.path()]) };
            backup(&repository, options, &Silent).unwrap();
        }
    }
}

fn policy(rules: Vec<Keep>) -> ForgetOptions {
    ForgetOptions {
        filter: SnapshotFilter::default(),
        group_by: vec![GroupBy::Host, GroupBy::Source],
        which: Which::Policy(Policy::Keep(rules)),
        zone: TimeZone::UTC,
        member_only: false,
        dry_run: false,
    }
}

fn never(_: &ForgetReport) -> bool {
    panic!("nobody is asked")
}

/// CC-20: servers of one service push none of each other's nights out.
#[test]
fn each_machine_keeps_its_own_nights_and_the_rest_is_forgotten_for_everyone() {
    let bench = Bench::new();
    nights(&bench, 6);
    let repository = bench.open();
    let options = policy(vec![Keep::Every(Period::Daily, 4)]);
    let dry = forget(&repository, &ForgetOptions { dry_run: true, ..options.clone() }, &mut never).unwrap();
    assert_eq!((dry.counts(), dry.record), ((8, 4), None));
    assert_eq!(repository.state().snapshots.len(), 12);
    let report = forget(&repository, &options, &mut never).unwrap();
    assert_eq!(report.counts(), (8, 4));
    assert_eq!(report.groups.len(), 2);
    let elsewhere = Bench::beside(bench.store.clone()).open();
    assert_eq!(elsewhere.state().snapshots.len(), 8);
    assert!(elsewhere.snapshots().unwrap().iter().all(|s| s.state.time_ms >= START_MS + 2 * DAY_MS));
    assert_eq!(verify(&elsewhere, VerifyDepth::ReadData, &Silent).unwrap().findings, vec![]);
    // Again there is nothing to do, and nothing is written.
    let number = repository.state().number;
    assert_eq!(forget(&repository, &options, &mut never).unwrap().counts(), (8, 0));
    assert_eq!(repository.state().number, number);
}

#[test]
fn more_than_half_goes_only_if_somebody_agrees() {
    let bench = Bench::new();
    nights(&bench, 5);
    let repository = bench.open();
    let options = policy(vec![Keep::Last(1)]);
    let refused = forget(&repository, &options, &mut |report| {
        assert_eq!(report.counts(), (2, 8));
        false
    });
    assert!(matches!(refused, Err(ForgetError::NotAgreed { going: 8, all: 10 })));
    assert_eq!(repository.state().snapshots.len(), 10);
    forget(&repository, &options, &mut |_| true).unwrap();
    assert_eq!(repository.state().snapshots.len(), 2);
}

#[test]
fn what_is_held_stays_until_it_is_released_and_others_are_not_looked_at() {
    let bench = Bench::new();
    nights(&bench, 4);
    let repository = bench.open();
    let oldest = repository.snapshots().unwrap()[0].id;
    assert_eq!(hold(&repository, &[oldest], true).unwrap(), 1);
    assert_eq!(hold(&repository, &[oldest], true).unwrap(), 0, "it is held already");
    forget(&repository, &policy(vec![Keep::Last(1)]), &mut |_| true).unwrap();
    assert!(repository.state().snapshots.contains_key(&oldest));
    assert_eq!(repository.state().snapshots.len(), 3);
    hold(&repository, &[oldest], false).unwrap();
    let filter = SnapshotFilter { hosts: vec!["nobody".to_owned()], ..SnapshotFilter::default() };
    let other = ForgetOptions { filter, ..policy(vec![Keep::Last(1)]) };
    assert_eq!(forget(&repository, &other, &mut never).unwrap().counts(), (0, 0));
    forget(&repository, &policy(vec![Keep::Last(1)]), &mut |_| true).unwrap();
    assert_eq!(repository.state().snapshots.len(), 2);
}

#[test]
fn only_the_owner_forgets() {
    let bench = Bench::new();
    nights(&bench, 3);
    let machine = bench.machine(Role::Read, "reader");
    let reader = machine.open();
    let error = forget(&reader, &policy(vec![Keep::Last(1)]), &mut |_| true).unwrap_err();
    assert!(matches!(error, ForgetError::Repository(RepositoryError::Conflict { .. })), "{error}");
    assert_eq!(reader.refresh().unwrap().snapshots.len(), 6);
}
