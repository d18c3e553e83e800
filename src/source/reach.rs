//! Whether the walk of one source comes to another path that was named.
//!
//! That a path lies below another one says little: what is mounted there is left out with `--one-file-system`, and so is
//! what a pattern or a tag leaves out. Whoever named it wants it nevertheless.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::directory::Directory;
use super::exclude::{Decision, ExcludeRules};
use super::listing::stat_root;
use super::stat::FileKind;

/// How far a walk comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// To the path itself.
    Whole,
    /// No further than this directory.
    Until(PathBuf),
    /// To a symbolic link, which is saved as one.
    Link,
}

/// How far the walk of `root` comes towards `path`, which lies below it. Counts in `rules` what it asks.
pub fn reach(root: &Path, path: &Path, rules: &ExcludeRules) -> Reach {
    let Ok(rest) = path.strip_prefix(root) else { return Reach::Until(root.to_owned()) };
    let names: Vec<&OsStr> =
        rest.components().filter_map(|c| if let Component::Normal(n) = c { Some(n) } else { None }).collect();
    let (mut at, mut below) = (root.to_owned(), PathBuf::new());
    let Ok(root_stat) = stat_root(root) else { return Reach::Until(at) };
    for (i, name) in names.iter().enumerate() {
        let tagged = Directory::open(&at).ok().and_then(|directory| {
            let has = |name: &[u8]| directory.stat(name).is_ok();
            rules.tag_in(&directory, has)
        });
        if tagged.is_some_and(|(tag, _)| tag != name.as_bytes()) {
            return Reach::Until(at);
        }
        let (next, is_last) = (at.join(name), i + 1 == names.len());
        below.push(name);
        let Ok(stat) = stat_root(&next) else { return Reach::Until(at) };
        if rules.decide(&below, &stat) != Decision::Keep {
            return Reach::Until(at);
        }
        match stat.kind {
            FileKind::Directory if rules.one_file_system() && stat.device != root_stat.device => {
                return Reach::Until(at);
            }
            FileKind::Directory => {}
            FileKind::Symlink if !is_last => return Reach::Link,
            _ if !is_last => return Reach::Until(at),
            _ => {}
        }
        at = next;
    }
    Reach::Whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ExcludeOptions;

    #[test]
    fn a_walk_comes_as_far_as_rules_and_links_let_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for path in ["a/b/c", "cache/x", "tagged/y", "other"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at("tagged/.nobackup"), "").unwrap();
        std::fs::write(at("a/f.log"), "").unwrap();
        std::os::unix::fs::symlink(at("other"), at("link")).unwrap();
        std::fs::create_dir(at("other/z")).unwrap();
        let options = ExcludeOptions {
            patterns: vec!["cache".to_owned(), "*.log".to_owned()],
            if_present: vec![".nobackup".to_owned()],
            ..ExcludeOptions::default()
        };
        let rules = ExcludeRules::new(&options, dir.path()).unwrap();
        let to = |path: &str| reach(dir.path(), &at(path), &rules);
        assert_eq!(to("a/b/c"), Reach::Whole);
        assert_eq!(to("link"), Reach::Whole);
        assert_eq!(to("link/z"), Reach::Link);
        assert_eq!(to("cache/x"), Reach::Until(dir.path().to_owned()));
        assert_eq!(to("tagged/y"), Reach::Until(at("tagged")));
        assert_eq!(to("tagged/.nobackup"), Reach::Whole);
        assert_eq!(to("a/f.log"), Reach::Until(at("a")));
        assert_eq!(to("a/none"), Reach::Until(at("a")));
    }
}
