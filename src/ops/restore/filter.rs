//! Which entries are restored.
//!
//! Patterns have gitignore meaning below what is restored. A pattern that is anchored says where it can match: only the
//! directories that lead there are read, and of a directory only the names that are asked for, so that one file costs
//! its depth and not the size of what lies beside it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::destination::RelativePath;
use crate::format::tree::{Node, NodeKind};
use crate::patterns::Patterns;
use crate::primitives::ids::ChunkId;
use crate::repository::{Repository, RepositoryError};

use super::RestoreError;

/// More names than this are not looked up one by one.
const NAMES_MAX: usize = 64;

/// What is restored and what is left out.
pub(super) struct Filter {
    include: Option<Include>,
    exclude: Patterns,
    excludes: Vec<Pattern>,
}

/// What is asked for.
struct Include {
    set: Patterns,
    patterns: Vec<Pattern>,
    /// Paths that are asked for as they are, byte for byte.
    only: BTreeSet<Vec<u8>>,
}

struct Pattern {
    text: String,
    alone: Patterns,
    /// It takes out what others take in.
    negated: bool,
    /// Where it can match; `None`: anywhere.
    parts: Option<Vec<Part>>,
    matched: Cell<bool>,
}

/// One component of an anchored pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Name(Vec<u8>),
    /// Any one name.
    Any,
    /// Any number of names.
    Deep,
}

/// Which entries of a directory may be restored, or lead to some that are.
pub(super) enum Next {
    /// Any.
    All,
    /// Those of these names.
    Names(BTreeSet<Vec<u8>>),
}

impl Filter {
    /// Reads the patterns. Without any pattern or path to include, everything is asked for.
    pub(super) fn new(include: &[String], only: &[Vec<u8>], exclude: &[String]) -> Result<Self, RestoreError> {
        let include = if include.is_empty() && only.is_empty() {
            None
        } else {
            let patterns = include.iter().map(|p| Pattern::new(p)).collect::<Result<_, _>>()?;
            Some(Include { set: compile(include)?, patterns, only: only.iter().cloned().collect() })
        };
        let excludes = exclude.iter().map(|p| Pattern::new(p)).collect::<Result<_, _>>()?;
        Ok(Self { include, exclude: compile(exclude)?, excludes })
    }

    /// Whether all is restored.
    pub(super) fn is_open(&self) -> bool {
        self.takes_all() && self.exclude.is_empty()
    }

    /// Whether nothing was asked for in particular.
    pub(super) fn takes_all(&self) -> bool {
        self.include.is_none()
    }

    /// Whether patterns leave something out.
    pub(super) fn leaves_out(&self) -> bool {
        !self.exclude.is_empty()
    }

    /// Whether an entry is left out; those above it were asked about before.
    pub(super) fn excluded(&self, path: &RelativePath, directory: bool) -> bool {
        let found = self.exclude.matched(path.as_bytes(), directory);
        if found.is_some() {
            note_matches(&self.excludes, path, directory);
        }
        found.is_some_and(|found| !found.negated)
    }

    /// Whether the entry itself is asked for; `above` says that a directory above it is.
    pub(super) fn included(&self, path: &RelativePath, directory: bool, above: bool) -> bool {
        let Some(include) = &self.include else { return true };
        let found = include.set.matched(path.as_bytes(), directory);
        if found.is_some() {
            note_matches(&include.patterns, path, directory);
        }
        found.map_or(above, |found| !found.negated) || include.only.contains(path.as_bytes())
    }

    /// Patterns to include that matched nothing so far.
    pub(super) fn unmatched(&self) -> Vec<String> {
        self.include.as_ref().map_or_else(Vec::new, |include| unmatched(&include.patterns))
    }

    /// Whether anything was asked for by patterns, and nothing matched so far.
    pub(super) fn matched_nothing(&self) -> bool {
        self.include.as_ref().is_some_and(|include| {
            let mut asking = include.patterns.iter().filter(|p| !p.negated);
            include.only.is_empty() && !asking.any(|p| p.matched.get())
        })
    }

    /// Patterns to exclude that matched nothing so far.
    pub(super) fn excludes_unmatched(&self) -> Vec<String> {
        unmatched(&self.excludes)
    }

    /// What of a directory is to be looked at; `asked` says that the directory itself is asked for.
    pub(super) fn next(&self, directory: &RelativePath, asked: bool) -> Next {
        let Some(include) = self.include.as_ref().filter(|_| !asked) else { return Next::All };
        let at: Vec<&[u8]> = directory.names().collect();
        let mut names = BTreeSet::new();
        for pattern in include.patterns.iter().filter(|p| !p.negated) {
            match pattern.parts.as_deref().map(|parts| next_part(parts, &at)) {
                None | Some(Some(Part::Any | Part::Deep)) => return Next::All,
                Some(Some(Part::Name(name))) => drop(names.insert(name.clone())),
                Some(None) => {}
            }
        }
        for path in &include.only {
            let mut rest = path.split(|c| *c == b'/').filter(|n| !n.is_empty());
            if at.iter().all(|name| rest.next() == Some(name))
                && let Some(name) = rest.next()
            {
                names.insert(name.to_vec());
            }
        }
        if names.len() > NAMES_MAX { Next::All } else { Next::Names(names) }
    }

    /// Calls `each` for the entries of one directory that may be restored or lead to some that are.
    pub(super) fn entries(
        &self,
        repository: &Repository,
        (directory, id): (&RelativePath, &ChunkId),
        asked: bool,
        each: &mut dyn FnMut(Node) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        match self.next(directory, asked) {
            Next::All => repository.for_each_entry(id, each),
            Next::Names(names) => names.iter().try_for_each(|name| match repository.find_entry(id, name)? {
                Some(node) => each(node),
                None => Ok(()),
            }),
        }
    }

    /// Calls `each` for every entry below `root` that is not left out, directories before what they hold: with its path,
    /// and whether it is asked for. Directories that cannot be read are handed to `damaged`.
    pub(super) fn for_each(
        &self,
        repository: &Repository,
        root: &ChunkId,
        each: &mut dyn FnMut(&RelativePath, &Node, bool) -> Result<(), RepositoryError>,
        damaged: &mut dyn FnMut(&RelativePath, RepositoryError) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        let mut stack = vec![(RelativePath::root(), *root, self.takes_all())];
        while let Some((directory, id, asked)) = stack.pop() {
            let mut below = Vec::new();
            let listed = self.entries(repository, (&directory, &id), asked, &mut |node| {
                let path = directory.child(&node.name).expect("names are checked when a node is decoded");
                let is_directory = matches!(node.kind, NodeKind::Directory(_));
                if self.excluded(&path, is_directory) {
                    return Ok(());
                }
                let included = self.included(&path, is_directory, asked);
                each(&path, &node, included)?;
                if let NodeKind::Directory(id) = node.kind {
                    below.push((path, id, included));
                }
                Ok(())
            });
            match listed {
                Err(e) if e.is_damage() => damaged(&directory, e)?,
                listed => listed?,
            }
            stack.extend(below.into_iter().rev());
        }
        Ok(())
    }
}

fn unmatched(patterns: &[Pattern]) -> Vec<String> {
    patterns.iter().filter(|p| !p.negated && !p.matched.get()).map(|p| p.text.clone()).collect()
}

/// Notes which patterns match an entry: of several, a set names only the one that decides.
fn note_matches(patterns: &[Pattern], path: &RelativePath, directory: bool) {
    for pattern in patterns.iter().filter(|p| !p.matched.get()) {
        pattern.matched.set(pattern.alone.matched(path.as_bytes(), directory).is_some());
    }
}

/// The part that names what is looked for in the directory `at`; `None` if the pattern does not lead through it.
fn next_part<'a>(parts: &'a [Part], at: &[&[u8]]) -> Option<&'a Part> {
    for (i, part) in parts.iter().enumerate() {
        match (part, at.get(i)) {
            (Part::Deep, _) | (_, None) => return Some(part),
            (Part::Name(name), Some(here)) if name != here => return None,
            _ => {}
        }
    }
    None
}

impl Pattern {
    fn new(text: &str) -> Result<Self, RestoreError> {
        let alone = compile(std::slice::from_ref(&text.to_owned()))?;
        let negated = text.starts_with('!');
        let parts = if negated { None } else { parts(text) };
        Ok(Self { text: text.to_owned(), alone, negated, parts, matched: Cell::new(false) })
    }
}

/// The components of an anchored pattern; `None` for one that may match at any depth, or is not understood here.
fn parts(pattern: &str) -> Option<Vec<Part>> {
    if pattern.trim_end() != pattern || has_slash_in_class(pattern) {
        return None;
    }
    let body = pattern.strip_suffix('/').unwrap_or(pattern);
    if !body.contains('/') {
        return None;
    }
    body.strip_prefix('/').unwrap_or(body).split('/').map(part).collect()
}

fn has_slash_in_class(pattern: &str) -> bool {
    pattern.split('[').skip(1).any(|rest| rest.split(']').next().is_some_and(|class| class.contains('/')))
}

fn part(text: &str) -> Option<Part> {
    if text.contains("**") {
        return Some(Part::Deep);
    }
    let (mut name, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' | ']' => return Some(Part::Any),
            '\\' => name.push(chars.next()?),
            c => name.push(c),
        }
    }
    if name.is_empty() { None } else { Some(Part::Name(name.into_bytes())) }
}

fn compile(patterns: &[String]) -> Result<Patterns, RestoreError> {
    if patterns.iter().any(|pattern| pattern.trim().is_empty()) {
        return Err(RestoreError::Pattern { pattern: String::new(), why: "it is empty".to_owned() });
    }
    let compiled = Patterns::new(patterns.iter().map(String::as_str));
    compiled.map_err(|e| RestoreError::Pattern { pattern: patterns.join(", "), why: e.to_string() })
}

/// An entry of the target, from where the target itself is.
pub(super) fn below(target: &Path, path: &RelativePath) -> PathBuf {
    if path.is_root() { target.to_owned() } else { target.join(as_path(path)) }
}

/// A path of the target for those that take paths.
pub(super) fn as_path(path: &RelativePath) -> &Path {
    Path::new(OsStr::from_bytes(path.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(patterns: &[&str], at: &str) -> Option<Vec<String>> {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let filter = Filter::new(&patterns, &[], &[]).unwrap();
        match filter.next(&RelativePath::parse(at.as_bytes()).unwrap(), false) {
            Next::All => None,
            Next::Names(names) => Some(names.into_iter().map(|n| String::from_utf8(n).unwrap()).collect()),
        }
    }

    #[test]
    fn an_anchored_pattern_leads_by_its_names() {
        let names = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(next(&["/a/b", "c/d"], ""), names(&["a", "c"]));
        assert_eq!(next(&["/a/b", "/a/c", "/x"], "a"), names(&["b", "c"]));
        assert_eq!(next(&["/a/b"], "x"), names(&[]));
        assert_eq!(next(&["/a/b"], "a/b"), names(&[]));
        assert_eq!(next(&[r"/a\*/\[b\]/"], ""), names(&["a*"]));
        assert_eq!(next(&[r"/a\*/\[b\]/"], "a*"), names(&["[b]"]));
        assert_eq!(next(&["/h*/x/y"], "home"), names(&["x"]));
        for (pattern, at) in
            [("/h*/x", ""), ("a", ""), ("a/", "b"), ("/a/**/b", "a/c"), ("**/a", "x"), ("/a[/]b/d", "a")]
        {
            assert_eq!(next(&[pattern], at), None, "{pattern} in {at}");
        }
    }

    /// Whatever the patterns are, what is not looked at could not have matched.
    #[test]
    fn what_is_passed_over_matches_no_pattern() {
        let names = ["a", "b", "ab", "a*", "[b]", "c d"];
        let pieces = ["a", "b", "*", "?", "**", "[ab]", r"a\*", r"\[b\]", "ab", "{a,b}", "c d", "a/b", "b/"];
        let mut state = 7u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for _ in 0..2000 {
            let joined: Vec<&str> = (0..random(3) + 1).map(|_| pieces[random(pieces.len())]).collect();
            let pattern = format!("{}{}", if random(2) == 0 { "/" } else { "" }, joined.join("/"));
            let Ok(filter) = Filter::new(std::slice::from_ref(&pattern), &[], &[]) else { continue };
            for _ in 0..20 {
                let mut path = RelativePath::root();
                let depth = random(4) + 1;
                let passed = (0..depth).any(|_| {
                    let name = names[random(names.len())].as_bytes();
                    let over = matches!(filter.next(&path, false), Next::Names(n) if !n.contains(name));
                    path.push(name).unwrap();
                    over
                });
                for directory in [false, true] {
                    let matched = filter.included(&path, directory, false);
                    assert!(!(passed && matched), "{pattern} matches {path}, which was passed over");
                }
            }
        }
    }

    #[test]
    fn a_path_is_asked_for_byte_by_byte() {
        let filter = Filter::new(&[], &[b"d/\xff*".to_vec()], &[]).unwrap();
        let path = |bytes: &[u8]| RelativePath::parse(bytes).unwrap();
        assert!(matches!(filter.next(&path(b""), false), Next::Names(n) if n.contains(&b"d"[..])));
        assert!(filter.included(&path(b"d/\xff*"), false, false));
        assert!(!filter.included(&path(b"d/\xffx"), false, false) && !filter.included(&path(b"d"), true, false));
    }

    #[test]
    fn every_pattern_that_matches_is_known_not_only_the_one_that_decides() {
        let filter = Filter::new(&["*.conf".into(), "/a.*".into(), "x".into(), "!b.conf".into()], &[], &[]).unwrap();
        filter.included(&RelativePath::parse(b"a.conf").unwrap(), false, false);
        assert_eq!(filter.unmatched(), ["x"]);
        assert!(!filter.matched_nothing());
    }
}
