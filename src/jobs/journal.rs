//! The journal: what this machine ran, in a file of its own.
//!
//! A backup credential can read nothing back from the repository; the journal tells the machine what it did. It is a
//! file of JSON lines that only grows. Each line is written with one call, so that runs at the same time do not mix.
//!
//! ```text
//! <state>/jobs/journal.jsonl   what was begun and ended
//! <state>/jobs/<job>.lock      locked by the process that runs the job
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The file of the journal.
const JOURNAL: &str = "journal.jsonl";

/// How often, and with what pause, a lock is tried that somebody has.
const LOCK_TRIES: u32 = 10;
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The job was seen for the first time: what was due before is not owed.
    Seen {
        /// The job.
        job: String,
        /// When, in milliseconds since the epoch.
        time_ms: i64,
    },
    /// A run of a job began.
    Begun {
        /// Tells the run from others.
        run: String,
        /// The job.
        job: String,
        /// The type of the run.
        job_type: String,
        /// When, in milliseconds since the epoch.
        time_ms: i64,
        /// The slot that it is for, if it was due.
        slot_ms: Option<i64>,
        /// The sources that were asked for, if that was not the whole job.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        alone: Vec<String>,
    },
    /// The sources that a run is to save are known.
    Sources {
        /// The run.
        run: String,
        /// Their names, in the order in which they are saved.
        sources: Vec<String>,
    },
    /// A source of a run, or a member of one, is saved, or has failed. Of two lines the later one counts.
    Source {
        /// The run.
        run: String,
        /// The source.
        source: String,
        /// How complete it is.
        outcome: String,
        /// Its snapshot, if there is one.
        snapshot: Option<String>,
        /// Why there is none, or it is not complete.
        error: Option<String>,
        /// Bytes of its content.
        bytes: u64,
        /// Bytes added to the repository.
        bytes_stored: u64,
        /// When, in milliseconds since the epoch.
        #[serde(default)]
        time_ms: Option<i64>,
    },
    /// A source of a run has ended, with all its members.
    SourceEnded {
        /// The run.
        run: String,
        /// The source.
        source: String,
    },
    /// A run ended.
    Ended {
        /// The run.
        run: String,
        /// How complete its set is.
        outcome: String,
        /// When, in milliseconds since the epoch.
        time_ms: i64,
        /// Why it failed as a whole.
        error: Option<String>,
    },
}

/// The journal of a machine.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
}

/// A run, as the journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Tells the run from others.
    pub run: String,
    /// The job.
    pub job: String,
    /// The type of the run.
    pub job_type: String,
    /// When it began, in milliseconds since the epoch.
    pub begun_ms: i64,
    /// The slot that it was for.
    pub slot_ms: Option<i64>,
    /// The sources that were asked for, if that was not the whole job.
    pub alone: Vec<String>,
    /// When it ended; `None` if it has not, or was killed.
    pub ended_ms: Option<i64>,
    /// How complete its set is; `None` likewise.
    pub outcome: Option<String>,
    /// Why it failed as a whole.
    pub error: Option<String>,
    /// Its sources, or members of them, as far as they were saved or have failed.
    pub sources: Vec<RunSource>,
    /// Sources that it was to save and that have not ended: it is still going on, or was stopped before.
    pub unfinished: Vec<String>,
}

/// What came of a source of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSource {
    /// Its path.
    pub source: String,
    /// How complete it is.
    pub outcome: String,
    /// Its snapshot, if there is one.
    pub snapshot: Option<String>,
    /// Why it is not complete.
    pub error: Option<String>,
    /// Bytes of its content.
    pub bytes: u64,
    /// Bytes added to the repository.
    pub bytes_stored: u64,
    /// When it was done, in milliseconds since the epoch; journals of earlier versions do not say it.
    pub done_ms: Option<i64>,
}

/// The right to run a job: no other process has it. It ends with the process, however that ends.
#[derive(Debug)]
pub struct JobLock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl Journal {
    /// The journal in this state folder; the folder is made if need be.
    pub fn open(state: &Path) -> io::Result<Self> {
        let folder = state.join("jobs");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// The journal in this state folder, for reading only: nothing is made.
    pub fn look_at(state: &Path) -> Self {
        Self { folder: state.join("jobs") }
    }

    /// Where the journal is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(JOURNAL)
    }

    /// Adds a line; it is on disk when this returns.
    pub fn append(&self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(self.path())?;
        // A line that a power cut left without an end must not swallow this one.
        if !ends_with_a_line(&file)? {
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        file.sync_data()
    }

    /// All lines that can be read; one that was cut off is left out.
    pub fn events(&self) -> io::Result<Vec<Event>> {
        let text = match fs::read(self.path()) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        Ok(text.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> io::Result<Vec<Run>> {
        Ok(runs(self.events()?))
    }

    /// Takes the right to run a job; `None` if another process has it.
    pub fn lock(&self, job: &str) -> io::Result<Option<JobLock>> {
        let file = self.lock_file(job)?;
        // Who only asks whether it is locked has it for a moment.
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Some(JobLock(file))),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_WAIT),
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Whether a process has the right to run a job.
    pub fn is_locked(&self, job: &str) -> io::Result<bool> {
        let file = match File::open(self.lock_path(job)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    fn lock_path(&self, job: &str) -> PathBuf {
        self.folder.join(format!("{}.lock", crate::primitives::component::component(job)))
    }

    fn lock_file(&self, job: &str) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.lock_path(job))
    }
}

fn ends_with_a_line(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let len = file.metadata()?.len();
    let mut last = [0];
    if len == 0 {
        return Ok(true);
    }
    file.read_exact_at(&mut last, len - 1)?;
    Ok(last == *b"\n")
}

/// The runs that these lines tell of, oldest first.
pub fn runs(events: Vec<Event>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut planned: HashMap<String, Vec<String>> = HashMap::new();
    let find = |runs: &mut Vec<Run>, run: &str| runs.iter().rposition(|known| known.run == run);
    for event in events {
        match event {
            Event::Seen { .. } => {}
            Event::Begun { run, job, job_type, time_ms, slot_ms, alone } => runs.push(Run {
                run,
                job,
                job_type,
                begun_ms: time_ms,
                slot_ms,
                alone,
                ended_ms: None,
                outcome: None,
                error: None,
                sources: Vec::new(),
                unfinished: Vec::new(),
            }),
            Event::Sources { run, sources } => {
                if let Some(at) = find(&mut runs, &run) {
                    runs[at].unfinished.clone_from(&sources);
                    planned.insert(run, sources);
                }
            }
            Event::Source { run, source, outcome, snapshot, error, bytes, bytes_stored, time_ms } => {
                if let Some(at) = find(&mut runs, &run) {
                    let sources = &mut runs[at].sources;
                    let done = RunSource { source, outcome, snapshot, error, bytes, bytes_stored, done_ms: time_ms };
                    match sources.iter().position(|known| known.source == done.source) {
                        Some(known) => sources[known] = done,
                        None => sources.push(done),
                    }
                }
            }
            Event::SourceEnded { run, source } => {
                if let Some(at) = find(&mut runs, &run) {
                    runs[at].unfinished.retain(|known| *known != source);
                }
            }
            Event::Ended { run, outcome, time_ms, error } => {
                if let Some(at) = find(&mut runs, &run) {
                    let run = &mut runs[at];
                    (run.ended_ms, run.outcome, run.error) = (Some(time_ms), Some(outcome), error);
                }
            }
        }
    }
    for run in &mut runs {
        if let Some(planned) = planned.get(&run.run) {
            // Those that were saved at the same time ended in any order.
            run.sources.sort_by_cached_key(|source| place(planned, &source.source));
        }
    }
    runs
}

/// Which of the planned sources a path is, or lies below; the last place if it is none.
fn place(planned: &[String], path: &str) -> usize {
    let holds =
        |name: &&String| path.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let longest = planned.iter().filter(holds).max_by_key(|name| name.len());
    longest.and_then(|name| planned.iter().position(|known| known == name)).unwrap_or(usize::MAX)
}

/// The slot for which a job is owed a run: `latest_ms`, its last one, unless a run for it or for a later one began, or the
/// job was not yet known then.
pub fn owed(events: &[Event], job: &str, latest_ms: i64) -> Option<i64> {
    let known = events.iter().any(|event| match event {
        Event::Seen { job: known, time_ms } => known == job && *time_ms <= latest_ms,
        Event::Begun { job: known, time_ms, .. } => known == job && *time_ms <= latest_ms,
        _ => false,
    });
    let served = events.iter().any(|event| match event {
        Event::Begun { job: known, slot_ms: Some(slot_ms), .. } => known == job && *slot_ms >= latest_ms,
        _ => false,
    });
    (known && !served).then_some(latest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(run: &str, time_ms: i64, slot_ms: Option<i64>) -> Event {
        let (job, job_type) = ("a".to_owned(), "Daily".to_owned());
        Event::Begun { run: run.to_owned(), job, job_type, time_ms, slot_ms, alone: Vec::new() }
    }

    #[test]
    fn lines_come_back_and_one_that_was_cut_off_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.runs().unwrap(), vec![]);
        journal.append(&begun("1", 5, None)).unwrap();
        let mut file = OpenOptions::new().append(true).open(journal.path()).unwrap();
        file.write_all(b"{\"event\":\"ended\",\"run\":\"1\",\"outc").unwrap();
        let ended = Event::Ended { run: "1".to_owned(), outcome: "complete".to_owned(), time_ms: 9, error: None };
        journal.append(&ended).unwrap();
        let runs = journal.runs().unwrap();
        assert_eq!((runs.len(), runs[0].ended_ms, runs[0].outcome.as_deref()), (1, Some(9), Some("complete")));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(journal.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// Lines as an earlier version wrote them, and of a run that was killed while it saved its second source.
    #[test]
    fn what_a_run_has_and_has_not_saved_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let old = r#"{"event":"begun","run":"1","job":"a","job_type":"Daily","time_ms":5,"slot_ms":null}
{"event":"source","run":"1","source":"a/x","outcome":"complete","snapshot":"f0","error":null,"bytes":3,"bytes_stored":2}
{"event":"ended","run":"1","outcome":"complete","time_ms":9,"error":null}
{"event":"begun","run":"2","job":"a","job_type":"Daily","time_ms":15,"slot_ms":null}
{"event":"of_a_later_version","run":"2"}
"#;
        fs::write(journal.path(), old).unwrap();
        let run = || "2".to_owned();
        let saved = |source: &str, outcome: &str| Event::Source {
            run: run(),
            source: source.to_owned(),
            outcome: outcome.to_owned(),
            snapshot: Some("f1".to_owned()),
            error: None,
            bytes: 7,
            bytes_stored: 6,
            time_ms: Some(16),
        };
        let sources = ["a/x", "a/y", "a/z"].map(str::to_owned).to_vec();
        let ended = Event::SourceEnded { run: run(), source: "a/x".to_owned() };
        let events = [
            Event::Sources { run: run(), sources },
            saved("a/x", "complete"),
            // Its hook `after` failed.
            saved("a/x", "warnings"),
            ended,
            saved("a/y/db", "complete"),
        ];
        events.iter().for_each(|event| journal.append(event).unwrap());
        let runs = journal.runs().unwrap();
        assert_eq!((runs[0].sources[0].bytes, runs[0].sources[0].done_ms), (3, None));
        assert!(runs[0].unfinished.is_empty(), "an earlier version did not say what was to be saved");
        let sources: Vec<(&str, &str)> =
            runs[1].sources.iter().map(|s| (s.source.as_str(), s.outcome.as_str())).collect();
        assert_eq!(sources, [("a/x", "warnings"), ("a/y/db", "complete")]);
        assert_eq!((runs[1].unfinished.join(" "), runs[1].sources[1].done_ms), ("a/y a/z".to_owned(), Some(16)));
        assert_eq!(runs[1].outcome, None);
    }

    #[test]
    fn a_job_is_run_by_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let lock = journal.lock("a/../b").unwrap();
        assert!(lock.is_some() && journal.lock("a/../b").unwrap().is_none());
        assert!(journal.lock("c").unwrap().is_some());
        drop(lock);
        assert!(journal.lock("a/../b").unwrap().is_some());
    }

    /// MYDB-9: what was missed is made up once; the same slot never runs twice; a run by hand takes nobody's slot.
    #[test]
    fn a_slot_is_owed_until_a_run_for_it_begins() {
        let seen = Event::Seen { job: "a".to_owned(), time_ms: 10 };
        assert_eq!(owed(&[], "a", 20), None, "it was never seen before");
        let mut events = vec![seen];
        assert_eq!(owed(&events, "a", 5), None, "it was due before it was known");
        assert_eq!(owed(&events, "a", 20), Some(20));
        assert_eq!(owed(&events, "b", 20), None);
        events.push(begun("1", 25, None));
        assert_eq!(owed(&events, "a", 20), Some(20), "that one was run by hand");
        events.push(begun("2", 26, Some(20)));
        assert_eq!(owed(&events, "a", 20), None);
        // Two slots were missed: only the last is made up.
        assert_eq!(owed(&events, "a", 60), Some(60));
        events.push(begun("3", 61, Some(60)));
        assert_eq!(owed(&events, "a", 60), None);
    }
}
