//! Thirty nights of a daily job and a weekly one, with the two newest sets of each kept, against a plain oracle.
//!
//! The oracle keeps a list of what each run saved, written down by the test and not by the program, and says which sets
//! are to be left after each night.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use rusqlite::Connection;

use super::{Machine, local_ms};
use crate::cli::args::GlobalArguments;
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;
use crate::ops::restore::{RestoreOptions, restore};
use crate::primitives::progress::Silent;
use crate::repository::Repository;
use crate::repository::sets::sets;
use crate::repository::snapshots::Snapshot;

const JOBS: &str = r#"
[jobs.idp]
schedule = "daily 02:00"
[jobs.idp.sources]
gen3 = { kind = "sqlite", paths = [DATABASES], scratch_dir = "FOLDER/scratch" }
docs = { kind = "path", paths = ["FOLDER/docs"] }
portal = { kind = "command", file = "portal.sql", command = "cat FOLDER/portal", enabled = PORTAL }
[jobs.idp-weekly]
like = "idp"
type = "Weekly"
schedule = "weekly sat 03:00"
[jobs.idp-weekly.sources]
gen3 = { enabled = false }
docs = { enabled = false }
portal = { enabled = false }
archive = { kind = "path", paths = ["FOLDER/archive"] }
"#;

/// What a run saved: what each source or database held, by the last part of its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Saved {
    time_ms: i64,
    job: &'static str,
    whole: bool,
    members: BTreeMap<String, String>,
}

/// What is to be left of these sets, if the two newest whole ones of each job are kept.
fn to_be_left(all: &[Saved]) -> BTreeSet<Saved> {
    let is_newer_and = |than: &Saved, test: &dyn Fn(&Saved) -> bool| {
        all.iter().filter(|set| set.time_ms > than.time_ms && test(set)).count()
    };
    let stays = |set: &&Saved| {
        let newer_whole = is_newer_and(set, &|other| other.job == set.job && other.whole);
        let by_rule = if set.whole { newer_whole < 2 } else { newer_whole == 0 };
        let has_newest =
            set.members.keys().any(|name| is_newer_and(set, &|other| other.members.contains_key(name)) == 0);
        by_rule || has_newest
    };
    all.iter().filter(stays).cloned().collect()
}

/// What happens on the machine in a night.
struct Night {
    number: u32,
    databases: Vec<&'static str>,
    broken: Option<&'static str>,
    portal_enabled: bool,
    portal_answers: bool,
    is_saturday: bool,
    archive_is_there: bool,
}

impl Night {
    /// The first one is that of Monday, 19 October 2026; databases come and go, and some nights not all is well.
    fn new(number: u32) -> Self {
        let databases = match number {
            ..12 => vec!["audit", "fence", "wts"],
            // `audit` is dropped.
            12..15 => vec!["fence", "wts"],
            _ => vec!["fence", "peregrine", "wts"],
        };
        Self {
            number,
            databases,
            broken: (18..=21).contains(&number).then_some("fence"),
            portal_enabled: number < 23,
            portal_answers: !(6..=9).contains(&number),
            is_saturday: number % 7 == 6,
            archive_is_there: number != 20,
        }
    }

    fn holds(&self, name: &str) -> String {
        format!("{name} of night {}", self.number)
    }

    fn prepare(&self, machine: &Machine) {
        let paths: Vec<String> = self.databases.iter().map(|name| format!("\"FOLDER/db/{name}\"")).collect();
        let portal = self.portal_enabled.to_string();
        machine.configure(&JOBS.replace("DATABASES", &paths.join(", ")).replace("PORTAL", &portal));
        machine.write("docs/index", self.holds("docs"));
        machine.write("portal", self.holds("portal"));
        if !self.portal_answers {
            fs::remove_file(machine.at("portal")).unwrap();
        }
        let _ = fs::remove_dir_all(machine.at("archive"));
        if self.archive_is_there {
            machine.write("archive/all", self.holds("archive"));
        }
        for name in &self.databases {
            machine.write(&format!("db/{name}"), "");
            if self.broken == Some(name) {
                machine.write(&format!("db/{name}"), "no database at all\n".repeat(100));
                continue;
            }
            let database = Connection::open(machine.at("db").join(name)).unwrap();
            database.execute_batch("create table t (v text)").unwrap();
            database.execute("insert into t values (?1)", [self.holds(name)]).unwrap();
        }
    }

    /// What this night is to leave: a set of the daily job, and on Saturday one of the weekly job.
    fn saves(&self, midnight_ms: i64) -> Vec<Saved> {
        let good = self.databases.iter().filter(|name| self.broken != Some(name));
        let mut names: Vec<&str> = good.copied().chain(["docs"]).collect();
        if self.portal_enabled && self.portal_answers {
            names.push("portal");
        }
        let members = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), self.holds(name))).collect();
        let whole = self.broken.is_none() && (self.portal_answers || !self.portal_enabled);
        let mut saved = vec![Saved { time_ms: midnight_ms, job: "idp", whole, members: members(&names) }];
        if self.is_saturday && self.archive_is_there {
            let members = members(&["archive"]);
            saved.push(Saved { time_ms: midnight_ms + 3_600_000, job: "idp-weekly", whole: true, members });
        }
        saved
    }
}

fn open(machine: &Machine) -> Arc<Repository> {
    let (env, _, _) = machine.env();
    let global = GlobalArguments::default();
    Settings::find(&global, &env, false).unwrap().open(&global, &env).unwrap()
}

/// What a snapshot holds, restored.
fn restored(machine: &Machine, repository: &Arc<Repository>, snapshot: &Snapshot, is_database: bool) -> String {
    let target = machine.at("restored");
    let _ = fs::remove_dir_all(&target);
    let options = RestoreOptions { target: target.clone(), ..RestoreOptions::default() };
    let report = restore(repository, snapshot, options, &Silent).unwrap();
    assert_eq!((report.files, report.problems_count), (1, 0), "{}: {report:?}", snapshot.described.member_path());
    let files = walkdir::WalkDir::new(&target).into_iter().filter_map(Result::ok);
    let file = files.into_iter().find(|entry| entry.file_type().is_file()).unwrap();
    if !is_database {
        return fs::read_to_string(file.path()).unwrap();
    }
    let database = Connection::open(file.path()).unwrap();
    database.query_row("select v from t", [], |row| row.get(0)).unwrap()
}

/// What is left in the repository; each snapshot of it is restored.
fn left(machine: &Machine) -> BTreeSet<Saved> {
    let repository = open(machine);
    let mut left = BTreeSet::new();
    for set in sets(repository.snapshots().unwrap()) {
        let member = |s: &Snapshot| {
            let database = s.described.stream.as_ref().and_then(|stream| stream.member.clone());
            let name = database.as_ref().unwrap_or(&s.described.source);
            let name = name.rsplit('/').next().unwrap().to_owned();
            (name, restored(machine, &repository, s, database.is_some()))
        };
        let job = match set.described().unwrap().job.as_deref() {
            Some("idp") => "idp",
            Some("idp-weekly") => "idp-weekly",
            job => panic!("{job:?}"),
        };
        let whole = set.missing().is_empty();
        let members: BTreeMap<String, String> = set.members.iter().map(member).collect();
        assert_eq!(members.len(), set.members.len());
        assert!(left.insert(Saved { time_ms: set.time_ms(), job, whole, members }));
    }
    left
}

/// CC-8, MYDB-7: whatever comes, goes or fails, nobody's newest good copy is forgotten, nothing else is kept than what the
/// rule says, and all that is kept restores.
#[test]
fn thirty_nights_leave_the_newest_good_copy_of_everything() {
    let machine =
        Machine::new("2026-10-19 00:00", JOBS.replace("DATABASES", "\"/x\"").replace("PORTAL", "true").as_str());
    fs::create_dir(machine.at("scratch")).unwrap();
    machine.expect(Exit::Done, &["run", "--due"]);
    let mut all: Vec<Saved> = Vec::new();
    let first = local_ms("2026-10-19 02:00");
    let mut forgotten = 0;
    for number in 1..=30 {
        let night = Night::new(number);
        let date = jiff::civil::date(2026, 10, 19).checked_add(jiff::Span::new().days(i64::from(number) - 1)).unwrap();
        assert_eq!(date.weekday() == jiff::civil::Weekday::Saturday, night.is_saturday);
        night.prepare(&machine);
        machine.off_until(&format!("{date}T02:00"));
        let saves = night.saves(local_ms(&format!("{date}T02:00")));
        let exit = if saves[0].whole { Exit::Done } else { Exit::Problems };
        machine.expect(exit, &["run", "--due"]);
        machine.off_until(&format!("{date}T03:00"));
        let missing = night.is_saturday && !night.archive_is_there;
        machine.expect(if missing { Exit::Failed } else { Exit::Done }, &["run", "--due"]);
        assert!(saves[0].time_ms >= first);
        all.extend(saves);
        let before = all.len();
        let prune: &[&str] = if number % 5 == 0 { &["--prune"] } else { &[] };
        machine.expect(Exit::Done, &[&["forget", "--keep-last", "2", "--yes"], prune].concat());
        let wanted = to_be_left(&all);
        let left = left(&machine);
        assert_eq!(left, wanted, "after night {number}");
        // Said again in other words: the newest copy of each name that was ever saved is there.
        for name in all.iter().flat_map(|set| set.members.keys()) {
            let newest = all.iter().filter_map(|set| set.members.get(name)).next_back();
            assert!(left.iter().any(|set| set.members.get(name) == newest), "night {number}: {name}");
        }
        all.retain(|set| wanted.contains(set));
        forgotten += before - all.len();
    }
    // The two newest daily and weekly sets, and those with the last dumps of `audit`, which was dropped, and `portal`,
    // which was disabled.
    let times: Vec<String> = all.iter().map(|set| crate::cli::time::show(set.time_ms, &super::zone())).collect();
    assert_eq!(
        times,
        [
            "2026-10-29 02:00:00",
            "2026-10-31 03:00:00",
            "2026-11-09 02:00:00",
            "2026-11-14 03:00:00",
            "2026-11-16 02:00:00",
            "2026-11-17 02:00:00"
        ]
    );
    assert_eq!(forgotten, 27);
}
