//! What is owed: `always` hooks that must run, whatever happens to the process that began.
//!
//! A debt is written down before `before` begins, and removed when `always` has succeeded. The process that owes it holds
//! a lock on its file for its whole life: when the lock is free, that process is gone, and any other process of the same
//! user on the same machine may pay. Who pays holds the lock, too.
//!
//! ```text
//! <state>/jobs/owed/<id>.json   the debt: a line, and below it what came of it so far
//! <state>/jobs/owed/.lock       held for a moment by whoever looks for debts or writes a new one
//! ```
//!
//! The `start` of a restore in place is owed in the same way. While the restore writes into the directory, its debt says
//! so: nobody else may pay it then, because a service must not be started on a directory that is half restored.
//!
//! The folder is looked through only under `.lock`, so that a look does not seem to be the life of a process.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::primitives::error_chain::error_chain;
use crate::primitives::fsync::sync_folder;
use crate::primitives::progress::Observer;
use crate::process_group;

use super::debt::{Debt, Debtor, VERSION};
use super::hooks::{Ending, Hook, HookError, Moment};

/// A file that is longer is none of ours.
const FILE_LEN_MAX: u64 = 4 << 20;
/// The lock of the folder.
const LOCK: &str = ".lock";
/// How files end, and how those end that are being written.
const ENDING: &str = ".json";
const UNFINISHED: &str = ".new";

/// A line below the debt: what came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
enum Note {
    /// A hook of its frame was started.
    Running { hook: Moment, group: String },
    /// It ended.
    Ended { hook: Moment },
    /// The debt could not be paid.
    Failed { time_ms: i64, error: String },
    /// What it starts must not be started now, and why.
    Unfinished { why: String },
    /// It may be started again.
    Finished,
}

/// Whether, and by whom, a debt can be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The process that owes it, or one that pays it, is alive.
    Held,
    /// Its process is gone: it is to be paid.
    Due,
    /// Its process is gone, and another run of its job goes on, which will run the hook at its end.
    Running,
    /// Another user owes it.
    OtherUser,
    /// It is owed on another machine.
    OtherMachine,
    /// Its process is gone, and left behind what must not be started: see [`Entry::unfinished`].
    Unfinished,
}

/// A debt that was found.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The debt.
    pub debt: Debt,
    /// Whether it can be paid.
    pub state: State,
    /// How often it was tried in vain.
    pub tries: usize,
    /// When it was last tried, in milliseconds since the epoch, and why that failed.
    pub failed: Option<(i64, String)>,
    /// Why what it starts must not be started.
    pub unfinished: Option<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Listing {
    /// The debts, in the order in which they are to be paid.
    pub entries: Vec<Entry>,
    /// Files that are no debts, or cannot be read; and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// Why a debt could not be written down, found or paid.
#[derive(Debug, thiserror::Error)]
pub enum OwedError {
    /// The folder or a file of it failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such debt.
    #[error("nothing with the id {0} is owed")]
    Unknown(String),
    /// It belongs to a process that is alive, to another user or to another machine.
    #[error("{0} cannot be discarded: {1}")]
    NotOurs(String, &'static str),
    /// The hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OwedError + use<> {
    let path = path.to_owned();
    move |source| OwedError::File { action, path, source }
}

/// The debts of a state folder.
#[derive(Debug, Clone)]
pub struct Owed {
    folder: PathBuf,
}

/// A debt whose lock this process holds. Dropping it leaves the debt.
#[derive(Debug)]
pub struct Held {
    debt: Debt,
    file: File,
    path: PathBuf,
    /// Hooks whose end was not written down.
    running: Vec<(Moment, String)>,
}

/// A file of the folder, read; with its lock, if it was free.
struct Found {
    entry: Entry,
    held: Option<Held>,
}

impl Owed {
    /// Those of this state folder.
    pub fn of(state: &Path) -> Self {
        Self { folder: state.join("jobs/owed") }
    }

    /// Writes a debt down and holds it: it is on disk when this returns.
    pub fn hold(&self, debt: Debt) -> Result<Held, OwedError> {
        let jobs = self.folder.parent().unwrap_or(&self.folder);
        DirBuilder::new().recursive(true).mode(0o700).create(jobs).map_err(failed("create", jobs))?;
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.and_then(|()| sync_folder(File::open(jobs)?)).map_err(failed("create", &self.folder))?,
        }
        let _gate = self.gate()?;
        let (path, new) = (self.at(&debt.id, ENDING), self.at(&debt.id, UNFINISHED));
        let write = || -> io::Result<File> {
            let mut line = serde_json::to_vec(&debt)?;
            line.push(b'\n');
            let mut file = OpenOptions::new().create_new(true).read(true).append(true).mode(0o600).open(&new)?;
            file.try_lock().map_err(io::Error::from)?;
            file.write_all(&line)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            sync_folder(File::open(&self.folder)?)?;
            Ok(file)
        };
        let file = write().map_err(failed("write down what is owed to", &path))?;
        Ok(Held { debt, file, path, running: Vec::new() })
    }

    /// All debts, those of processes that are alive too.
    pub fn list(&self, me: &Debtor) -> Result<Listing, OwedError> {
        let (found, unreadable) = self.look(me)?;
        Ok(Listing { entries: found.into_iter().map(|found| found.entry).collect(), unreadable })
    }

    /// Takes all debts that are due, in the order in which they are to be paid; and all that there are.
    pub fn take_due(&self, me: &Debtor) -> Result<(Vec<Held>, Listing), OwedError> {
        let (found, unreadable) = self.look(me)?;
        let entries = found.iter().map(|found| found.entry.clone()).collect();
        let due = found.into_iter().filter(|found| found.entry.state == State::Due).filter_map(|found| found.held);
        Ok((due.collect(), Listing { entries, unreadable }))
    }

    /// Removes a debt without paying it.
    pub fn discard(&self, id: &str, me: &Debtor) -> Result<Debt, OwedError> {
        let (found, _) = self.look(me)?;
        let Some(found) = found.into_iter().find(|found| found.entry.debt.id == id) else {
            return Err(OwedError::Unknown(id.to_owned()));
        };
        let why = match (found.entry.state, found.held) {
            (State::Held, _) => "the process that owes it is alive, and will run it",
            (State::OtherUser, _) => "another user owes it",
            (_, None) => "another process has it",
            (_, Some(held)) => {
                held.remove()?;
                return Ok(found.entry.debt);
            }
        };
        Err(OwedError::NotOurs(id.to_owned(), why))
    }

    fn at(&self, id: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{id}{ending}"))
    }

    /// Is held while the folder is looked through or added to.
    fn gate(&self) -> Result<File, OwedError> {
        let path = self.folder.join(LOCK);
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let locked = open.and_then(|file| file.lock().map(|()| file));
        locked.map_err(failed("lock", &path))
    }

    /// All files, with the locks that were free.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once")]
    fn look(&self, me: &Debtor) -> Result<(Vec<Found>, Vec<(PathBuf, String)>), OwedError> {
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        let reading = || failed("look for what is owed in", &self.folder);
        match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((found, unreadable)),
            Err(e) => return Err(reading()(e)),
            Ok(_) => {}
        }
        let _gate = self.gate()?;
        for entry in fs::read_dir(&self.folder).map_err(reading())? {
            let path = entry.map_err(reading())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(UNFINISHED) {
                // Nobody writes one now; who did was killed before he began.
                let _ = fs::remove_file(&path);
            } else if name != LOCK {
                match open(&path) {
                    Ok(one) => found.extend(one),
                    Err(why) => unreadable.push((path, why)),
                }
            }
        }
        judge(&mut found, me);
        // Of one run, the newest first: a source's hook before its job's.
        let begun = |run: &str| found.iter().filter(|f| f.entry.debt.run == run).map(|f| f.entry.debt.owed_ms).min();
        let keys: Vec<_> = found.iter().map(|f| (begun(&f.entry.debt.run), f.entry.debt.run.clone())).collect();
        let mut keyed: Vec<_> = keys.into_iter().zip(found).collect();
        keyed.sort_by(|(a, x), (b, y)| {
            let inner_first = || {
                (y.entry.debt.source.is_some(), y.entry.debt.owed_ms)
                    .cmp(&(x.entry.debt.source.is_some(), x.entry.debt.owed_ms))
            };
            a.cmp(b).then_with(inner_first)
        });
        unreadable.sort();
        Ok((keyed.into_iter().map(|(_, found)| found).collect(), unreadable))
    }

    /// Removes debts that one that was paid stands for, too.
    fn settle_like(&self, debt: &Debt) -> Result<(), OwedError> {
        let (found, _) = self.look(&debt.debtor)?;
        let like = found.into_iter().filter(|found| found.entry.debt.is_like(debt) && found.entry.debt.id != debt.id);
        like.filter_map(|found| found.held).try_for_each(Held::remove)
    }
}

/// Reads a file and takes its lock, if that is free. `None` if it was removed meanwhile.
fn open(path: &Path) -> Result<Option<Found>, String> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(flags.bits() as i32);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(error_chain(&e)),
    };
    let metadata = file.metadata().map_err(|e| error_chain(&e))?;
    if !metadata.is_file() || metadata.len() > FILE_LEN_MAX {
        return Err("it is no file that strongroom wrote".to_owned());
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(format!("other users can write it: its mode is {:o}", metadata.mode() & 0o7777));
    }
    let mut text = String::new();
    (&mut file).take(FILE_LEN_MAX).read_to_string(&mut text).map_err(|e| error_chain(&e))?;
    let (first, rest) = text.split_once('\n').ok_or("its first line is cut off")?;
    let debt: Debt = serde_json::from_str(first).map_err(|_| "its first line cannot be understood")?;
    if debt.version != VERSION {
        return Err(format!("another version of strongroom wrote it (version {} of the file)", debt.version));
    }
    if debt.debtor.uid != metadata.uid() {
        return Err("it belongs to another user than it says".to_owned());
    }
    let (mut running, mut tries, mut last, mut unfinished) = (Vec::new(), 0, None, None);
    // A line that was cut off says nothing.
    for note in rest.lines().filter_map(|line| serde_json::from_str::<Note>(line).ok()) {
        match note {
            Note::Running { hook, group } => running.push((hook, group)),
            Note::Ended { hook } => running.retain(|(known, _)| *known != hook),
            Note::Failed { time_ms, error } => (tries, last) = (tries + 1, Some((time_ms, error))),
            Note::Unfinished { why } => unfinished = Some(why),
            Note::Finished => unfinished = None,
        }
    }
    let locked = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(e)) => return Err(format!("it cannot be locked: {}", error_chain(&e))),
    };
    // Who had the lock may have paid between the opening and the lock.
    if file.metadata().map_err(|e| error_chain(&e))?.nlink() == 0 {
        return Ok(None);
    }
    let state = if locked { State::Due } else { State::Held };
    let entry = Entry { debt: debt.clone(), state, tries, failed: last, unfinished };
    let held = locked.then(|| Held { debt, file, path: path.to_owned(), running });
    Ok(Some(Found { entry, held }))
}

/// Says of debts whose lock was free whether they are ours to pay, now.
fn judge(found: &mut [Found], me: &Debtor) {
    let held = |f: &Found| f.entry.state == State::Held && f.entry.debt.debtor == *me;
    let busy: Vec<String> = found.iter().filter(|f| held(f)).map(|f| f.entry.debt.job.clone()).collect();
    for Found { entry, .. } in found.iter_mut().filter(|f| f.entry.state == State::Due) {
        let debtor = &entry.debt.debtor;
        entry.state = if debtor.uid != me.uid {
            State::OtherUser
        } else if debtor.machine != me.machine {
            State::OtherMachine
        } else if busy.contains(&entry.debt.job) {
            State::Running
        } else if entry.unfinished.is_some() {
            State::Unfinished
        } else {
            State::Due
        };
    }
}

impl Held {
    /// The debt.
    pub fn debt(&self) -> &Debt {
        &self.debt
    }

    /// Notes that a hook was started, so that who pays can end it before.
    pub fn started(&mut self, hook: Moment, group: &str) {
        // Without it, the hook ends by the death signal alone.
        let _ = self.note(&Note::Running { hook, group: group.to_owned() });
    }

    /// Notes that a hook ended: what it left running is not to be ended.
    pub fn ended(&mut self, hook: Moment) {
        let _ = self.note(&Note::Ended { hook });
    }

    /// Writes down that what this debt starts must not be started by anybody else from now on. It is on disk when this
    /// returns.
    pub fn unfinished(&mut self, why: &str) -> Result<(), OwedError> {
        self.durable(&Note::Unfinished { why: why.to_owned() })
    }

    /// Writes down that it may be started.
    pub fn finished(&mut self) -> Result<(), OwedError> {
        self.durable(&Note::Finished)
    }

    fn durable(&mut self, note: &Note) -> Result<(), OwedError> {
        self.note(note).and_then(|()| self.file.sync_data()).map_err(failed("write to", &self.path))
    }

    /// Runs the hook. If it succeeds, the debt is removed, and so are others of processes that are gone for which the
    /// same is to be run. If it fails, that is noted, and the debt stays. `mask` takes secrets out of what is noted.
    pub fn pay(
        mut self,
        ending: &Ending,
        observer: &dyn Observer,
        now_ms: &dyn Fn() -> i64,
        mask: fn(&str) -> String,
    ) -> Result<(), OwedError> {
        for (hook, group) in std::mem::take(&mut self.running) {
            // A service that `always` has started already is not to be ended.
            if !hook.is_owed() || process_group::is_running(&group) {
                process_group::end_recorded(&group);
            }
        }
        let (what, debt) = (self.debt.what(), self.debt.clone());
        // It is not ended with this process: better it comes to its end, and is run once more.
        let (moment, ending, launcher) = (debt.hook(), Some(ending), None);
        let hook = Hook { moment, what: &what, line: &debt.line, surroundings: &debt.surroundings, ending, launcher };
        let done = hook.run(observer, &mut |group| self.started(moment, group));
        self.ended(moment);
        match done {
            Ok(()) => {
                let folder = self.path.parent().map(Path::to_owned).unwrap_or_default();
                self.remove()?;
                Owed { folder }.settle_like(&debt)
            }
            Err(e) => {
                let note = Note::Failed { time_ms: now_ms(), error: mask(&error_chain(&e)) };
                self.durable(&note)?;
                Err(e.into())
            }
        }
    }

    /// Removes the debt: what it asks for was done, or is not to be done.
    pub fn remove(self) -> Result<(), OwedError> {
        let removed = fs::remove_file(&self.path);
        let folder = self.path.parent().unwrap_or(&self.path);
        removed.and_then(|()| sync_folder(File::open(folder)?)).map_err(failed("remove", &self.path))
    }

    fn note(&mut self, note: &Note) -> io::Result<()> {
        // A line before may have been cut off.
        let mut line = b"\n".to_vec();
        line.extend(serde_json::to_vec(note)?);
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::hooks::Surroundings;
    use crate::primitives::progress::Silent;
    use crate::primitives::system::OsSystem;
    use std::os::unix::fs::PermissionsExt;

    fn me() -> Debtor {
        Debtor::this("me", "here")
    }

    fn debt(job: &str, source: Option<&str>, line: &str, owed_ms: i64) -> Debt {
        let surroundings = Surroundings { run_as: None, timeout_ms: 60_000, cwd: None, env: Vec::new() };
        let debt = Debt::new((job, source), &format!("run-{job}"), line, surroundings, me(), &OsSystem);
        Debt { owed_ms, ..debt }
    }

    fn states(owed: &Owed) -> Vec<(String, State)> {
        let listing = owed.list(&me()).unwrap();
        assert_eq!(listing.unreadable, []);
        listing.entries.iter().map(|entry| (entry.debt.what(), entry.state)).collect()
    }

    fn pay(held: Held) -> Result<(), OwedError> {
        held.pay(&Ending::unknown(), &Silent, &|| 7, |text| text.replace("hunter2", "***"))
    }

    #[test]
    fn a_debt_is_held_as_long_as_its_process_lives_and_is_due_then() {
        let state = tempfile::tempdir().unwrap();
        let owed = Owed::of(state.path());
        assert!(states(&owed).is_empty() && !state.path().join("jobs").exists(), "nothing is made to look");
        let held = owed.hold(debt("a", None, "true", 1)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&held.path), mode(&owed.folder)), (0o600, 0o700));
        assert_eq!(states(&owed), [("job a".to_owned(), State::Held)]);
        assert!(owed.take_due(&me()).unwrap().0.is_empty());
        assert!(owed.discard(&held.debt().id, &me()).unwrap_err().to_string().contains("is alive"));
        drop(held);
        assert_eq!(states(&owed), [("job a".to_owned(), State::Due)]);
        let due = owed.take_due(&me()).unwrap().0;
        assert!(due.len() == 1 && owed.take_due(&me()).unwrap().0.is_empty(), "who pays has it alone");
        due.into_iter().try_for_each(pay).unwrap();
        assert!(states(&owed).is_empty());
        assert!(matches!(owed.discard("x", &me()), Err(OwedError::Unknown(_))));
    }

    #[test]
    fn who_may_pay_is_the_user_on_the_machine_and_not_beside_a_run_of_the_job() {
        let state = tempfile::tempdir().unwrap();
        let owed = Owed::of(state.path());
        drop(owed.hold(debt("a", None, "true", 1)).unwrap());
        let live = owed.hold(debt("a", None, "true", 2)).unwrap();
        assert_eq!(
            states(&owed).into_iter().map(|(_, state)| state).collect::<Vec<_>>(),
            [State::Held, State::Running]
        );
        // What the run pays at its end stands for the old one, too.
        pay(live).unwrap();
        assert!(states(&owed).is_empty());
        drop(owed.hold(debt("b", None, "true", 1)).unwrap());
        let elsewhere = Debtor { machine: "there".to_owned(), ..me() };
        let (due, listing) = owed.take_due(&elsewhere).unwrap();
        assert!(due.is_empty() && listing.entries[0].state == State::OtherMachine);
        let other = Debtor { uid: me().uid + 1, ..me() };
        let (due, listing) = owed.take_due(&other).unwrap();
        assert!(due.is_empty() && listing.entries[0].state == State::OtherUser);
        assert!(owed.discard(&listing.entries[0].debt.id, &other).is_err());
    }

    #[test]
    fn of_one_run_a_source_s_hook_is_paid_before_its_job_s_and_older_runs_first() {
        let state = tempfile::tempdir().unwrap();
        let owed = Owed::of(state.path());
        for debt in [debt("new", None, "true", 9), debt("old", None, "true", 1), debt("old", Some("s"), "true", 1)] {
            drop(owed.hold(debt).unwrap());
        }
        let order: Vec<String> = states(&owed).into_iter().map(|(what, _)| what).collect();
        assert_eq!(order, ["source old/s", "job old", "job new"]);
    }

    #[test]
    fn a_command_that_fails_leaves_the_debt_and_why() {
        let state = tempfile::tempdir().unwrap();
        let owed = Owed::of(state.path());
        let held = owed.hold(debt("a", None, "echo hunter2; exit 3", 1)).unwrap();
        let path = held.path.clone();
        // As a power cut leaves it.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"note\":\"fai").unwrap();
        assert!(pay(held).unwrap_err().to_string().contains("status 3"));
        let listing = owed.list(&me()).unwrap();
        let entry = &listing.entries[0];
        assert_eq!((entry.tries, entry.state), (1, State::Due));
        let (time_ms, error) = entry.failed.clone().unwrap();
        assert!(time_ms == 7 && error.contains("status 3: ***"), "{error}");
        owed.discard(&entry.debt.id, &me()).unwrap();
        assert!(states(&owed).is_empty());
    }

    /// A `stop` that outlives its run must not stop what `always` starts. What `always` started is not to be ended.
    #[test]
    fn what_ran_when_the_process_was_killed_is_ended_before() {
        let state = tempfile::tempdir().unwrap();
        let owed = Owed::of(state.path());
        let start = || {
            let mut command = std::process::Command::new("bash");
            let group = process_group::spawn(command.args(["-c", "sleep 1000 & sleep 1000"])).unwrap();
            let mut group = std::mem::ManuallyDrop::new(group);
            let text = process_group::record(group.child().id()).unwrap();
            (group, text)
        };
        let (mut running, ended) = (start(), start());
        let mut held = owed.hold(debt("a", None, "true", 1)).unwrap();
        held.started(Moment::Before, &running.1);
        held.started(Moment::After, &ended.1);
        held.ended(Moment::After);
        drop(held);
        let due = owed.take_due(&me()).unwrap().0;
        due.into_iter().try_for_each(pay).unwrap();
        running.0.wait().unwrap();
        assert!(process_group::is_running(&ended.1));
        assert!(process_group::end_recorded(&ended.1));
    }

    #[test]
    fn files_that_are_no_debts_are_named_and_stay() {
        let state = tempfile::tempdir().unwrap();
        let owed = Owed::of(state.path());
        drop(owed.hold(debt("a", None, "true", 1)).unwrap());
        let at = |name: &str| owed.folder.join(name);
        let whole = serde_json::to_string(&debt("b", None, "true", 1)).unwrap();
        let newer = whole.replacen("\"version\":1", "\"version\":2", 1) + "\n";
        for (name, text) in [("torn.json", &whole[..40]), ("odd.json", "{}\n"), ("newer.json", &newer), ("x.new", "")] {
            OpenOptions::new()
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(at(name))
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", at("link.json")).unwrap();
        fs::write(at("open.json"), whole + "\n").unwrap();
        fs::set_permissions(at("open.json"), fs::Permissions::from_mode(0o622)).unwrap();
        let (due, listing) = owed.take_due(&me()).unwrap();
        let why: Vec<(String, &str)> = listing
            .unreadable
            .iter()
            .map(|(path, why)| {
                (path.file_name().unwrap().to_string_lossy().into_owned(), why.split(':').next().unwrap())
            })
            .collect();
        let expected = [
            ("link.json", "too many levels of symbolic links (os error 40)"),
            ("newer.json", "another version of strongroom wrote it (version 2 of the file)"),
            ("odd.json", "its first line cannot be understood"),
            ("open.json", "other users can write it"),
            ("torn.json", "its first line is cut off"),
        ];
        let why: Vec<(&str, String)> = why.iter().map(|(name, why)| (name.as_str(), why.to_lowercase())).collect();
        assert_eq!(why, expected.map(|(name, why)| (name, why.to_owned())));
        assert!(due.len() == 1 && !at("x.new").exists() && at("torn.json").exists());
    }
}
