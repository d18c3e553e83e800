//! A walk through a tree: depth first, sorted by name, scanned ahead by a few threads.
//!
//! The caller is told of one directory after the other, in an order that depends on names alone. Directories are
//! scanned (names, stats, exclusion, and what the caller wants to note of them) on threads that run ahead, as far as
//! a bound on entries lets them. If the caller comes to a directory that nobody has begun, it scans it itself, so the
//! walk goes on whatever the bound is, and without threads as well.
//!
//! Symbolic links are never followed. Neither stack nor handles grow with the depth of the tree. Memory grows with
//! the widest directory, whose entries are one listing.

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::exclude::ExcludeRules;
use super::listing::Listing;
use super::scan::{Job, Scanner};
use super::scan_queue::{Claim, ScanQueue};
use super::stat::FileKind;

/// A step of the walk.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once and never kept")]
pub enum Event<T> {
    /// A directory begins. Its entries that are directories follow in order, each from its `Enter` to its `Leave`,
    /// even if it cannot be read: then it has a problem and no entries.
    Enter(Listing, T),
    /// The directory that was entered last and not left yet ends.
    Leave,
}

/// How a walk is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkOptions {
    /// Threads that scan ahead, beside the calling one.
    pub threads: usize,
    /// Entries that are scanned ahead at the most, but for the directories being scanned when it is reached.
    pub lookahead_entries_max: usize,
}

impl Default for WalkOptions {
    fn default() -> Self {
        Self { threads: 2, lookahead_entries_max: 65536 }
    }
}

/// Walks the tree below the directory `root` and calls `each` for every step, on this thread and in order.
///
/// `annotate` is called once for every listing, mostly on other threads and ahead of `each`, which is given what it
/// returned. The walk ends early when `each` fails. A root that cannot be read is a listing with a problem.
pub fn walk<T: Send, E>(
    root: &Path,
    rules: &ExcludeRules,
    options: &WalkOptions,
    annotate: impl Fn(&Listing) -> T + Sync,
    mut each: impl FnMut(Event<T>) -> Result<(), E>,
) -> Result<(), E> {
    let scanner = Scanner::new(root, rules);
    let (queue, root_place) = ScanQueue::new(Job::Root);
    let shared = Shared {
        scanner,
        annotate,
        entries_max: options.lookahead_entries_max,
        state: Mutex::new(Progress { queue, entries_ahead: 0, idle: 0, wanted: None, stopped: false }),
        work: Condvar::new(),
        done: Condvar::new(),
    };
    std::thread::scope(|scope| {
        // However this scope is left, the threads are told, or it would wait for them for ever.
        let _stop = Stop(&shared);
        for _ in 0..options.threads {
            scope.spawn(|| shared.scan_ahead());
        }
        shared.visit(root_place, &mut each)
    })
}

struct Shared<'a, T, A> {
    scanner: Scanner<'a>,
    annotate: A,
    entries_max: usize,
    state: Mutex<Progress<T>>,
    /// There may be a job for a thread that idles.
    work: Condvar,
    /// The place that the caller waits for is done.
    done: Condvar,
}

struct Progress<T> {
    queue: ScanQueue<Job, (Listing, T)>,
    entries_ahead: usize,
    idle: usize,
    wanted: Option<usize>,
    stopped: bool,
}

/// Ends the walk when it is dropped, for all threads.
struct Stop<'s, 'a, T, A>(&'s Shared<'a, T, A>);

impl<T, A> Drop for Stop<'_, '_, T, A> {
    fn drop(&mut self) {
        self.0.state.lock().stopped = true;
        self.0.work.notify_all();
        self.0.done.notify_all();
    }
}

impl<T, A> Shared<'_, T, A> {
    fn lock(&self) -> MutexGuard<'_, Progress<T>> {
        self.state.lock()
    }
}

impl<T: Send, A: Fn(&Listing) -> T + Sync> Shared<'_, T, A> {
    /// The calling thread: goes through the tree with a stack of its own.
    fn visit<E>(&self, root: usize, each: &mut impl FnMut(Event<T>) -> Result<(), E>) -> Result<(), E> {
        let mut buffer = Scanner::buffer();
        let mut open = vec![vec![root].into_iter()];
        while let Some(children) = open.last_mut() {
            match children.next() {
                Some(place) => {
                    let (listing, note, children) = self.obtain(place, &mut buffer);
                    each(Event::Enter(listing, note))?;
                    open.push(children.into_iter());
                }
                None => {
                    open.pop();
                    if !open.is_empty() {
                        each(Event::Leave)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The listing at `place`, scanned here if nobody else has begun.
    fn obtain(&self, place: usize, buffer: &mut Vec<u8>) -> (Listing, T, Vec<usize>) {
        let mut state = self.lock();
        loop {
            match state.queue.claim(place) {
                Claim::Done((listing, note), children) => {
                    self.consumed(&mut state, &listing);
                    return (listing, note, children);
                }
                Claim::Job(job) => {
                    drop(state);
                    self.scan(place, job, buffer);
                    state = self.lock();
                }
                Claim::InWork => {
                    if state.stopped {
                        // Let go first: the other threads end quietly.
                        drop(state);
                        panic!("a thread that scanned a directory panicked");
                    }
                    state.wanted = Some(place);
                    self.done.wait(&mut state);
                    state.wanted = None;
                }
            }
        }
    }

    fn consumed(&self, state: &mut Progress<T>, listing: &Listing) {
        let was_full = state.entries_ahead >= self.entries_max;
        state.entries_ahead -= weight(listing);
        if was_full && state.entries_ahead < self.entries_max && state.idle > 0 {
            self.work.notify_all();
        }
    }

    /// A scanning thread.
    fn scan_ahead(&self) {
        let stop_if_panicking = StopIfPanicking(self);
        let mut buffer = Scanner::buffer();
        while let Some((place, job)) = self.next_job() {
            self.scan(place, job, &mut buffer);
        }
        drop(stop_if_panicking);
    }

    fn next_job(&self) -> Option<(usize, Job)> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if state.entries_ahead < self.entries_max
                && let Some(job) = state.queue.take_first()
            {
                return Some(job);
            }
            state.idle += 1;
            self.work.wait(&mut state);
            state.idle -= 1;
        }
    }

    fn scan(&self, place: usize, job: Job, buffer: &mut Vec<u8>) {
        let (listing, note, parent) = self.scanner.scan(&job, buffer, &self.annotate);
        // The job's share of its parent's handle is let go before the children are offered.
        drop(job);
        let children: Vec<Job> = parent.map_or_else(Vec::new, |parent| {
            let directories = listing.entries.iter().filter(|e| e.stat.kind == FileKind::Directory);
            directories.map(|entry| Job::Child(Arc::clone(&parent), entry.clone())).collect()
        });
        let any = !children.is_empty();
        let mut state = self.lock();
        state.entries_ahead += weight(&listing);
        state.queue.finish(place, (listing, note), children.into_iter());
        if any && state.idle > 0 {
            self.work.notify_all();
        }
        if state.wanted == Some(place) {
            self.done.notify_one();
        }
    }
}

struct StopIfPanicking<'s, 'a, T, A>(&'s Shared<'a, T, A>);

impl<T, A> Drop for StopIfPanicking<'_, '_, T, A> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(Stop(self.0));
        }
    }
}

fn weight(listing: &Listing) -> usize {
    listing.entries.len() + 1
}

#[cfg(test)]
mod tests {
    use super::super::directory::Directory;
    use super::super::exclude::{ExcludeOptions, RuleSummary};
    use super::super::listing::stat_root;
    use super::super::problem::Problem;
    use super::super::problem::ProblemKind;
    use super::*;
    use std::convert::Infallible;
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    const MODES: [WalkOptions; 4] = [
        WalkOptions { threads: 0, lookahead_entries_max: 0 },
        WalkOptions { threads: 1, lookahead_entries_max: 0 },
        WalkOptions { threads: 3, lookahead_entries_max: 5 },
        WalkOptions { threads: 2, lookahead_entries_max: 100_000 },
    ];

    /// The walk in one line per step, and all problems.
    fn steps(root: &Path, rules: &ExcludeRules, options: &WalkOptions) -> (Vec<String>, Vec<Problem>) {
        let (mut steps, mut problems) = (Vec::new(), Vec::new());
        let mut open = Vec::new();
        let each = |event: Event<usize>| {
            match event {
                Event::Enter(listing, count) => {
                    assert_eq!(count, listing.entries.len());
                    let names: Vec<_> = listing.entries.iter().map(|e| e.name.escape_ascii().to_string()).collect();
                    steps.push(format!("{}: {}", listing.below.display(), names.join(" ")));
                    problems.extend(listing.problems);
                    open.push(listing.below);
                }
                Event::Leave => steps.push(format!("{} left", open.pop().expect("entered before").display())),
            }
            Ok::<_, Infallible>(())
        };
        let Ok(()) = walk(root, rules, options, |listing| listing.entries.len(), each);
        assert!(open.is_empty());
        (steps, problems)
    }

    fn rules(options: ExcludeOptions, root: &Path) -> ExcludeRules {
        ExcludeRules::new(&options, root).unwrap()
    }

    #[test]
    fn the_walk_goes_depth_first_in_order_of_names_however_many_threads_help() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["b/y", "b/x/deep", "a", "c"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for name in [&b"a/\xff"[..], b"a/1", b"b/x/f", b"a.", b"b-"] {
            fs::write(dir.path().join(OsStr::from_bytes(name)), b"").unwrap();
        }
        std::os::unix::fs::symlink("b", dir.path().join("link")).unwrap();
        let expected = [
            ": a a. b b- c link",
            "a: 1 \\xff",
            "a left",
            "b: x y",
            "b/x: deep f",
            "b/x/deep: ",
            "b/x/deep left",
            "b/x left",
            "b/y: ",
            "b/y left",
            "b left",
            "c: ",
            "c left",
            " left",
        ];
        for mode in MODES {
            let (steps, problems) = steps(dir.path(), &ExcludeRules::none(), &mode);
            assert_eq!(steps, expected, "{mode:?}");
            assert_eq!(problems, vec![]);
        }
    }

    #[test]
    fn many_directories_come_the_same_way_every_time() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..400 {
            let path = dir.path().join(format!("{}/{}", i % 7, i));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("f"), b"").unwrap();
        }
        let one = steps(dir.path(), &ExcludeRules::none(), &MODES[0]).0;
        assert_eq!(one.len(), 2 * (1 + 7 + 400));
        for mode in MODES.iter().cycle().take(20) {
            assert_eq!(steps(dir.path(), &ExcludeRules::none(), mode).0, one, "{mode:?}");
        }
    }

    /// Makes a chain of directories deeper than any path may be long.
    fn chain(root: &Path, levels: usize) {
        let mut at = Directory::open(root).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
            at = at.open_child(b"d").unwrap();
        }
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        rustix::fs::openat(&at, "bottom", flags, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_paths_are_long_is_walked_to_its_bottom() {
        let dir = tempfile::tempdir().unwrap();
        chain(dir.path(), 3000);
        for mode in MODES {
            let mut found = false;
            let each = |event| {
                if let Event::Enter(listing, ()) = event {
                    let listing: Listing = listing;
                    assert_eq!(listing.problems, vec![]);
                    if listing.entries[0].name == b"bottom" {
                        let dir = listing.directory().unwrap();
                        found = super::super::open_file(&dir, b"bottom").is_ok();
                        assert_eq!(listing.below.as_os_str().len(), 2 * 3000 - 1);
                    }
                }
                Ok::<_, Infallible>(())
            };
            let Ok(()) = walk(dir.path(), &ExcludeRules::none(), &mode, |_| (), each);
            assert!(found, "{mode:?}");
        }
    }

    /// With all kept handles in use, children are opened by their path.
    #[test]
    fn more_open_directories_than_handles_are_no_problem() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..300 {
            fs::create_dir_all(dir.path().join(format!("{i:03}/sub"))).unwrap();
        }
        let mut at = dir.path().to_owned();
        for _ in 0..200 {
            fs::create_dir_all(at.join("z")).unwrap();
            at.push("d");
            fs::create_dir(&at).unwrap();
        }
        for mode in MODES {
            let (steps, problems) = steps(dir.path(), &ExcludeRules::none(), &mode);
            assert_eq!(problems, vec![]);
            assert_eq!(steps.len(), 2 * (1 + 600 + 400));
        }
    }

    #[test]
    fn a_directory_that_vanishes_is_entered_empty_with_a_problem() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut seen = Vec::new();
        // Without threads a directory is scanned when the walk comes to it.
        let each = |event| {
            if let Event::Enter(listing, ()) = event {
                let listing: Listing = listing;
                if listing.below == Path::new("a") {
                    fs::remove_dir(dir.path().join("b")).unwrap();
                    fs::remove_dir(dir.path().join("c")).unwrap();
                    std::os::unix::fs::symlink("/", dir.path().join("c")).unwrap();
                }
                seen.extend(listing.problems.iter().map(|p| (p.path.clone(), p.what)));
                assert!(listing.below.as_os_str().is_empty() || listing.entries.is_empty());
            }
            Ok::<_, Infallible>(())
        };
        let Ok(()) = walk(dir.path(), &ExcludeRules::none(), &MODES[0], |_| (), each);
        let gone = |name| (dir.path().join(name), ProblemKind::Vanished);
        assert_eq!(seen, [gone("b"), gone("c")]);
    }

    /// Root reads everything, so the thread gives its privileges up first.
    #[test]
    fn a_directory_that_may_not_be_read_is_a_problem_and_the_walk_goes_on() {
        use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "b/inside", "c"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mode = |bits| std::os::unix::fs::PermissionsExt::from_mode(bits);
        fs::set_permissions(dir.path().join("b"), mode(0o000)).unwrap();
        let walked = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut sets = capabilities(None).unwrap();
                sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
                set_capabilities(None, sets).unwrap();
                steps(dir.path(), &ExcludeRules::none(), &MODES[0])
            });
            thread.join().unwrap()
        });
        fs::set_permissions(dir.path().join("b"), mode(0o700)).unwrap();
        assert_eq!(walked.0, [": a b c", "a: ", "a left", "b: ", "b left", "c: ", "c left", " left"]);
        assert_eq!(walked.1.len(), 1);
        assert_eq!((walked.1[0].what, &walked.1[0].path), (ProblemKind::Unreadable, &dir.path().join("b")));
    }

    #[test]
    fn a_root_that_is_a_link_a_file_or_missing_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/f"), b"").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        assert_eq!(stat_root(&dir.path().join("link")).unwrap().kind, FileKind::Symlink);
        assert_eq!(stat_root(&dir.path().join("link/")).unwrap().kind, FileKind::Directory);
        assert_eq!(stat_root(&dir.path().join("real/f")).unwrap().kind, FileKind::File);
        assert!(stat_root(&dir.path().join("none")).is_err());
        let root = |name: &str| steps(&dir.path().join(name), &ExcludeRules::none(), &MODES[3]);
        assert_eq!(root("link/").0, [": f", " left"]);
        for name in ["link", "none", "real/f"] {
            let (steps, problems) = root(name);
            assert_eq!((steps.len(), problems.len()), (2, 1), "{name}");
        }
    }

    #[test]
    fn what_is_left_out_is_never_entered() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["tmp/inner", "config/projects/tmp", "analysis-data", "x/cache"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for path in ["tmp/inner/f", "config/projects/tmp/f", "analysis-data/m", "x/cache/f", "x/y.o"] {
            fs::write(dir.path().join(path), b"12345").unwrap();
        }
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let options = ExcludeOptions {
            presets: strings(&["dss:temp", "dss:data"]),
            patterns: strings(&["*.o", dir.path().join("x/cache").to_str().unwrap()]),
            ..ExcludeOptions::default()
        };
        let rules = rules(options, dir.path());
        let (steps, _) = steps(dir.path(), &rules, &MODES[3]);
        let entered: Vec<_> = steps.into_iter().filter(|s| !s.ends_with("left")).collect();
        assert_eq!(
            entered,
            [
                ": analysis-data config tmp x",
                "analysis-data: ",
                "config: projects",
                "config/projects: tmp",
                "config/projects/tmp: f",
                "tmp: ",
                "x: ",
            ]
        );
        assert_eq!(rules.unmatched(), Vec::<String>::new());
        let objects = RuleSummary { rule: "--exclude *.o".to_owned(), matches: 1, bytes: 5, has_more: false };
        assert!(rules.summary().contains(&objects));
    }

    #[test]
    fn what_lies_below_a_directory_that_is_left_out_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["saved_models/p/v1", "x/other"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        for path in ["saved_models/p/v1/a", "saved_models/p/b", "saved_models/c", "x/other/d"] {
            fs::write(dir.path().join(path), b"12345").unwrap();
        }
        std::os::unix::fs::symlink("/", dir.path().join("saved_models/p/link")).unwrap();
        let bytes = |measure| {
            let options = ExcludeOptions {
                presets: vec!["dss:data".to_owned()],
                patterns: vec!["other/".to_owned()],
                measure,
                ..ExcludeOptions::default()
            };
            let rules = rules(options, dir.path());
            steps(dir.path(), &rules, &MODES[3]);
            rules.summary().into_iter().map(|s| (s.bytes, s.has_more)).collect::<Vec<_>>()
        };
        for measure in [true, false] {
            assert_eq!(bytes(measure), [(15, false), (5, false)]);
        }
    }

    #[test]
    fn a_tagged_directory_keeps_itself_and_its_tag() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["cache/sub", "fake", "skip/sub", "plain"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache";
        for (path, text) in [
            ("cache/CACHEDIR.TAG", tag),
            ("cache/big", "123456789"),
            ("fake/CACHEDIR.TAG", "Signature: 0"),
            ("fake/f", ""),
            ("skip/.nobackup", ""),
            ("plain/f", ""),
        ] {
            fs::write(dir.path().join(path), text).unwrap();
        }
        let options =
            ExcludeOptions { caches: true, if_present: vec![".nobackup".to_owned()], ..ExcludeOptions::default() };
        let rules = rules(options, dir.path());
        let (steps, _) = steps(dir.path(), &rules, &MODES[3]);
        let entered: Vec<_> = steps.into_iter().filter(|s| !s.ends_with("left")).collect();
        assert_eq!(
            entered,
            [": cache fake plain skip", "cache: CACHEDIR.TAG", "fake: CACHEDIR.TAG f", "plain: f", "skip: .nobackup"]
        );
        let did: Vec<_> = rules.summary().into_iter().map(|s| (s.matches, s.bytes)).collect();
        assert_eq!(did, [(1, 0), (1, 9)]);
    }

    /// `/proc` is mounted where this runs, and is no part of the file system of `/`.
    #[test]
    fn a_mount_point_is_kept_and_its_contents_are_left_out() {
        let options = ExcludeOptions {
            one_file_system: true,
            patterns: vec!["/*".to_owned(), "!/proc".to_owned()],
            ..ExcludeOptions::default()
        };
        let rules = rules(options, Path::new("/"));
        let mut proc = None;
        let each = |event| match event {
            Event::Enter(listing, ()) => {
                let listing: Listing = listing;
                if listing.below == Path::new("proc") {
                    proc = Some((listing.entries.len(), listing.problems.len()));
                    return Err(());
                }
                Ok(())
            }
            Event::Leave => Ok(()),
        };
        let ended = walk(Path::new("/"), &rules, &MODES[1], |_| (), each);
        assert_eq!((ended, proc), (Err(()), Some((0, 0))));
        assert_eq!(rules.summary().last().unwrap().matches, 1);
    }

    #[test]
    fn an_error_of_the_caller_ends_the_walk() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..50 {
            fs::create_dir(dir.path().join(i.to_string())).unwrap();
        }
        for mode in MODES {
            let mut calls = 0;
            let each = |_| {
                calls += 1;
                if calls == 3 { Err("enough") } else { Ok(()) }
            };
            assert_eq!(walk(dir.path(), &ExcludeRules::none(), &mode, |_| (), each), Err("enough"));
            assert_eq!(calls, 3);
        }
    }

    #[test]
    fn a_panic_on_a_scanning_thread_ends_the_walk_and_does_not_hang_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        for mode in MODES {
            let walked = std::panic::catch_unwind(|| {
                let annotate = |listing: &Listing| assert!(!listing.below.ends_with("b"), "on purpose");
                walk(dir.path(), &ExcludeRules::none(), &mode, annotate, |_| Ok::<_, Infallible>(()))
            });
            assert!(walked.is_err(), "{mode:?}");
        }
    }
}
