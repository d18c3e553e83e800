//! Dumps of a job that are made at the same time: what one does, waits for or lacks is nothing to the others.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use strongroom::format::description::StreamDescription;
use strongroom::format::record::Outcome;
use strongroom::ops::backup::{
    BackupError, BackupOptions, BackupReport, Dump, Dumped, Frame, Job, Origin, Source, SourceReport, StreamOptions,
    backup_sources, dumps_source, framed_source,
};
use strongroom::primitives::progress::{Observer, Silent};
use strongroom::primitives::system::OsSystem;
use strongroom::repository::sets::sets;
use strongroom::repository::{LocalPlaces, Repository};
use strongroom::store::LocalStore;
use zeroize::Zeroizing;

use crate::harness::{Bench, files, options};
use crate::program::{Strongroom, noise, run, said};

/// Longer than anything here takes: whoever waits so long waits for what is not done at the same time.
const TOO_LONG: Duration = Duration::from_secs(20);

/// Is opened once, by one for another.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait(&self) -> io::Result<()> {
        let (is_open, _) = self.1.wait_timeout_while(self.0.lock().unwrap(), TOO_LONG, |is_open| !*is_open).unwrap();
        if *is_open { Ok(()) } else { Err(io::Error::other("nobody came")) }
    }
}

/// What a dump does, step by step.
enum Step {
    Bytes(Vec<u8>),
    Open(Arc<Gate>),
    Wait(Arc<Gate>),
    Fail,
}

struct Steps(VecDeque<Step>);

impl Read for Steps {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.pop_front() {
                None => return Ok(0),
                Some(Step::Open(gate)) => gate.open(),
                Some(Step::Wait(gate)) => gate.wait()?,
                Some(Step::Fail) => return Err(io::Error::other("it broke")),
                Some(Step::Bytes(bytes)) => {
                    let n = bytes.len().min(buffer.len());
                    buffer[..n].copy_from_slice(&bytes[..n]);
                    if n < bytes.len() {
                        self.0.push_front(Step::Bytes(bytes[n..].to_vec()));
                    }
                    return Ok(n);
                }
            }
        }
    }
}

/// A dump of one database.
struct TestDump {
    member: &'static str,
    steps: Vec<Step>,
}

impl Dump for TestDump {
    fn file(&self) -> &str {
        self.member
    }

    fn member(&self) -> Option<&str> {
        Some(self.member)
    }

    fn open(&mut self, _stop: &dyn Fn() -> bool) -> Result<Origin, String> {
        Ok(Origin::Reader(Box::new(Steps(std::mem::take(&mut self.steps).into()))))
    }

    fn finish(&mut self, _stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        let described = StreamDescription {
            member: Some(self.member.to_owned()),
            kind: "test".to_owned(),
            ..StreamDescription::default()
        };
        Ok(Dumped { described: Some(described), findings: Vec::new() })
    }
}

fn dump(member: &'static str, steps: Vec<Step>) -> TestDump {
    TestDump { member, steps }
}

fn source(name: &str, dumps: Vec<TestDump>) -> Box<dyn Source> {
    let list = move |_: &dyn Observer| Ok(dumps.into_iter().map(|dump| Box::new(dump) as Box<dyn Dump>).collect());
    dumps_source(format!("j/{name}"), StreamOptions::default(), Box::new(list))
}

fn bytes(text: &str) -> Step {
    Step::Bytes(text.as_bytes().to_vec())
}

fn saved(bench: &Bench, parallel: usize, sources: Vec<Box<dyn Source>>) -> BackupReport {
    let job =
        Job { name: "j".to_owned(), job_type: "Daily".to_owned(), notes: None, records: Vec::new(), alone: false };
    let options = BackupOptions { job: Some(job), parallel, ..options(&[]) };
    backup_sources(&bench.open(), sources, options, &Silent).expect("the run ends")
}

fn outcomes(report: &BackupReport) -> Vec<(String, Outcome)> {
    report.sources.iter().map(|source| (source.path(), source.outcome)).collect()
}

/// MYDB-7: the first dump ends only after the third has begun, which begins only after the second has ended. The report
/// and the set are in the order of the list all the same.
#[test]
fn dumps_of_a_source_are_made_at_the_same_time_and_told_in_their_order() {
    let bench = Bench::new();
    let gate = Arc::new(Gate::default());
    let dumps = vec![
        dump("a", vec![Step::Wait(gate.clone()), bytes("of a")]),
        dump("b", vec![bytes("of b")]),
        dump("c", vec![Step::Open(gate), bytes("of c")]),
    ];
    let report = saved(&bench, 2, vec![source("db", dumps)]);
    let complete = |path: &str| (path.to_owned(), Outcome::Complete);
    assert_eq!(outcomes(&report), ["j/db/a", "j/db/b", "j/db/c"].map(complete));
    let set = sets(bench.open().snapshots().unwrap()).pop().unwrap();
    assert_eq!((set.outcome(), set.missing()), (Outcome::Complete, Vec::new()));
    let paths: Vec<String> = set.members.iter().map(|member| member.described.member_path()).collect();
    assert_eq!(paths, ["j/db/a", "j/db/b", "j/db/c"]);
    for (member, text) in set.members.iter().zip(["of a", "of b", "of c"]) {
        let folder = tempfile::tempdir().unwrap();
        bench.restore(member, folder.path(), None);
        assert_eq!(files(folder.path()).pop_first().unwrap().1, text.as_bytes());
    }
}

/// MYDB-7: two sources with dumps, of which one fails, and one that ends only when the last source is being saved.
#[test]
fn a_dump_that_fails_beside_others_stops_none_of_them() {
    let bench = Bench::new();
    let gate = Arc::new(Gate::default());
    let one = vec![
        dump("late", vec![bytes("late"), Step::Wait(gate.clone())]),
        dump("bad", vec![bytes("half"), Step::Fail]),
        dump("good", vec![bytes("good")]),
    ];
    let two = vec![dump("last", vec![Step::Open(gate), bytes("last")])];
    let report = saved(&bench, 2, vec![source("one", one), source("two", two)]);
    let expected = [
        ("j/one/late", Outcome::Complete),
        ("j/one/bad", Outcome::Failed),
        ("j/one/good", Outcome::Complete),
        ("j/two/last", Outcome::Complete),
    ];
    assert_eq!(outcomes(&report), expected.map(|(path, outcome)| (path.to_owned(), outcome)));
    assert_eq!(report.outcome, Outcome::Partial);
    assert!(report.sources[1].error.as_ref().unwrap().contains("it broke"));
    let set = sets(bench.open().snapshots().unwrap()).pop().unwrap();
    assert_eq!(set.missing(), ["j/one/bad"]);
}

/// Two streams that read the same at the same time: it is stored once, whoever was the first to store each chunk.
#[test]
fn what_two_dumps_bring_at_the_same_time_is_stored_once() {
    const LEN: usize = 10 << 20;
    let bench = Bench::new();
    let content = noise(LEN);
    let (one, two) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    // Each waits in its middle until the other one has come there.
    let steps = |own: &Arc<Gate>, other: &Arc<Gate>| {
        vec![
            Step::Bytes(content[..LEN / 2].to_vec()),
            Step::Open(own.clone()),
            Step::Wait(other.clone()),
            Step::Bytes(content[LEN / 2..].to_vec()),
        ]
    };
    let dumps = vec![dump("one", steps(&one, &two)), dump("two", steps(&two, &one))];
    let report = saved(&bench, 2, vec![source("db", dumps)]);
    assert_eq!(report.outcome, Outcome::Complete);
    let sum = |of: fn(&SourceReport) -> u64| report.sources.iter().map(of).sum::<u64>() as f64 / LEN as f64;
    let (new, stored) = (sum(|s| s.figures.bytes_new), sum(|s| s.figures.bytes_stored));
    // Packs are padded by an eighth at the most.
    assert!((1.0..1.001).contains(&new) && (1.0..1.13).contains(&stored), "{new} {stored}");
    for snapshot in bench.open().snapshots().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        bench.restore(&snapshot, folder.path(), None);
        assert!(files(folder.path()).into_values().all(|bytes| bytes == content));
    }
}

/// What is done around a source, written down.
struct Noted(Arc<Mutex<Vec<String>>>, &'static str);

impl Frame for Noted {
    fn before(&mut self, _: &dyn Observer) -> Result<(), String> {
        self.0.lock().unwrap().push(format!("before {}", self.1));
        Ok(())
    }

    fn after(&mut self, _: &dyn Observer, reports: &[SourceReport], stopped: Option<&BackupError>) -> Vec<String> {
        assert!(stopped.is_none());
        let paths: Vec<String> = reports.iter().map(SourceReport::path).collect();
        self.0.lock().unwrap().push(format!("after {}: {}", self.1, paths.join(" ")));
        Vec::new()
    }
}

/// MYDB-7: what is done before and after a source frames its own dumps. A source is begun when it can be saved: the
/// third one is not stopped for the time that others take.
#[test]
fn what_is_done_around_a_source_frames_its_dumps_and_no_others() {
    let bench = Bench::new();
    let noted = Arc::new(Mutex::new(Vec::new()));
    let framed = |name: &'static str, dumps| framed_source(source(name, dumps), Box::new(Noted(noted.clone(), name)));
    let (one, two) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    let sources = vec![
        framed("x", vec![dump("a", vec![Step::Wait(one.clone()), bytes("a")]), dump("b", vec![bytes("b")])]),
        framed(
            "y",
            vec![dump("c", vec![bytes("c")]), dump("d", vec![bytes("d"), Step::Open(one), Step::Wait(two.clone())])],
        ),
        framed("z", vec![dump("e", vec![bytes("e"), Step::Open(two)])]),
    ];
    let report = saved(&bench, 2, sources);
    assert_eq!(report.outcome, Outcome::Complete);
    let noted = noted.lock().unwrap();
    let at = |text: &str| noted.iter().position(|line| line == text).unwrap_or_else(|| panic!("{text}: {noted:?}"));
    let _ = (at("after x: j/x/a j/x/b"), at("after y: j/y/c j/y/d"), at("after z: j/z/e"));
    assert!(at("before x") < at("before y") && at("after x: j/x/a j/x/b") < at("before z"), "{noted:?}");
}

/// With one at a time, nothing is begun before what came before it has ended.
#[test]
fn with_one_at_a_time_each_source_ends_before_the_next_begins() {
    let bench = Bench::new();
    let noted = Arc::new(Mutex::new(Vec::new()));
    let framed = |name: &'static str, dumps| framed_source(source(name, dumps), Box::new(Noted(noted.clone(), name)));
    let two = |a, b| vec![dump(a, vec![bytes(a)]), dump(b, vec![bytes(b)])];
    saved(&bench, 1, vec![framed("x", two("a", "b")), framed("y", two("c", "d"))]);
    let expected = ["before x", "after x: j/x/a j/x/b", "before y", "after y: j/y/c j/y/d"];
    assert_eq!(*noted.lock().unwrap(), expected);
}

/// The repository does not answer any more: all dumps end, and the error is the repository's.
#[test]
fn a_repository_that_fails_ends_all_dumps() {
    struct Full(Arc<Mutex<Vec<Option<String>>>>);
    impl Frame for Full {
        fn before(&mut self, _: &dyn Observer) -> Result<(), String> {
            Ok(())
        }
        fn after(&mut self, _: &dyn Observer, _: &[SourceReport], stopped: Option<&BackupError>) -> Vec<String> {
            self.0.lock().unwrap().push(stopped.map(ToString::to_string));
            Vec::new()
        }
    }
    let sr = Strongroom::init();
    let folder = sr.at("repo/data");
    let ended = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(Gate::default());
    let dumps = vec![
        dump("big", vec![Step::Wait(gate.clone()), Step::Bytes(noise(9 << 20))]),
        dump("other", vec![Step::Open(gate), Step::Bytes(noise(10 << 20))]),
    ];
    let store = Arc::new(LocalStore::open(&sr.at("repo"), 0).unwrap());
    let places = LocalPlaces { cache: sr.at("c"), state: sr.at("s") };
    let passphrase = Zeroizing::new(b"open sesame".to_vec());
    let system = Arc::new(OsSystem);
    let repository = Repository::open(store, &passphrase, &places, system).unwrap();
    let _ = fs::remove_dir_all(&folder);
    fs::write(&folder, "a file where packs are to lie").unwrap();
    let framed = framed_source(source("db", dumps), Box::new(Full(ended.clone())));
    let options = BackupOptions { parallel: 2, ..options(&[]) };
    let error = backup_sources(&repository, vec![framed], options, &Silent).unwrap_err();
    assert!(matches!(error, BackupError::Repository(_)), "{error:?}");
    assert_eq!(ended.lock().unwrap().len(), 1);
}

fn configured(jobs: &str) -> Strongroom {
    let sr = Strongroom::init();
    let pass = sr.write("home/pass", "open sesame\n");
    let folder = sr.folder.path().display().to_string();
    let text = format!(
        "version = 1\n[repositories]\nmain = {{ url = \"{folder}/repo\", password_file = \"{{env:HOME}}/pass\" }}\n\
         [defaults]\nrepository = \"main\"\n{}",
        jobs.replace("FOLDER", &folder)
    );
    let file = sr.write("strongroom.toml", text);
    for at in [pass, file] {
        fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
    }
    sr
}

fn fifo(at: &Path) {
    assert!(run("mkfifo", &[at.to_str().unwrap()]));
}

const RUN: [&str; 3] = ["run", "--config", "strongroom.toml"];

/// MYDB-7: two commands that wait for each other end only if both run; paths are saved beside them. Set, report and journal
/// have the order of the configuration.
#[test]
fn sources_of_a_job_are_saved_at_the_same_time() {
    let sr = configured(
        "[jobs.a]\nparallel = 2\ntimeout = \"20s\"\n[jobs.a.sources]\n\
         x = { kind = \"command\", file = \"x\", command = \"echo > FOLDER/one; read line < FOLDER/two; echo x\" }\n\
         y = { kind = \"command\", file = \"y\", command = \"read line < FOLDER/one; echo y\" }\n\
         site = { kind = \"path\", paths = [\"FOLDER/site\"] }\n\
         z = { kind = \"command\", file = \"z\", command = \"echo z; echo > FOLDER/two\" }\n",
    );
    sr.write("site/index.html", "hello");
    fifo(&sr.at("one"));
    fifo(&sr.at("two"));
    let text = sr.expect(0, &RUN);
    assert!(!text.contains("not carried out"), "{text}");
    let at = |name: &str| text.find(&format!(" of a/{name}")).unwrap_or_else(|| panic!("{name}: {text}"));
    assert!(at("x") < at("y") && at("y") < at("site") && at("site") < at("z"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&sr.expect(0, &["runs", "--json"])).unwrap();
    let sources: Vec<&str> =
        json["sources"].as_array().unwrap().iter().map(|s| s["source"].as_str().unwrap()).collect();
    assert_eq!((json["outcome"].as_str(), sources), (Some("complete"), vec!["a/x", "a/y", "a/site", "a/z"]));
    for name in ["x", "y", "z"] {
        assert_eq!(
            sr.expect(0, &["cat", &format!("latest:{name}"), "--source", &format!("a/{name}")]),
            format!("{name}\n")
        );
    }
}

/// MYDB-7: one that hangs is ended by its own time-out. The others are saved meanwhile: the last of them ends only while
/// the first one runs.
#[test]
fn a_source_that_hangs_stops_no_other_and_is_ended_by_its_timeout() {
    let sr = configured(
        "[jobs.a]\nparallel = 2\ntimeout = \"20s\"\n[jobs.a.sources]\n\
         hangs = { kind = \"command\", file = \"h\", timeout = \"3s\", \
         command = \"echo h; read line < FOLDER/pipe; sleep 1000 | cat\" }\n\
         x = { kind = \"command\", file = \"x\", command = \"echo x\" }\n\
         y = { kind = \"command\", file = \"y\", command = \"echo y\" }\n\
         z = { kind = \"command\", file = \"z\", command = \"echo z; echo > FOLDER/pipe\" }\n",
    );
    fifo(&sr.at("pipe"));
    let text = sr.expect(3, &RUN);
    assert!(text.contains("h took longer than its timeout of 3 s, and was ended"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&sr.expect(0, &["runs", "--json"])).unwrap();
    let of: BTreeMap<&str, &str> = json["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["source"].as_str().unwrap(), s["outcome"].as_str().unwrap()))
        .collect();
    let complete = ["a/x", "a/y", "a/z"].map(|name| (name, "complete"));
    assert_eq!(of, complete.into_iter().chain([("a/hangs", "failed")]).collect());
}

/// What is done when a process is killed with `kill -9` is published, the repository is sound, and the next run is whole.
#[test]
fn what_was_done_before_the_run_was_killed_is_there() {
    let sr = configured(
        "[jobs.a]\nparallel = 2\n[jobs.a.sources]\n\
         hangs = { kind = \"command\", file = \"h\", command = \"echo h; test -e FOLDER/again || sleep 1000\" }\n\
         big = { kind = \"command\", file = \"b\", command = \"cat FOLDER/noise\" }\n\
         next = { kind = \"command\", file = \"n\", \
         command = \"echo n; test -e FOLDER/again || { echo > FOLDER/begun; sleep 1000; }\" }\n",
    );
    sr.write("noise", noise(9 << 20));
    fifo(&sr.at("begun"));
    let mut first = sr.command(&RUN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // The third began because the second had ended.
    fs::read(sr.at("begun")).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let list = sr.expect(0, &["snapshots"]);
    assert!(list.contains("it has no snapshot of a/hangs, a/next") && list.contains("1 snapshot"), "{list}");
    sr.expect(0, &["verify", "--read-data"]);
    assert!(sr.expect(0, &["runs"]).contains("crashed"));
    sr.write("again", "");
    sr.expect(0, &RUN);
    assert!(sr.expect(0, &["snapshots"]).contains("4 snapshots"));
    sr.expect(0, &["verify", "--read-data"]);
}

/// Whoever stops the run stops all that it started.
#[test]
fn an_interrupt_ends_all_dumps() {
    let sr = configured(
        "[jobs.a]\nparallel = 3\n[jobs.a.sources]\n\
         x = { kind = \"command\", file = \"x\", command = \"echo x; echo > FOLDER/begun; sleep 1000\" }\n\
         y = { kind = \"command\", file = \"y\", command = \"echo y; echo > FOLDER/begun; sleep 1000\" }\n\
         z = { kind = \"command\", file = \"z\", command = \"echo z; echo > FOLDER/begun; sleep 1000\" }\n\
         never = { kind = \"command\", file = \"n\", command = \"touch FOLDER/never\" }\n",
    );
    fifo(&sr.at("begun"));
    let running = sr.command(&RUN).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = 0;
    while lines < 3 {
        lines += fs::read_to_string(sr.at("begun")).unwrap().lines().count();
    }
    assert!(run("kill", &["-TERM", &running.id().to_string()]));
    let output = running.wait_with_output().unwrap();
    let text = said(130, &RUN, &output);
    assert!(text.contains("interrupted"), "{text}");
    assert!(!sr.at("never").exists());
    assert!(sr.expect(0, &["runs"]).contains("failed"));
    assert!(sr.expect(0, &["snapshots"]).contains("0 snapshots"));
}
