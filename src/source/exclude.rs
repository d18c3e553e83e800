//! What a backup leaves out.
//!
//! Patterns have gitignore meaning and are anchored at the root of each source; the last one that matches an entry
//! decides, and `!` takes it in again. They are asked in this order: presets, files of patterns, patterns given one
//! by one. A pattern that begins with the absolute path of the source is taken as lying below it. What lies below a
//! directory that is left out is never looked at, so it cannot be taken in again (as in git).
//!
//! Beside the patterns: directories that carry a tag (`CACHEDIR.TAG`, or a name that the user chose) keep nothing
//! but the tag; files above a length, and what lies on other file systems, are left out.
//!
//! Every rule counts what it leaves out, so that one that does nothing (a typing error) can be told. Counts are
//! shared by all roots that rules were made for. Where two patterns match, the one that decides counts.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use globset::GlobBuilder;

use crate::patterns::{Patterns, ignore_case};

use super::directory::Directory;
use super::file::open_file;
use super::presets::Preset;
use super::stat::{FileKind, Stat};

/// The name that marks a cache directory (<https://bford.info/cachedir/>).
pub const CACHEDIR_TAG: &[u8] = b"CACHEDIR.TAG";

/// How a valid tag begins.
pub const CACHEDIR_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// A file of patterns is read up to this length.
const PATTERN_FILE_LEN_MAX: u64 = 16 << 20;

/// Why rules could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ExcludeError {
    /// There is no such preset.
    #[error("there is no exclusion preset {name:?}; there are {}", preset_names())]
    UnknownPreset {
        /// The name that was asked for.
        name: String,
    },
    /// A file of patterns could not be read.
    #[error("cannot read the file of exclusion patterns {}", path.display())]
    PatternFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A pattern means nothing.
    #[error("the exclusion pattern {pattern:?} is not valid: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A tag is not the name of a file.
    #[error("{name:?} is not a file name: the tag of --exclude-if-present has no slash and is not empty")]
    TagName {
        /// The name that was given.
        name: String,
    },
}

/// What to leave out, as the user says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExcludeOptions {
    /// Names of presets.
    pub presets: Vec<String>,
    /// Names of presets that nobody asked for: that such a one matches nothing is not worth a word.
    pub default_presets: Vec<String>,
    /// Files with one pattern a line; empty lines and lines that begin with `#` are passed over.
    pub pattern_files: Vec<PathBuf>,
    /// Patterns.
    pub patterns: Vec<String>,
    /// As `pattern_files`, with upper and lower case taken for equal.
    pub pattern_files_ignoring_case: Vec<PathBuf>,
    /// As `patterns`, with upper and lower case taken for equal.
    pub patterns_ignoring_case: Vec<String>,
    /// Leave out the contents of directories with a valid `CACHEDIR.TAG`.
    pub caches: bool,
    /// Leave out the contents of directories that hold an entry of one of these names.
    pub if_present: Vec<String>,
    /// Leave out regular files that are longer than this.
    pub larger_than: Option<u64>,
    /// Leave out the contents of directories on other file systems than the root of the source.
    pub one_file_system: bool,
    /// All sources: a pattern that begins with the absolute path of one counts only there.
    pub roots: Vec<PathBuf>,
    /// Absolute paths that are left out in any case: what the program itself writes meanwhile.
    pub own: Vec<PathBuf>,
    /// Count all bytes below every directory that a pattern leaves out. It costs a walk through them; without it, only so
    /// many of their entries are looked at, but for presets that leave out data worth having.
    pub measure: bool,
}

/// What is to be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is backed up.
    Keep,
    /// It is left out.
    Leave {
        /// Which rule says so; an index into [`ExcludeRules::summary`].
        rule: usize,
    },
}

/// What one rule did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSummary {
    /// The rule as the user would write it.
    pub rule: String,
    /// Entries it decided about.
    pub matches: u64,
    /// Bytes of the regular files it left out, as far as they were counted: see [`ExcludeOptions::measure`].
    pub bytes: u64,
    /// Whether there are more that were not counted.
    pub has_more: bool,
}

/// How far a directory that is left out is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// All of it.
    All,
    /// So many entries, and none of another file system: it may be one that hangs, or has no end.
    Entries(u64),
}

/// Entries below directories that one rule leaves out that are looked at, to count their bytes.
const ENTRIES_MEASURED_MAX: u64 = 20_000;

/// Rules for one source root. Any number of threads may ask at once.
#[derive(Debug, Clone)]
pub struct ExcludeRules {
    tally: Arc<Tally>,
    set: Patterns,
    /// Of each pattern of the set, which line it is.
    lines: Arc<[usize]>,
    /// What is walked lies so far below the root for which the rules are.
    below: PathBuf,
    /// Paths below the root that are passed over: they are saved apart.
    apart: Arc<[PathBuf]>,
}

/// The rules without a root, and their counters.
#[derive(Debug, Default)]
struct Tally {
    rules: Vec<Rule>,
    lines: Vec<Line>,
    caches: Option<usize>,
    if_present: Vec<(Vec<u8>, usize)>,
    larger_than: Option<(u64, usize)>,
    one_file_system: Option<usize>,
    measure: bool,
    roots: Vec<PathBuf>,
}

#[derive(Debug)]
struct Rule {
    label: String,
    /// Whether a rule that matches nothing is worth a word: not so a general switch.
    expected: bool,
    preset: Option<&'static Preset>,
    matches: AtomicU64,
    bytes: AtomicU64,
    /// Entries below directories that were looked at.
    measured: AtomicU64,
    has_more: AtomicBool,
}

#[derive(Debug)]
struct Line {
    rule: usize,
    pattern: String,
    /// It may begin with the path of a source.
    is_absolute: bool,
}

impl Line {
    fn new(rule: usize, pattern: String) -> Self {
        let is_absolute = pattern.trim_start_matches('!').starts_with('/');
        Self { rule, pattern, is_absolute }
    }
}

impl ExcludeRules {
    /// Makes rules for the source whose absolute path is `root`.
    pub fn new(options: &ExcludeOptions, root: &Path) -> Result<Self, ExcludeError> {
        let tally = Arc::new(Tally::gather(options)?);
        let (set, lines) = tally.compile(root)?;
        Ok(Self { tally, set, lines, below: PathBuf::new(), apart: Arc::default() })
    }

    /// The same rules as options that need neither presets nor files, for whoever asks later; `None` if there are none.
    pub fn recorded(&self) -> Option<ExcludeOptions> {
        let tally = &self.tally;
        if tally.rules.is_empty() {
            return None;
        }
        let names = tally.if_present.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        Some(ExcludeOptions {
            patterns: tally.lines.iter().map(|line| line.pattern.clone()).collect(),
            caches: tally.caches.is_some(),
            if_present: names.collect(),
            larger_than: tally.larger_than.map(|(len, _)| len),
            one_file_system: tally.one_file_system.is_some(),
            ..ExcludeOptions::default()
        })
    }

    /// Rules that leave nothing out.
    pub fn none() -> Self {
        let (below, apart) = (PathBuf::new(), Arc::default());
        Self { tally: Arc::default(), set: Patterns::default(), lines: Arc::default(), below, apart }
    }

    /// The same rules for another root; they count together.
    pub fn for_root(&self, root: &Path) -> Result<Self, ExcludeError> {
        let (set, lines) = self.tally.compile(root)?;
        Ok(Self { tally: Arc::clone(&self.tally), set, lines, below: PathBuf::new(), apart: Arc::default() })
    }

    /// The same rules for a walk that begins at `path` below the root: patterns are anchored at the root as before.
    pub fn below(self, path: &Path) -> Self {
        Self { below: self.below.join(path), ..self }
    }

    /// The same rules, which also have the walk pass over these paths below the root. No rule counts them.
    pub fn with_apart(self, paths: &[PathBuf]) -> Self {
        Self { apart: paths.into(), ..self }
    }

    /// Whether the walk passes over a path below its beginning, because it is saved apart.
    pub(super) fn is_apart(&self, path: &Path) -> bool {
        !self.apart.is_empty() && self.apart.contains(&self.below.join(path))
    }

    /// Decides about an entry by its path below the beginning of the walk, and counts it. Its parents were decided about before.
    pub fn decide(&self, path_below_root: &Path, stat: &Stat) -> Decision {
        let matched = match self.below.as_os_str().is_empty() {
            true => self.matched(path_below_root, stat),
            false => self.matched(&self.below.join(path_below_root), stat),
        };
        if let Some(rule) = matched {
            return self.leave(rule, stat);
        }
        match self.tally.larger_than {
            Some((len_max, rule)) if stat.kind == FileKind::File && stat.size > len_max => self.leave(rule, stat),
            _ => Decision::Keep,
        }
    }

    /// Whether the contents of directories on other file systems are left out.
    pub fn one_file_system(&self) -> bool {
        self.tally.one_file_system.is_some()
    }

    /// Notes that the contents of a mount point were left out.
    pub(super) fn leave_mount_point(&self) {
        if let Some(rule) = self.tally.one_file_system {
            self.tally.rules[rule].count(0);
        }
    }

    /// The tag for which the contents of a directory are left out, if its names hold one: its name and the rule.
    ///
    /// `has` tells whether the directory holds a name.
    pub(super) fn tag_in(&self, dir: &Directory, has: impl Fn(&[u8]) -> bool) -> Option<(Vec<u8>, usize)> {
        if let Some((name, rule)) = self.tally.if_present.iter().find(|(name, _)| has(name)) {
            return Some((name.clone(), *rule));
        }
        let rule = self.tally.caches?;
        (has(CACHEDIR_TAG) && is_cachedir_tag(dir)).then(|| (CACHEDIR_TAG.to_vec(), rule))
    }

    /// Notes a directory whose contents were left out, with the bytes of the files in it.
    pub(super) fn leave_contents(&self, rule: usize, bytes: u64) {
        self.tally.rules[rule].count(bytes);
    }

    /// How far a directory that `rule` leaves out is to be looked through.
    pub(super) fn measures(&self, rule: usize) -> Measure {
        let rule = &self.tally.rules[rule];
        if self.tally.measure || rule.preset.is_some_and(|p| p.measured) {
            return Measure::All;
        }
        Measure::Entries(ENTRIES_MEASURED_MAX.saturating_sub(rule.measured.load(Ordering::Relaxed)))
    }

    /// Notes what was found below a directory that was left out: bytes, entries that were looked at, whether there are
    /// more.
    pub(super) fn add_below(&self, rule: usize, bytes: u64, entries: u64, has_more: bool) {
        let rule = &self.tally.rules[rule];
        rule.bytes.fetch_add(bytes, Ordering::Relaxed);
        rule.measured.fetch_add(entries, Ordering::Relaxed);
        rule.has_more.fetch_or(has_more, Ordering::Relaxed);
    }

    /// Whether no rule looks at paths or lengths, so that entries need not be shown to `decide`.
    pub(super) fn keeps_all(&self) -> bool {
        self.set.is_empty() && self.tally.larger_than.is_none() && self.apart.is_empty()
    }

    /// Names every rule that matched nothing, in order. Switches that need not match anything are not named.
    pub fn unmatched(&self) -> Vec<String> {
        let idle = self.tally.rules.iter().filter(|r| r.expected && r.matches.load(Ordering::Relaxed) == 0);
        idle.map(Rule::with_patterns).collect()
    }

    /// What every rule did, in order.
    pub fn summary(&self) -> Vec<RuleSummary> {
        let summary = |r: &Rule| RuleSummary {
            rule: r.label.clone(),
            matches: r.matches.load(Ordering::Relaxed),
            bytes: r.bytes.load(Ordering::Relaxed),
            has_more: r.has_more.load(Ordering::Relaxed),
        };
        self.tally.rules.iter().map(summary).collect()
    }

    /// The rule whose pattern leaves an entry out.
    fn matched(&self, below: &Path, stat: &Stat) -> Option<usize> {
        let found = self.set.matched(below.as_os_str().as_bytes(), stat.kind == FileKind::Directory)?;
        let rule = self.tally.lines[self.lines[found.line]].rule;
        if found.negated {
            self.tally.rules[rule].count(0);
        }
        (!found.negated).then_some(rule)
    }

    fn leave(&self, rule: usize, stat: &Stat) -> Decision {
        self.tally.rules[rule].count(if stat.kind == FileKind::File { stat.size } else { 0 });
        Decision::Leave { rule }
    }
}

impl Tally {
    fn gather(options: &ExcludeOptions) -> Result<Self, ExcludeError> {
        let mut tally = Self { measure: options.measure, roots: options.roots.clone(), ..Self::default() };
        let unasked = options.default_presets.iter().map(|name| (name, false));
        for (name, expected) in options.presets.iter().map(|name| (name, true)).chain(unasked) {
            let preset = Preset::find(name).ok_or_else(|| ExcludeError::UnknownPreset { name: name.clone() })?;
            let rule = tally.rule(format!("--exclude-preset {name}"), expected);
            tally.rules[rule].preset = Some(preset);
            tally.lines.extend(preset.patterns.iter().map(|p| Line::new(rule, (*p).to_owned())));
        }
        let without_case = |pattern: String| ignoring_case(pattern, &options.roots);
        let as_it_is = |pattern: String| pattern;
        tally.files(&options.pattern_files, &as_it_is)?;
        tally.files(&options.pattern_files_ignoring_case, &without_case)?;
        tally.given("--exclude", &options.patterns, &as_it_is)?;
        tally.given("--iexclude", &options.patterns_ignoring_case, &without_case)?;
        let own: Vec<String> = options.own.iter().filter_map(|path| exactly(path)).collect();
        if !own.is_empty() {
            let rule = tally.rule("the repository's own files".to_owned(), false);
            tally.lines.extend(own.into_iter().map(|pattern| Line::new(rule, pattern)));
        }
        for name in &options.if_present {
            if name.is_empty() || name.contains('/') {
                return Err(ExcludeError::TagName { name: name.clone() });
            }
            let rule = tally.rule(format!("--exclude-if-present {name}"), true);
            tally.if_present.push((name.as_bytes().to_vec(), rule));
        }
        tally.caches = options.caches.then(|| tally.rule("--exclude-caches".to_owned(), false));
        if let Some(len) = options.larger_than {
            tally.larger_than = Some((len, tally.rule(format!("--exclude-larger-than {len}"), false)));
        }
        tally.one_file_system = options.one_file_system.then(|| tally.rule("--one-file-system".to_owned(), false));
        Ok(tally)
    }

    fn files(&mut self, files: &[PathBuf], meant: &dyn Fn(String) -> String) -> Result<(), ExcludeError> {
        for path in files {
            for pattern in read_pattern_file(path)? {
                let rule = self.rule(format!("{pattern} (in {})", path.display()), true);
                self.lines.push(Line::new(rule, meant(pattern)));
            }
        }
        Ok(())
    }

    fn given(
        &mut self,
        option: &str,
        patterns: &[String],
        meant: &dyn Fn(String) -> String,
    ) -> Result<(), ExcludeError> {
        for pattern in patterns {
            if pattern.trim().is_empty() {
                return Err(ExcludeError::Pattern { pattern: pattern.clone(), why: "it is empty".to_owned() });
            }
            let rule = self.rule(format!("{option} {pattern}"), true);
            // On a command line `#` begins no comment.
            self.lines.push(Line::new(rule, meant(pattern.clone())));
        }
        Ok(())
    }

    fn rule(&mut self, label: String, expected: bool) -> usize {
        let (matches, bytes, measured, has_more) = Default::default();
        self.rules.push(Rule { label, expected, preset: None, matches, bytes, measured, has_more });
        self.rules.len() - 1
    }

    /// The patterns that count below `root`, and which lines they are.
    fn compile(&self, root: &Path) -> Result<(Patterns, Arc<[usize]>), ExcludeError> {
        let (mut patterns, mut lines) = (Vec::with_capacity(self.lines.len()), Vec::with_capacity(self.lines.len()));
        for (i, line) in self.lines.iter().enumerate() {
            let pattern = match anchor(&line.pattern, root) {
                Some(anchored) => anchored,
                // It is meant for another source.
                None if line.is_absolute && self.roots.iter().any(|other| anchor(&line.pattern, other).is_some()) => {
                    continue;
                }
                None => line.pattern.clone(),
            };
            patterns.push(pattern);
            lines.push(i);
        }
        let set = Patterns::new(patterns.iter().map(String::as_str));
        let set = set.map_err(|e| ExcludeError::Pattern { pattern: patterns.join(", "), why: e.to_string() })?;
        Ok((set, lines.into()))
    }
}

impl Rule {
    fn count(&self, bytes: u64) {
        self.matches.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn with_patterns(&self) -> String {
        match self.preset {
            Some(preset) => format!("{} ({})", self.label, preset.patterns.join(", ")),
            None => self.label.clone(),
        }
    }
}

/// Rewrites a pattern that begins with the source's own absolute path as one that is anchored there; `None` if it does not.
///
/// Its first component must be the root's to the letter; else `/*/cache`, which is anchored at the source already,
/// would also be a path. The others may hold wildcards.
fn anchor(pattern: &str, root: &Path) -> Option<String> {
    let (not, body) = match pattern.strip_prefix('!') {
        Some(body) => ("!", body),
        None => ("", pattern),
    };
    let relative = || {
        let mut rest = body.strip_prefix('/')?;
        for (i, component) in root.components().filter(|c| matches!(c, Component::Normal(_))).enumerate() {
            let (first, after) = rest.split_once('/')?;
            match first {
                "**" if i > 0 => break,
                _ if i == 0 && component.as_os_str() == OsStr::new(first) => {}
                _ if i > 0 && component_matches(first, component.as_os_str()) => {}
                _ => return None,
            }
            rest = after;
        }
        (!rest.trim_matches('/').is_empty()).then_some(rest)
    };
    relative().map(|rest| format!("{not}/{rest}"))
}

/// The pattern without regard to case, but for the absolute path of a source that it begins with.
fn ignoring_case(pattern: String, roots: &[PathBuf]) -> String {
    let below = roots.iter().find_map(|root| {
        let anchored = anchor(&pattern, root)?;
        Some(anchored.trim_start_matches('!').len() - 1)
    });
    match below {
        Some(len) => {
            let (root, below) = pattern.split_at(pattern.len() - len);
            format!("{root}{}", ignore_case(below))
        }
        None => ignore_case(&pattern),
    }
}

/// The pattern for one path and nothing else; `None` if it is not UTF-8.
pub fn exactly(path: &Path) -> Option<String> {
    let special = |c: char| matches!(c, '\\' | '*' | '?' | '[' | ' ' | '!' | '#');
    let text = path.to_str()?;
    Some(text.chars().flat_map(|c| [special(c).then_some('\\'), Some(c)]).flatten().collect())
}

fn component_matches(pattern: &str, component: &OsStr) -> bool {
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
    glob.is_ok_and(|g| g.compile_matcher().is_match(component))
}

fn read_pattern_file(path: &Path) -> Result<Vec<String>, ExcludeError> {
    let failed = |source| ExcludeError::PatternFile { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(PATTERN_FILE_LEN_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > PATTERN_FILE_LEN_MAX {
        return Err(failed(io::Error::other("it is longer than 16 MiB")));
    }
    let lines = text.trim_start_matches('\u{feff}').lines();
    // A tab is a name, for git too.
    Ok(lines.filter(|l| !l.trim_matches(' ').is_empty() && !l.starts_with('#')).map(str::to_owned).collect())
}

fn is_cachedir_tag(dir: &Directory) -> bool {
    let mut start = [0; CACHEDIR_SIGNATURE.len()];
    let read = open_file(dir, CACHEDIR_TAG).and_then(|file| file.read_at(&mut start, 0));
    read.is_ok() && start == CACHEDIR_SIGNATURE
}

fn preset_names() -> String {
    super::presets::PRESETS.iter().map(|p| p.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(patterns: &[&str]) -> ExcludeOptions {
        ExcludeOptions { patterns: patterns.iter().map(|p| (*p).to_owned()).collect(), ..ExcludeOptions::default() }
    }

    fn presets(names: &[&str]) -> ExcludeRules {
        let presets = names.iter().map(|n| (*n).to_owned()).collect();
        ExcludeRules::new(&ExcludeOptions { presets, ..ExcludeOptions::default() }, Path::new("/data/dss")).unwrap()
    }

    /// Whether `path` is kept, deciding about its parents first as a walk does; a final slash makes a directory.
    fn keeps(rules: &ExcludeRules, path: &[u8]) -> bool {
        let dir = Stat { kind: FileKind::Directory, ..Stat::default() };
        let file = Stat { size: 10, ..Stat::default() };
        let parents = (0..path.len()).filter(|&i| path[i] == b'/');
        let below = |to: usize| Path::new(OsStr::from_bytes(&path[..to]));
        let mut all_kept = true;
        for end in parents {
            all_kept = all_kept && rules.decide(below(end), &dir) == Decision::Keep;
        }
        all_kept && (path.ends_with(b"/") || rules.decide(below(path.len()), &file) == Decision::Keep)
    }

    fn rules(list: &[&str]) -> ExcludeRules {
        ExcludeRules::new(&patterns(list), Path::new("/data/dss")).unwrap()
    }

    #[test]
    fn patterns_mean_what_they_mean_in_gitignore() {
        let rules = rules(&["*.o", "!keep.o", "/top", "only/", "a/**/z", "#x#", "gone/"]);
        for path in [&b"x/keep.o"[..], b"x/top", b"x/only", b"a/b", b"\xff\xfe", b"gone2/y"] {
            assert!(keeps(&rules, path), "{}", path.escape_ascii());
        }
        for path in
            [&b"x/y.o"[..], b"\xff.o", b"top", b"only/", b"x/only/y", b"a/z", b"a/b/c/z", b"d/#x#", b"gone/keep.o"]
        {
            assert!(!keeps(&rules, path), "{}", path.escape_ascii());
        }
    }

    #[test]
    fn an_absolute_pattern_below_the_source_is_anchored_there() {
        let rules = rules(&["/data/dss/one", "/data/*/two", "/data/**/three", "/other/four", "!/data/dss/a/three"]);
        for path in [&b"one"[..], b"two", b"three", b"b/c/three", b"other/four"] {
            assert!(!keeps(&rules, path), "{}", path.escape_ascii());
        }
        for path in [&b"x/one"[..], b"x/two", b"a/three", b"four"] {
            assert!(keeps(&rules, path), "{}", path.escape_ascii());
        }
        // The pattern for the source itself, or above it, leaves nothing of it out.
        assert_eq!(anchor("/data/dss/", Path::new("/data/dss")), None);
        assert_eq!(anchor("/*/cache", Path::new("/data")), None);
        assert_eq!(anchor("/tmp/x", Path::new("/")).as_deref(), Some("/tmp/x"));
    }

    /// `backup /srv /var --exclude /var/archives` left out /srv/var/archives too (Backup-Manager#25).
    #[test]
    fn an_absolute_pattern_counts_only_in_the_source_that_it_names() {
        let roots = vec![PathBuf::from("/srv"), PathBuf::from("/var")];
        let options =
            ExcludeOptions { roots: roots.clone(), ..patterns(&["/var/archives", "!/var/archives/x", "/cache"]) };
        let srv = ExcludeRules::new(&options, &roots[0]).unwrap();
        let var = srv.for_root(&roots[1]).unwrap();
        assert!(keeps(&srv, b"var/archives/a") && !keeps(&srv, b"cache"));
        assert!(!keeps(&var, b"archives") && !keeps(&var, b"cache"));
        assert!(srv.unmatched().iter().all(|rule| !rule.contains("archives/a")));
    }

    #[test]
    fn own_places_are_left_out_whatever_they_are_called() {
        let own = vec![PathBuf::from("/data/dss/a [b]*/repo")];
        let options = ExcludeOptions { own, ..patterns(&["!repo"]) };
        let rules = ExcludeRules::new(&options, Path::new("/data/dss")).unwrap();
        assert!(!keeps(&rules, b"a [b]*/repo/x") && keeps(&rules, b"a b/repo"));
        assert!(rules.unmatched().iter().all(|rule| !rule.contains("own files")));
        let recorded = rules.recorded().unwrap();
        assert!(!keeps(&ExcludeRules::new(&recorded, Path::new("/data/dss")).unwrap(), b"a [b]*/repo"));
    }

    /// A project may be called like a directory of the server; its recipes were lost with a pattern that is not
    /// anchored.
    #[test]
    fn dss_presets_take_the_contents_at_the_top_alone() {
        let rules = presets(&["dss:temp", "dss:logs", "dss:other", "dss:data"]);
        for path in [
            &b"tmp/"[..],
            b"run/",
            b"analysis-data/",
            b"config/projects/tmp/recipes/a.py",
            b"config/projects/jobs/a.json",
            b"config/projects/x/saved_models/m.json",
            b"databases/jobs.h2.db",
        ] {
            assert!(keeps(&rules, path), "{}", path.escape_ascii());
        }
        for path in [
            &b"tmp/a"[..],
            b"tmp/.hidden",
            b"caches/x/y",
            b"data-catalog/i",
            b"jobs/P/",
            b"analysis-data/P/",
            b"analysis_data/P/",
            b"_pre_migration_backup_2025/x",
        ] {
            assert!(!keeps(&rules, path), "{}", path.escape_ascii());
        }
        assert_eq!(rules.unmatched(), Vec::<String>::new());
    }

    #[test]
    fn general_presets_match_at_any_depth_and_spare_reflogs() {
        let rules = presets(&["tmp", "caches", "logs", "vcs", "build"]);
        for path in [
            &b"a/tmp/x"[..],
            b"tmp/x",
            b"b/#edit#",
            b"h/.cache/x",
            b"v/a.log",
            b"v/a.log.1",
            b"v/log/x",
            b"s/.git",
            b"js/node_modules/",
            b"r/target/debug/",
        ] {
            assert!(!keeps(&rules, path), "{}", path.escape_ascii());
        }
        for path in [&b"a/tmp/"[..], b"target/x", b"build/x", b"catalog", b"a.login"] {
            assert!(keeps(&rules, path), "{}", path.escape_ascii());
        }
        assert!(keeps(&presets(&["logs"]), b"p/.git/logs/HEAD"));
    }

    #[test]
    fn a_rule_that_matched_nothing_is_named_and_a_preset_is_one_rule() {
        let mut options = patterns(&["*.o", "typo", "!*.keep"]);
        options.presets = vec!["dss:data".to_owned(), "dss:temp".to_owned()];
        options.larger_than = Some(1000);
        let rules = ExcludeRules::new(&options, Path::new("/data")).unwrap();
        assert!(!keeps(&rules, b"tmp/x") && !keeps(&rules, b"a.o") && keeps(&rules, b"a.keep"));
        let names = "/managed_datasets/*, /analysis-data/*, /analysis_data/*, /saved_models/*";
        assert_eq!(
            rules.unmatched(),
            vec![format!("--exclude-preset dss:data ({names})"), "--exclude typo".to_owned()]
        );
        let other = rules.for_root(Path::new("/else")).unwrap();
        assert!(!keeps(&other, b"typo") && !keeps(&other, b"saved_models/x"));
        assert_eq!(rules.unmatched(), Vec::<String>::new(), "roots count together");
        let objects = RuleSummary { rule: "--exclude *.o".to_owned(), matches: 1, bytes: 10, has_more: false };
        assert!(rules.summary().contains(&objects));
    }

    /// What was left out by a preset or a file must still be known when neither is what it was.
    #[test]
    fn recorded_rules_decide_as_the_rules_did() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("patterns");
        std::fs::write(&file, "*.o\n!keep.o\n\\#x\n").unwrap();
        let options = ExcludeOptions {
            presets: vec!["dss:temp".to_owned()],
            pattern_files: vec![file],
            patterns: vec!["#y".to_owned(), "/data/dss/abs".to_owned()],
            larger_than: Some(9),
            caches: true,
            if_present: vec![".nobackup".to_owned()],
            one_file_system: true,
            ..ExcludeOptions::default()
        };
        let rules = ExcludeRules::new(&options, Path::new("/data/dss")).unwrap();
        let recorded = rules.recorded().unwrap();
        let again = ExcludeRules::new(&recorded, Path::new("/data/dss")).unwrap();
        for path in [&b"a.o"[..], b"keep.o", b"#x", b"#y", b"x", b"abs/", b"tmp/a", b"tmp/", b"d/abs/"] {
            assert_eq!(keeps(&rules, path), keeps(&again, path), "{}", path.escape_ascii());
        }
        assert_eq!(again.recorded().unwrap(), recorded);
        assert!(recorded.caches && recorded.one_file_system && recorded.if_present == [".nobackup"]);
        assert_eq!(ExcludeRules::none().recorded(), None);
    }

    #[test]
    fn long_files_are_left_out_by_their_length() {
        let options = ExcludeOptions { larger_than: Some(100), ..ExcludeOptions::default() };
        let rules = ExcludeRules::new(&options, Path::new("/")).unwrap();
        let stat = |size| Stat { size, ..Stat::default() };
        assert_eq!(rules.decide(Path::new("a"), &stat(100)), Decision::Keep);
        assert_eq!(rules.decide(Path::new("a"), &stat(101)), Decision::Leave { rule: 0 });
        let dir = Stat { kind: FileKind::Directory, size: 1 << 20, ..Stat::default() };
        assert_eq!(rules.decide(Path::new("a"), &dir), Decision::Keep);
        assert_eq!(rules.summary()[0].bytes, 101);
    }

    #[test]
    fn a_file_of_patterns_is_read_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("patterns");
        std::fs::write(&path, "\u{feff}# comment\n\n*.o\r\n!a.o\n").unwrap();
        let options = ExcludeOptions { pattern_files: vec![path], ..ExcludeOptions::default() };
        let rules = ExcludeRules::new(&options, Path::new("/")).unwrap();
        assert!(keeps(&rules, b"a.o") && !keeps(&rules, b"b.o"));
        let missing = ExcludeOptions { pattern_files: vec![dir.path().join("none")], ..ExcludeOptions::default() };
        assert!(matches!(ExcludeRules::new(&missing, Path::new("/")), Err(ExcludeError::PatternFile { .. })));
    }

    #[test]
    fn what_means_nothing_is_refused_by_name() {
        let with = |o: ExcludeOptions| ExcludeRules::new(&o, Path::new("/")).unwrap_err();
        let preset = ExcludeOptions { presets: vec!["dss".to_owned()], ..ExcludeOptions::default() };
        assert!(with(preset).to_string().contains("dss:temp"));
        let tag = ExcludeOptions { if_present: vec!["a/b".to_owned()], ..ExcludeOptions::default() };
        assert!(matches!(with(tag), ExcludeError::TagName { .. }));
        for bad in ["", " "] {
            assert!(matches!(with(patterns(&[bad])), ExcludeError::Pattern { .. }), "{bad}");
        }
    }
}
