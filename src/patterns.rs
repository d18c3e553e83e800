//! Patterns with the meaning that they have in a `.gitignore` (gitignore(5), and what git 2.39 does where that is silent).
//!
//! Each line becomes a regular expression over the bytes of a path; the last one that matches decides. Names need not be
//! UTF-8: `?` is one byte, as it is for git. Braces have no meaning, and a pattern that cannot match anything, such as one
//! that ends in a lone backslash, matches nothing.

use regex::bytes::{RegexSet, RegexSetBuilder};

/// Patterns that are looked at together: a set of expressions grows faster than its parts.
const TOGETHER_MAX: usize = 256;
/// Memory that one such set may take when it is made, and while it is used, in bytes.
const SET_LEN_MAX: usize = 256 << 20;
const STATES_LEN_MAX: usize = 16 << 20;

/// A pattern that is too large to be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPattern(String);

/// What the last pattern that matches says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Which one: its number, from 0, among those that were given.
    pub line: usize,
    /// It begins with `!`.
    pub negated: bool,
}

/// A list of patterns. Any number of threads may ask at once.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    lines: Vec<Line>,
    sets: Vec<RegexSet>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    number: usize,
    negated: bool,
    /// It ends with a slash.
    only_directories: bool,
}

impl Patterns {
    /// Reads patterns, one by one; empty ones match nothing, and `#` begins no comment.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, BadPattern> {
        let (mut lines, mut expressions) = (Vec::new(), Vec::new());
        for (number, pattern) in patterns.into_iter().enumerate() {
            let body = trim_blanks(pattern.as_bytes());
            let (negated, body) = body.strip_prefix(b"!").map_or((false, body), |rest| (true, rest));
            let (only_directories, body) = body.strip_suffix(b"/").map_or((false, body), |rest| (true, rest));
            // A pattern that matches nothing needs no expression.
            if let Some(expression) = expression(body) {
                lines.push(Line { number, negated, only_directories });
                expressions.push(expression);
            }
        }
        let sets = expressions.chunks(TOGETHER_MAX).map(|some| {
            RegexSetBuilder::new(some)
                .unicode(false)
                .dot_matches_new_line(true)
                .size_limit(SET_LEN_MAX)
                .dfa_size_limit(STATES_LEN_MAX)
                .build()
                .map_err(|e| BadPattern(e.to_string()))
        });
        let sets = sets.collect::<Result<_, _>>()?;
        Ok(Self { lines, sets })
    }

    /// Whether there is no pattern that could match.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The last pattern that matches `path`, which is relative, without a slash at either end.
    pub fn matched(&self, path: &[u8], is_directory: bool) -> Option<Match> {
        for (at, set) in self.sets.iter().enumerate().rev() {
            let fits = |n: &usize| !self.lines[at * TOGETHER_MAX + n].only_directories || is_directory;
            let last = set.matches(path).into_iter().rfind(fits);
            if let Some(n) = last {
                let Line { number, negated, .. } = self.lines[at * TOGETHER_MAX + n];
                return Some(Match { line: number, negated });
            }
        }
        None
    }
}

/// The pattern that also matches names whose ASCII letters are of the other case: each letter becomes a class of both.
pub fn ignore_case(pattern: &str) -> String {
    let mut out = String::with_capacity(2 * pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '[' => {
                let Some((class, after)) = split_class(rest.as_str()) else {
                    // It is not closed: nothing matches, as before.
                    return out + "[" + rest.as_str();
                };
                out.push('[');
                out.push_str(&class_of_both_cases(class));
                out.push(']');
                rest = after.chars();
            }
            '\\' => match rest.next() {
                Some(c) if c.is_ascii_alphabetic() => push_both(c, &mut out),
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            c if c.is_ascii_alphabetic() => push_both(c, &mut out),
            c => out.push(c),
        }
    }
    out
}

fn push_both(letter: char, out: &mut String) {
    out.extend(['[', letter.to_ascii_lowercase(), letter.to_ascii_uppercase(), ']']);
}

/// What stands between the brackets, of which the first is gone, and what follows.
fn split_class(rest: &str) -> Option<(&str, &str)> {
    let bytes = rest.as_bytes();
    let mut at = usize::from(matches!(bytes.first(), Some(b'!' | b'^')));
    // A bracket that comes first is one of the characters.
    at += usize::from(bytes.get(at) == Some(&b']'));
    loop {
        match bytes.get(at)? {
            b']' => return Some((&rest[..at], &rest[at + 1..])),
            b'\\' => at += 2,
            b'[' if bytes.get(at + 1) == Some(&b':') => at += rest[at..].find(":]")? + 2,
            _ => at += 1,
        }
    }
}

/// The characters of a class, and those of the other case.
fn class_of_both_cases(class: &str) -> String {
    let mut added = String::new();
    let chars: Vec<char> = class.chars().collect();
    let swapped = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c == '[' && chars.get(at + 1) == Some(&':') {
            let end = (at..chars.len()).find(|i| chars[*i] == ']').unwrap_or(chars.len() - 1);
            match chars[at..=end].iter().collect::<String>().as_str() {
                "[:upper:]" => added.push_str("[:lower:]"),
                "[:lower:]" => added.push_str("[:upper:]"),
                _ => {}
            }
            at = end + 1;
            continue;
        }
        match (chars.get(at + 1), chars.get(at + 2)) {
            (Some('-'), Some(last)) if c.is_ascii_alphabetic() && last.is_ascii_alphabetic() => {
                if c.is_ascii_lowercase() == last.is_ascii_lowercase() {
                    added.extend([swapped(c), '-', swapped(*last)]);
                }
                at += 3;
            }
            _ => {
                if c.is_ascii_alphabetic() {
                    added.push(swapped(c));
                }
                at += 1;
            }
        }
    }
    // A hyphen at the end would begin a range.
    match class.strip_suffix('-') {
        Some(before) if !before.is_empty() && !before.ends_with(['!', '^']) => format!("{before}{added}-"),
        _ => format!("{class}{added}"),
    }
}

/// Without the blanks at its end, unless a backslash stands before them. Other white space stays.
fn trim_blanks(pattern: &[u8]) -> &[u8] {
    let (mut end, mut at) = (0, 0);
    while at < pattern.len() {
        at += match pattern[at] {
            b'\\' => {
                end = (at + 2).min(pattern.len());
                2
            }
            b' ' => 1,
            _ => {
                end = at + 1;
                1
            }
        };
    }
    &pattern[..end]
}

/// The regular expression of a pattern without its marks; `None` if nothing can match it.
fn expression(pattern: &[u8]) -> Option<String> {
    let is_path = pattern.contains(&b'/');
    let pattern = pattern.strip_prefix(b"/").unwrap_or(pattern);
    if pattern.is_empty() {
        return None;
    }
    let mut out = String::from(if is_path { "^" } else { "(?:^|/)" });
    // What stands before the first wildcard is compared as it is; `**` behind it stands at a beginning.
    let plain = pattern.iter().position(|c| b"*?[\\".contains(c)).unwrap_or(pattern.len());
    pattern[..plain].iter().for_each(|c| literal(*c, &mut out));
    let rest = &pattern[plain..];
    let mut at = 0;
    while let Some(&c) = rest.get(at) {
        at += 1;
        match c {
            b'\\' => {
                literal(*rest.get(at)?, &mut out);
                at += 1;
            }
            b'?' => out.push_str("[^/]"),
            // A pattern without a slash is compared with one name, in which no star can reach further.
            b'*' if !is_path => out.push_str("[^/]*"),
            b'*' => at = stars(rest, at - 1, &mut out),
            b'[' => {
                let (set, end) = class(rest, at)?;
                set_of(&set, &mut out);
                at = end;
            }
            c => literal(c, &mut out),
        }
    }
    out.push('$');
    Some(out)
}

fn literal(c: u8, out: &mut String) {
    out.push_str(&format!("\\x{c:02x}"));
}

/// One or more stars that begin at `at`; returns where the pattern goes on.
fn stars(rest: &[u8], at: usize, out: &mut String) -> usize {
    let end = at + rest[at..].iter().take_while(|c| **c == b'*').count();
    let begins = at == 0 || rest[at - 1] == b'/';
    match (end - at, &rest[end..]) {
        (2.., []) if begins => out.push_str(".*"),
        (2.., [b'/', ..]) if begins => {
            out.push_str("(?:.*/)?");
            return end + 1;
        }
        (2.., [b'\\', b'/', ..]) if begins => out.push_str(".*"),
        _ => out.push_str("[^/]*"),
    }
    end
}

/// The bytes that a bracket expression stands for, which begins at `at`, behind its bracket; and where the pattern goes
/// on. `None` if it does not end, or names a class that is not known: then the pattern matches nothing.
fn class(rest: &[u8], mut at: usize) -> Option<([bool; 256], usize)> {
    let mut set = [false; 256];
    let negated = matches!(rest.get(at)?, b'!' | b'^');
    at += usize::from(negated);
    let mut before = None;
    let mut first = true;
    loop {
        let c = *rest.get(at)?;
        match c {
            b']' if !first => break,
            b'\\' => {
                at += 1;
                let c = *rest.get(at)?;
                set[usize::from(c)] = true;
                before = Some(c);
            }
            b'-' if before.is_some() && rest.get(at + 1).is_some_and(|c| *c != b']') => {
                at += 1;
                at += usize::from(rest[at] == b'\\');
                let (from, to) = (before.take().unwrap_or_default(), *rest.get(at)?);
                (from..=to).for_each(|c| set[usize::from(c)] = true);
            }
            b'[' if rest.get(at + 1) == Some(&b':') => {
                let end = at + 2 + rest.get(at + 2..)?.iter().position(|c| *c == b']')?;
                match rest.get(at + 2..end).and_then(|name| name.strip_suffix(b":")) {
                    Some(name) => {
                        let is_in = named(name)?;
                        (0..=255u8).filter(|c| is_in(*c)).for_each(|c| set[usize::from(c)] = true);
                        at = end;
                        before = None;
                    }
                    None => {
                        set[usize::from(b'[')] = true;
                        before = Some(b'[');
                    }
                }
            }
            c => {
                set[usize::from(c)] = true;
                before = Some(c);
            }
        }
        first = false;
        at += 1;
    }
    if negated {
        set.iter_mut().for_each(|is_in| *is_in = !*is_in);
    }
    set[usize::from(b'/')] = false;
    Some((set, at + 1))
}

/// The classes of POSIX, in the C locale.
fn named(name: &[u8]) -> Option<fn(u8) -> bool> {
    Some(match name {
        b"alnum" => |c| c.is_ascii_alphanumeric(),
        b"alpha" => |c| c.is_ascii_alphabetic(),
        b"blank" => |c| matches!(c, b' ' | b'\t'),
        b"cntrl" => |c| c.is_ascii_control(),
        b"digit" => |c| c.is_ascii_digit(),
        b"graph" => |c| c.is_ascii_graphic(),
        b"lower" => |c| c.is_ascii_lowercase(),
        b"print" => |c| c.is_ascii_graphic() || c == b' ',
        b"punct" => |c| c.is_ascii_punctuation(),
        // What the C library calls space, also a vertical tab.
        b"space" => |c| c.is_ascii_whitespace() || c == 0x0b,
        b"upper" => |c| c.is_ascii_uppercase(),
        b"xdigit" => |c| c.is_ascii_hexdigit(),
        _ => return None,
    })
}

fn set_of(set: &[bool; 256], out: &mut String) {
    let members: Vec<String> = (0..=255u8).filter(|c| set[usize::from(*c)]).map(|c| format!("\\x{c:02x}")).collect();
    match members.is_empty() {
        // Nothing is in it.
        true => out.push_str("[^\\x00-\\xff]"),
        false => out.push_str(&format!("[{}]", members.concat())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Patterns::new([pattern]).unwrap().matched(path.as_bytes(), path.ends_with("d")).is_some()
    }

    #[test]
    fn case_is_ignored_where_that_is_asked_for() {
        let matches = |pattern: &str, path: &str| {
            let patterns = Patterns::new([ignore_case(pattern).as_str()]).expect("it is a pattern");
            patterns.matched(path.as_bytes(), false).is_some_and(|m| !m.negated)
        };
        for (pattern, path, is) in [
            ("*.jpg", "a/B.JPG", true),
            ("*.JPG", "b.jpg", true),
            ("/srv/[a-c]x", "SRV/Bx", true),
            ("[!a]b", "Ab", false),
            ("[!a]b", "xB", true),
            ("\\a", "A", true),
            ("\\*a", "*A", true),
            ("[[:upper:]]1", "a1", true),
            ("[a-]", "-", true),
            ("[a-]", "A", true),
            ("[]a]", "A", true),
            ("!a", "A", false),
            ("stra\u{df}e", "STRA\u{df}E", true),
            ("abc", "abd", false),
        ] {
            assert_eq!(matches(pattern, path), is, "{pattern} {path}");
        }
        assert_eq!(ignore_case("a[b"), "[aA][b");
    }

    /// A re-included directory took all that was in it with it.
    #[test]
    fn stars_of_a_pattern_without_a_slash_stay_in_one_name() {
        for pattern in [".**", ".****", " **", "a**"] {
            let name = pattern.trim_end_matches('*');
            assert!(matches(pattern, &format!("x/{name}y")), "{pattern}");
            assert!(!matches(pattern, &format!("{name}y/z")) && !matches(pattern, &format!("x/{name}/z")), "{pattern}");
        }
    }

    #[test]
    fn what_git_does_where_the_manual_is_silent() {
        for (pattern, path) in [
            ("a b  ", "x/a b"),
            ("a\\ ", "a "),
            ("a\t", "a\t"),
            ("{a,b}", "{a,b}"),
            ("[[:digit:]x]", "7"),
            ("[]a]", "]"),
            ("[\\]a]", "]"),
            ("[a-]", "-"),
            ("a**b", "axxb"),
            ("foo**/bar", "foo/x/bar"),
            ("**/b", "b"),
            ("a/**", "a/b/c"),
            ("a/**/z", "a/z"),
            ("\\#x", "#x"),
            ("#x", "#x"),
            ("\\!x", "!x"),
            ("d/", "x/d"),
        ] {
            assert!(matches(pattern, path), "{pattern:?} matches {path:?}");
        }
        for (pattern, path) in [
            ("{a,b}", "a"),
            ("[", "["),
            ("a\\", "a\\"),
            ("!", "!"),
            ("/", "d"),
            ("a?c", "a/c"),
            ("[^a]", "/"),
            ("a/*", "a/b/c"),
            ("a**b", "a/b"),
            ("[[:word:]]", "w"),
            ("d/", "x"),
            ("[b-a]", "a"),
        ] {
            assert!(!matches(pattern, path), "{pattern:?} does not match {path:?}");
        }
    }

    #[test]
    fn the_last_one_decides_however_many_there_are() {
        let mut all: Vec<String> = (0..2 * TOGETHER_MAX + 3).map(|n| format!("f{n}")).collect();
        all.push("!f1".to_owned());
        let patterns = Patterns::new(all.iter().map(String::as_str)).unwrap();
        assert_eq!(patterns.matched(b"x/f1", false), Some(Match { line: all.len() - 1, negated: true }));
        assert_eq!(patterns.matched(b"f300", false), Some(Match { line: 300, negated: false }));
        assert_eq!(patterns.matched(b"g", false), None);
        assert!(Patterns::default().is_empty() && Patterns::default().matched(b"a", true).is_none());
    }

    #[test]
    fn names_are_bytes() {
        assert!(Patterns::new(["?"]).unwrap().matched(b"\xff", false).is_some());
        assert!(Patterns::new(["?"]).unwrap().matched("\u{fc}".as_bytes(), false).is_none());
        assert!(Patterns::new(["*\u{fc}"]).unwrap().matched("x\u{fc}".as_bytes(), false).is_some());
        assert!(Patterns::new(["a*c"]).unwrap().matched(b"a\n\xfec", false).is_some());
    }
}
