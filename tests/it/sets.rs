//! Sets: what one run saved of several sources is listed, kept and forgotten together.

use std::io::Cursor;
use std::sync::Arc;

use crate::harness::story::{sound, thorough};
use crate::harness::{Bench, names, options};
use crate::program::Strongroom;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use strongroom::format::record::Outcome;
use strongroom::ops::backup::{BackupOptions, Follower, Job, SourceReport, StreamSource, backup};
use strongroom::ops::copy::{CopyOptions, copy};
use strongroom::ops::forget::policy::{Keep, Policy};
use strongroom::ops::forget::{ForgetOptions, ForgetReport, GroupBy, Which, forget};
use strongroom::ops::repair::repair;
use strongroom::primitives::progress::Silent;
use strongroom::repository::per_source::{PerSource, newest_of_each};
use strongroom::repository::sets::{Set, SetFilter, SetTime, choose_set, sets};
use strongroom::repository::snapshots::{ChoiceError, Snapshot, SnapshotFilter, SnapshotName};
use strongroom::store::{Damage, MemoryStore, SimulatedStore};

const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_790_000_000_000;

/// One night of a job; a source that fails is written with a `!`.
fn night(bench: &Bench, night: i64, job: &str, job_type: &str, sources: &[&str]) {
    let streams = sources.iter().map(|name| StreamSource::Reader {
        name: name.trim_end_matches('!').to_owned(),
        reader: Box::new(Cursor::new(if name.ends_with('!') {
            Vec::new()
        } else {
            format!("{name} of night {night}").into_bytes()
        })),
    });
    let streams = streams.collect();
    let job = Some(Job {
        name: job.to_owned(),
        job_type: job_type.to_owned(),
        notes: None,
        records: Vec::new(),
        alone: false,
    });
    let options = BackupOptions { streams, job, time_ms: Some(START_MS + night * DAY_MS), ..options(&[]) };
    backup(&bench.open(), options, &Silent).unwrap();
}

fn keep_last(bench: &Bench, n: u32) -> ForgetReport {
    let options = ForgetOptions {
        filter: SnapshotFilter::default(),
        group_by: vec![GroupBy::Host, GroupBy::Source],
        which: Which::Policy(Policy::Keep(vec![Keep::Last(n)])),
        zone: TimeZone::UTC,
        member_only: false,
        dry_run: false,
    };
    forget(&bench.open(), &options, &mut |_| true).unwrap()
}

/// Each set that is left: its night, and its sources.
fn left(bench: &Bench) -> Vec<(i64, Vec<String>)> {
    let told = |set: &Set| {
        let sources = set.members.iter().map(|s| s.described.source.clone()).collect();
        ((set.time_ms() - START_MS) / DAY_MS, sources)
    };
    sets(bench.open().snapshots().unwrap()).iter().map(told).collect()
}

/// DSS-14: govern's database and its data directory never part: retention keeps or forgets whole sets.
#[test]
fn sets_are_kept_and_forgotten_whole() {
    let bench = Bench::new();
    (0..5).for_each(|n| night(&bench, n, "dss", "Daily", &["govern", "data"]));
    let report = keep_last(&bench, 2);
    assert_eq!((report.counts(), report.groups.len()), ((4, 6), 1));
    assert_eq!(report.groups[0].name, "host testhost, job dss, type Daily");
    let both = vec!["govern".to_owned(), "data".to_owned()];
    assert_eq!(left(&bench), vec![(3, both.clone()), (4, both)]);
    sound(&bench.open());
}

/// A database was dropped: tonight's sets lack it, and its last dump is all there is.
#[test]
fn the_newest_good_member_of_a_source_stays_with_its_set() {
    let bench = Bench::new();
    night(&bench, 0, "idp", "Daily", &["fence", "audit"]);
    night(&bench, 1, "idp", "Daily", &["fence", "audit"]);
    (2..32).for_each(|n| {
        night(&bench, n, "idp", "Daily", &["fence"]);
        keep_last(&bench, 2);
    });
    let nights: Vec<i64> = left(&bench).into_iter().map(|(night, _)| night).collect();
    assert_eq!(nights, [1, 30, 31]);
    let report = keep_last(&bench, 2);
    let reasons = |at: usize| report.groups[0].snapshots[at].1.reasons.join();
    assert_eq!(reasons(2), "newest of source audit");
}

/// What a backup tells while it runs.
struct Told {
    bench: Bench,
    events: Mutex<Vec<String>>,
}

impl Follower for Told {
    fn begins(&self, sources: &[String]) {
        self.events.lock().push(format!("begins {}", sources.join(" ")));
    }

    fn saved(&self, report: &SourceReport) {
        let is_published = report.snapshot.is_none_or(|id| self.bench.open().state().snapshots.contains_key(&id));
        assert!(is_published, "{} is told before it is published", report.source);
        self.events.lock().push(format!("saved {}", report.source));
    }

    fn ended(&self, source: &str) {
        self.events.lock().push(format!("ended {source}"));
    }
}

/// MYDB-6: small streams wait to be published together. Nobody is told that one is saved before it is: a run that is killed
/// then would have a snapshot in the journal that is nowhere else.
#[test]
fn what_is_saved_is_told_once_it_is_published() {
    let bench = Bench::new();
    let events = Mutex::new(Vec::new());
    let told = Arc::new(Told { bench: Bench::beside(bench.store.clone()), events });
    let stream = |name: &str, text: &str| StreamSource::Reader {
        name: name.to_owned(),
        reader: Box::new(Cursor::new(text.to_owned().into_bytes())),
    };
    let streams = vec![stream("a", "1"), stream("empty", ""), stream("b", "2")];
    let job =
        Some(Job { name: "j".to_owned(), job_type: "Daily".to_owned(), notes: None, records: vec![], alone: false });
    let options = BackupOptions { streams, job, follower: Some(told.clone()), ..options(&[]) };
    backup(&bench.open(), options, &Silent).unwrap();
    // The one that failed waits for nothing.
    let events = ["begins a empty b", "saved empty", "ended empty", "saved a", "ended a", "saved b", "ended b"];
    assert_eq!(*told.events.lock(), events);
}

/// The newest dump of a database that was dropped is damaged: the good one before it stays, and so does the damaged one,
/// of which the rest can be restored. It stood in the place of the good one, which went.
#[test]
fn a_damaged_member_takes_the_place_of_no_good_one() {
    let store = Arc::new(SimulatedStore::new(Arc::new(MemoryStore::new())));
    let bench = Bench::on(store.clone());
    night(&bench, 0, "idp", "Daily", &["fence", "audit"]);
    let before = names(&*store, "data");
    night(&bench, 1, "idp", "Daily", &["fence", "audit"]);
    for lost in names(&*store, "data").iter().filter(|name| !before.contains(name)) {
        store.damage(lost, Damage::Delete).unwrap();
    }
    assert_eq!(repair(&bench.open(), &thorough(), &Silent).unwrap().damaged.len(), 2);
    let nights = |bench: &Bench| left(bench).into_iter().map(|(night, _)| night).collect::<Vec<_>>();
    keep_last(&bench, 1);
    assert_eq!(nights(&bench), [0, 1], "nothing newer is good");
    (2..5).for_each(|n| night(&bench, n, "idp", "Daily", &["fence"]));
    let report = keep_last(&bench, 1);
    assert_eq!(nights(&bench), [0, 1, 4]);
    let reasons: Vec<String> = report.groups[0].snapshots.iter().map(|(_, d)| d.reasons.join()).collect();
    assert!(reasons.contains(&"newest of source audit, but damaged".to_owned()), "{reasons:?}");
    assert!(reasons.contains(&"newest of source audit".to_owned()), "{reasons:?}");
    // Nobody is given a damaged set unasked.
    let all = sets(bench.open().snapshots().unwrap()).into_iter().filter(|set| set.time_ms() < START_MS + 2 * DAY_MS);
    let chosen =
        choose_set(all.collect(), &SnapshotName::Latest(0), &SetFilter::default(), START_MS + 10 * DAY_MS).unwrap();
    assert_eq!((chosen.set.time_ms(), chosen.newer.len()), (START_MS, 1));
}

trait Join {
    fn join(&self) -> String;
}

impl Join for Vec<String> {
    fn join(&self) -> String {
        self[..].join("; ")
    }
}

/// A set without one of its sources is partial: it fills no count, and never pushes a whole one out.
#[test]
fn a_partial_set_fills_no_count() {
    let bench = Bench::new();
    night(&bench, 0, "idp", "Daily", &["fence", "audit"]);
    night(&bench, 1, "idp", "Daily", &["fence", "audit!"]);
    night(&bench, 2, "idp", "Daily", &["fence", "audit!"]);
    let all = sets(bench.open().snapshots().unwrap());
    assert_eq!(
        all.iter().map(Set::outcome).collect::<Vec<_>>(),
        [Outcome::Complete, Outcome::Partial, Outcome::Partial]
    );
    assert_eq!(all[1].missing(), ["audit"]);
    keep_last(&bench, 1);
    let nights = |bench: &Bench| left(bench).into_iter().map(|(night, _)| night).collect::<Vec<_>>();
    assert_eq!(nights(&bench), [0, 1, 2], "nothing newer is whole");
    night(&bench, 3, "idp", "Daily", &["fence", "audit"]);
    keep_last(&bench, 1);
    assert_eq!(nights(&bench), [3]);
}

/// A run by hand must not push the nights out.
#[test]
fn types_of_a_job_do_not_push_each_other_out() {
    let bench = Bench::new();
    night(&bench, 0, "mydb", "Daily", &["a"]);
    (1..4).for_each(|n| night(&bench, n, "mydb", "User", &["a"]));
    assert_eq!(keep_last(&bench, 2).counts(), (3, 1));
    assert_eq!(left(&bench).iter().map(|(night, _)| *night).collect::<Vec<_>>(), [0, 2, 3]);
}

/// A source that was run alone is the latest of the source, and no set of the job: neither a restore of the job nor its
/// counts take it for one. Three runs of one database by hand pushed the nights out.
#[test]
fn what_was_saved_alone_is_no_set_of_the_job() {
    let sr = Strongroom::init();
    let folder = sr.folder.path().display().to_string();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\" }}\n[jobs.idp]\nrepository = \"main\"\n[jobs.idp.sources]\n\
         fence = {{ kind = \"command\", file = \"f\", command = \"date +%N\" }}\n\
         audit = {{ kind = \"command\", file = \"a\", command = \"date +%N\" }}\n"
    );
    let at = sr.write("strongroom.toml", text);
    std::fs::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let run = |names: &[&str]| sr.expect(0, &[&["run", "--config", "strongroom.toml"], names].concat());
    run(&["idp"]);
    (0..3).for_each(|_| drop(run(&["idp/fence"])));
    sr.expect(0, &["restore", "--set", "latest", "--job", "idp", "--target", "whole"]);
    assert!(sr.at("whole/idp/fence/f").exists() && sr.at("whole/idp/audit/a").exists());
    sr.expect(0, &["restore", "--set", "latest", "--source", "idp/fence", "--target", "alone"]);
    assert!(sr.at("alone/idp/fence/f").exists() && !sr.at("alone/idp/audit").exists());
    let told = sr.expect(0, &["forget", "--keep-last", "2", "--dry-run"]);
    assert!(told.contains("would keep 4 snapshots and forget 1 snapshot, in 2 groups"), "{told}");
    assert!(told.contains("job idp, only idp/fence, type Daily"), "{told}");
    // Named one by one, or beside the job, it is no less than what was named.
    run(&["idp", "idp/fence"]);
    let told = sr.expect(0, &["forget", "--keep-last", "2", "--dry-run"]);
    assert!(told.contains("would keep 6 snapshots and forget 1 snapshot, in 2 groups"), "{told}");
}

/// No machine can put a snapshot into the set of another: it could make it partial, or keep it for ever.
#[test]
fn a_set_is_of_one_host() {
    let bench = Bench::new();
    night(&bench, 0, "idp", "Daily", &["fence", "audit"]);
    let mut all = bench.open().snapshots().unwrap();
    let mut claimed = all[0].clone();
    claimed.described.host = "mallory".to_owned();
    all.push(claimed);
    assert_eq!(sets(all).iter().map(|set| set.members.len()).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn a_copy_keeps_the_set() {
    let (bench, other) = (Bench::new(), Bench::new());
    night(&bench, 0, "idp", "Daily", &["fence", "audit"]);
    let from = bench.open();
    let options = CopyOptions { dry_run: false, host: "keeper".to_owned(), command: "copy".to_owned() };
    copy(&from, &other.open(), &from.snapshots().unwrap(), &options, &Silent).unwrap();
    let (here, there) = (sets(from.snapshots().unwrap()), sets(other.open().snapshots().unwrap()));
    assert_eq!(there[0].described(), here[0].described());
    assert_eq!((there.len(), there[0].outcome()), (1, Outcome::Complete));
}

#[test]
fn the_program_lists_sets_and_forgets_them_whole() {
    let sr = Strongroom::init();
    sr.write("d/a", "a");
    let streams = ["--from-command", "x.sql=echo x", "--from-command", "y.sql=echo y"];
    sr.expect(0, &[&["backup", "d"], &streams[..]].concat());
    sr.expect(3, &["backup", "--from-command", "x.sql=echo x", "--from-command", "y.sql=exit 1"]);
    sr.expect(0, &["backup", "--from-command", "z.sql=echo z"]);
    let text = sr.expect(0, &["snapshots"]);
    assert!(text.contains("5 snapshots, 2 sets of several sources"), "{text}");
    assert!(text.contains("is partial: it has no snapshot of y.sql"), "{text}");
    let json: Vec<serde_json::Value> =
        sr.expect(0, &["snapshots", "--json"]).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let set = |at: usize| json[at]["set"].as_str().map(str::to_owned);
    assert!(set(0).is_some() && set(0) == set(1) && set(1) == set(2) && set(3) != set(0) && set(4).is_none());
    let id = |at: usize| json[at]["id"].as_str().unwrap()[..8].to_owned();
    let text = sr.expect(0, &["forget", &id(3), "--dry-run"]);
    assert!(text.contains("forget 1 snapshot"), "{text}");
    let text = sr.expect(0, &["forget", &id(1), "--dry-run"]);
    assert!(text.contains("forget 3 snapshots") && text.contains(&format!("of the set of {}", id(1))), "{text}");
    sr.expect(0, &["forget", &id(1), "--member"]);
    let text = sr.expect(0, &["snapshots"]);
    assert!(text.contains("4 snapshots, 2 sets"), "{text}");
    sr.expect(0, &["forget", &id(0)]);
    let text = sr.expect(0, &["snapshots"]);
    assert!(text.contains("2 snapshots, 1 set of several"), "{text}");
}

/// DH-14: what was saved together is restored by one command.
#[test]
fn a_set_is_restored_whole_each_snapshot_to_a_place_of_its_own() {
    let sr = Strongroom::init();
    sr.write("d/a", "a");
    let odd = "$(id>x)";
    let streams = ["--from-command", "x.sql=echo x", "--from-command", &format!("{odd}=echo odd")].map(str::to_owned);
    let streams: Vec<&str> = streams.iter().map(String::as_str).collect();
    sr.expect(0, &[&["backup", "d", "--source", "tree"], &streams[..]].concat());
    let text = sr.expect(3, &["backup", "--from-command", "x.sql=echo newer", "--from-command", "y.sql=exit 1"]);
    assert!(text.contains("y.sql"), "{text}");
    // Of which sources is not said.
    let text = sr.expect(1, &["restore", "--set", "latest", "--target", "out"]);
    assert!(text.contains("spans several jobs") && text.contains("--job"), "{text}");
    let text = sr.expect(0, &["restore", "--set", "latest", "--source", "tree", "--target", "out"]);
    assert_eq!(text.matches("restored ").count(), 3, "{text}");
    assert_eq!(sr.read(&format!("out/tree{}", sr.at("d/a").display())), "a");
    assert_eq!(sr.read("out/x.sql/x.sql"), "x\n");
    assert_eq!(sr.read(&format!("out/{odd}/{odd}")), "odd\n");
    assert!(!sr.at("x").exists());
    // One that cannot be restored keeps no other from being restored.
    sr.write("out1/x.sql/in-the-way", "x");
    let text = sr.expect(3, &["restore", "--set", "latest", "--source", "tree", "--target", "out1"]);
    assert!(text.contains("source x.sql: target ") && text.matches("restored ").count() == 2, "{text}");
    let text = sr.expect(1, &["restore", "--set", "latest", "--source", "x.sql", "--target", "out2"]);
    assert!(text.contains("spans several jobs"), "{text}");
    // What is partial is taken if that is said, and is no success.
    let partial = ["restore", "--set", "latest", "--source", "y.sql", "--target", "out3"];
    let text = sr.expect(1, &partial);
    assert!(text.contains("no whole set") && text.contains("--partial"), "{text}");
    let text = sr.expect(3, &[&partial[..], &["--partial"]].concat());
    assert!(text.matches("restored ").count() == 1 && sr.read("out3/x.sql/x.sql") == "newer\n", "{text}");
    sr.expect(2, &["restore", "--set", "latest", "--to-command", "cat"]);
    sr.expect(2, &["restore", "--job", "x", "--target", "out4"]);
}

/// A night without one of its sources is newer than the last whole one: that one is taken, and the other named.
#[test]
fn latest_is_the_newest_whole_set_and_names_newer_partial_ones() {
    let bench = Bench::new();
    night(&bench, 0, "idp", "Daily", &["fence", "audit"]);
    night(&bench, 1, "idp", "Daily", &["fence", "audit"]);
    night(&bench, 2, "idp", "Daily", &["fence", "audit!"]);
    night(&bench, 3, "idp", "User", &["fence", "audit"]);
    let now_ms = START_MS + 10 * DAY_MS;
    let chosen = |name: SnapshotName, partial: bool, job_type: Option<&str>| {
        let filter = SetFilter { partial, job_type: job_type.map(str::to_owned), ..SetFilter::default() };
        let all = sets(bench.open().snapshots().unwrap());
        let chosen = choose_set(all, &name, &filter, now_ms)?;
        let night = |set: &Set| (set.time_ms() - START_MS) / DAY_MS;
        Ok((night(&chosen.set), chosen.newer.iter().map(night).collect::<Vec<_>>()))
    };
    let daily = Some("Daily");
    assert_eq!(chosen(SnapshotName::Latest(0), false, daily).unwrap(), (1, vec![2]));
    assert_eq!(chosen(SnapshotName::Latest(1), false, daily).unwrap(), (0, vec![]));
    assert_eq!(chosen(SnapshotName::Latest(0), true, daily).unwrap(), (2, vec![]));
    assert_eq!(chosen(SnapshotName::At(START_MS + DAY_MS), false, daily).unwrap(), (1, vec![]));
    let several: Result<_, ChoiceError> = chosen(SnapshotName::Latest(0), false, None);
    assert_eq!(several.unwrap_err().to_string(), "`latest` spans several types: Daily, User");
    assert!(chosen(SnapshotName::Latest(2), false, daily).is_err());
}

/// After a night without one of its sources, and one without the other, there is a good snapshot of each: they are taken
/// together, and it is said of which set and time each is. What was dropped from the job does not come back.
#[test]
fn the_newest_of_each_source_is_taken_from_several_sets() {
    let bench = Bench::new();
    night(&bench, 0, "idp", "Daily", &["fence", "audit", "old"]);
    night(&bench, 1, "idp", "Daily", &["fence", "audit"]);
    night(&bench, 2, "idp", "Daily", &["fence!", "audit"]);
    night(&bench, 3, "idp", "Daily", &["fence!", "audit", "new!"]);
    let now_ms = START_MS + 10 * DAY_MS;
    let taken = |time: SetTime, partial: bool| {
        let filter = SetFilter { partial, ..SetFilter::default() };
        let PerSource { set, of, lacking } =
            newest_of_each(sets(bench.open().snapshots().unwrap()), time, &filter, now_ms)?;
        let night = |s: &Snapshot| (s.state.time_ms - START_MS) / DAY_MS;
        let members: Vec<String> = set.members.iter().map(|s| format!("{} {}", s.described.source, night(s))).collect();
        assert_eq!((of.len(), set.missing()), (members.len(), lacking.clone()));
        Ok::<_, ChoiceError>((members[..].join(", "), lacking[..].join(", ")))
    };
    let is = |members: &str, lacking: &str| (members.to_owned(), lacking.to_owned());
    assert_eq!(taken(SetTime::Any, false).unwrap_err().to_string(), "there is no good snapshot of new");
    assert_eq!(taken(SetTime::Any, true).unwrap(), is("fence 1, audit 3", "new"));
    assert_eq!(taken(SetTime::NotAfter(START_MS + 2 * DAY_MS), false).unwrap(), is("fence 1, audit 2", ""));
    assert_eq!(taken(SetTime::NotAfter(START_MS), false).unwrap(), is("fence 0, audit 0, old 0", ""));
    assert!(taken(SetTime::NotAfter(START_MS - 1), false).is_err());
    night(&bench, 4, "idp", "User", &["fence"]);
    assert_eq!(taken(SetTime::Any, false).unwrap_err().to_string(), "`latest` spans several types: Daily, User");
}

/// The same by the program, with a source that was run alone; `snapshots` shows one set, or those of a job and type.
#[test]
fn the_program_restores_the_newest_of_each_source() {
    let sr = Strongroom::init();
    let folder = sr.folder.path().display().to_string();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\" }}\n[jobs.idp]\nrepository = \"main\"\n[jobs.idp.sources]\n\
         fence = {{ kind = \"command\", file = \"f\", command = \"cat {folder}/fence\" }}\n\
         audit = {{ kind = \"command\", file = \"a\", command = \"cat {folder}/audit\" }}\n"
    );
    let at = sr.write("strongroom.toml", text);
    std::fs::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let run = |code: i32, name: &str| sr.expect(code, &["run", "--config", "strongroom.toml", name]);
    sr.write("fence", "fence 1");
    run(3, "idp");
    let restore = ["restore", "--set", "latest", "--job", "idp", "--per-source", "--target"];
    let text = sr.expect(1, &[&restore[..], &["none"]].concat());
    assert!(text.contains("there is no good snapshot of idp/audit\nhint: --partial"), "{text}");
    let text = sr.expect(3, &[&restore[..], &["some", "--partial"]].concat());
    assert!(text.contains("warning: there is no snapshot of idp/audit") && !sr.at("some/idp/audit").exists());
    sr.write("audit", "audit 1");
    std::fs::remove_file(sr.at("fence")).unwrap();
    run(3, "idp");
    let text = sr.expect(1, &["restore", "--set", "latest", "--job", "idp", "--target", "none"]);
    assert!(text.contains("no whole set"), "{text}");
    let text = sr.expect(0, &[&restore[..], &["out"]].concat());
    assert_eq!((sr.read("out/idp/fence/f"), sr.read("out/idp/audit/a")), ("fence 1".into(), "audit 1".into()));
    assert!(text.contains("note: idp/fence: snapshot ") && text.contains(" of set "), "{text}");
    sr.write("fence", "fence 2");
    run(0, "idp/fence");
    sr.expect(0, &[&restore[..], &["out2"]].concat());
    assert_eq!((sr.read("out2/idp/fence/f"), sr.read("out2/idp/audit/a")), ("fence 2".into(), "audit 1".into()));
    let text = sr.expect(2, &["restore", "--set", "latest~1", "--job", "idp", "--per-source", "--target", "none"]);
    assert!(text.contains("with --per-source, write --set latest"), "{text}");
    // One set of them, or one job.
    run(0, "idp");
    sr.expect(0, &["run", "--config", "strongroom.toml", "--type", "User", "idp"]);
    let lines = |args: &[&str]| -> Vec<serde_json::Value> {
        let text = sr.expect(0, &[&["snapshots", "--json"], args].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&[]);
    assert_eq!((all.len(), lines(&["--job", "idp", "--type", "User"]).len(), lines(&["--job", "x"]).len()), (7, 2, 0));
    let set = all[0]["set"].as_str().unwrap();
    assert_eq!(lines(&["--set", &set[..8]])[..], all[..1]);
    assert_eq!(lines(&["--set", "latest", "--job", "idp", "--type", "Daily"])[..], all[3..5]);
    let text = sr.expect(0, &["snapshots", "--set", "latest", "--job", "idp", "--type", "User"]);
    assert!(text.contains("TYPE") && text.contains("User") && text.contains("2 snapshots, 1 set"), "{text}");
}

/// DSS-16, CC-19: an hourly job keeps the newest of each hour for a day, of each half day for a week, and of each day
/// for a fortnight.
#[test]
fn intervals_keep_the_newest_of_each() {
    let sr = Strongroom::init();
    sr.write("d", "d");
    for hour in 0..60 {
        let time = format!("2026-03-{:02} {:02}:30", 1 + hour / 24, hour % 24);
        sr.expect(0, &["backup", "-q", "d", "--time", &time, "--label", "night-%Y-%m-%d", "--compression", "off"]);
    }
    let rules = ["--keep", "1h for 12h", "--keep", "12h for 2d"];
    let text = sr.expect(0, &[&["forget", "--dry-run"], &rules[..]].concat());
    // The last was at 11:30 of the third day: thirteen hours of it, and three half days before.
    assert!(text.contains("would keep 16 snapshots"), "{text}");
    let text = sr.expect(0, &["snapshots", "--label", "night-2026-03-03"]);
    assert!(text.contains("12 snapshots") && text.contains("LABEL"), "{text}");
    let text = sr.expect(2, &["backup", "d", "--label", "100%"]);
    assert!(text.contains("invalid label") && text.contains("%%"), "{text}");
    let text = sr.expect(2, &["forget", "--keep", "1h"]);
    assert!(text.contains("1h for 24h"), "{text}");
    let text = sr.expect(0, &["forget", "--dry-run", "--expire-after", "1d", "--max-count", "20"]);
    assert!(text.contains("beyond max-count") && text.contains("expired"), "{text}");
}

/// `--keep-id` may name any member: its whole set stays.
#[test]
fn an_id_of_any_member_keeps_its_set() {
    let sr = Strongroom::init();
    for n in 0..3 {
        let streams = [format!("x.sql=echo x{n}"), format!("y.sql=echo y{n}")];
        sr.expect(0, &["backup", "--from-command", &streams[0], "--from-command", &streams[1]]);
    }
    let json: Vec<serde_json::Value> =
        sr.expect(0, &["snapshots", "--json"]).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let oldest = json[0]["set"].clone();
    for member in json.iter().filter(|s| s["set"] == oldest) {
        let text =
            sr.expect(0, &["forget", "-n", "--keep-last", "1", "--keep-id", &member["id"].as_str().unwrap()[..8]]);
        assert!(text.contains("would keep 4 snapshots and forget 2"), "{text}");
    }
}
