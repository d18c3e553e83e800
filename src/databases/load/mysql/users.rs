//! Which statements of a dump of users and grants are run on another server, and which are left out.
//!
//! Users that are missing are made, before the databases are loaded, and given their rights afterwards. Users that are
//! there stay as they are, unless it is asked for; the one that is connected and those of the system always do.

use std::collections::BTreeSet;

use crate::databases::load::roles::Step;

/// What is run, and what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UsersPlan {
    /// Statements that make users.
    pub users: Vec<Step>,
    /// Statements that give rights, once the databases are there.
    pub rights: Vec<Step>,
    /// What is left out, and why.
    pub left_out: Vec<String>,
    /// Users that were there and stay as they are.
    pub kept: BTreeSet<String>,
}

/// A user: name and host.
type User = (String, String);

const OF_SYSTEM: [&str; 4] = ["mysql.sys", "mysql.session", "mysql.infoschema", "mariadb.sys"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    text: String,
    quoted: bool,
    at: std::ops::Range<usize>,
}

impl Word {
    fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(keyword)
    }
}

/// Plans what is run of a dump of users.
pub(crate) fn plan(dump: &[u8], existing: &[User], connected: &User, alter: bool) -> Result<UsersPlan, String> {
    let dump = std::str::from_utf8(dump).map_err(|_| "the dump of grants is not UTF-8".to_owned())?;
    let mut plan = UsersPlan::default();
    for (statement, words) in statements(dump)? {
        let is = |n: usize, keyword: &str| words.get(n).is_some_and(|word: &Word| word.is(keyword));
        let is_making = is(0, "create") && (is(1, "user") || is(1, "role"));
        let is_giving = is(0, "grant")
            || is(0, "revoke")
            || (is(0, "set") && is(1, "default"))
            || (is(0, "alter") && is(1, "user"));
        if !is_making && !is_giving {
            let is_frame = ["set", "flush", "use", "start", "begin", "commit"].iter().any(|word| is(0, word));
            if !is_frame {
                let text: Vec<&str> = words.iter().take(3).map(|word| word.text.as_str()).collect();
                plan.left_out.push(format!("{}: not understood", text.join(" ")));
            }
            continue;
        }
        let Some(user) = user_of(&words, is_making) else {
            plan.left_out.push(format!("a statement {}: it names no user", words[0].text));
            continue;
        };
        let shown = format!("'{}'@'{}'", user.0, user.1);
        let is_there = existing.contains(&user);
        if user == *connected {
            plan.left_out.push(format!("user {shown}: it is the user that is connected"));
        } else if OF_SYSTEM.contains(&user.0.as_str()) {
            plan.left_out.push(format!("user {shown}: it is a user of the system"));
        } else if is_there && !alter {
            plan.kept.insert(shown);
        } else if is_making {
            let sql = if is_there { altered(statement, &words) } else { Some(statement.to_owned()) };
            plan.users.extend(sql.map(|sql| Step { what: format!("user {shown}"), sql: format!("{sql};") }));
        } else {
            plan.rights.push(Step { what: format!("rights of {shown}"), sql: format!("{statement};") });
        }
    }
    plan.left_out.dedup();
    Ok(plan)
}

/// A statement that makes a user, as one that changes it; `None` of a role, which has nothing to be changed.
fn altered(statement: &str, words: &[Word]) -> Option<String> {
    if !words[1].is("user") {
        return None;
    }
    let at = words.iter().position(|word| word.quoted)?;
    Some(format!("ALTER USER {}", &statement[words[at].at.start..]))
}

/// The user that a statement is about: behind `USER`, or behind `TO`, `FROM` or `FOR`.
fn user_of(words: &[Word], is_making: bool) -> Option<User> {
    let at = match is_making || words[0].is("alter") {
        true => words.iter().position(|word| word.quoted),
        false => {
            let before = words.iter().rposition(|word| ["to", "from", "for"].iter().any(|k| word.is(k)))?;
            Some(before + 1)
        }
    }?;
    let name = words.get(at)?.text.clone();
    let host = match words.get(at + 1).is_some_and(|word| word.is("@")) {
        true => words.get(at + 2)?.text.clone(),
        // A role has no host.
        false if is_making && words[1].is("user") => "%".to_owned(),
        false => String::new(),
    };
    Some((name, host))
}

/// The statements of a dump with their words; what stands in comments of versions counts.
fn statements(dump: &str) -> Result<Vec<(&str, Vec<Word>)>, String> {
    let bytes = dump.as_bytes();
    let (mut all, mut words, mut begin, mut at) = (Vec::new(), Vec::new(), 0, 0);
    while at < bytes.len() {
        let from = at;
        match bytes[at] {
            b';' => {
                if !words.is_empty() {
                    let words: Vec<Word> = std::mem::take(&mut words);
                    let shifted =
                        words.into_iter().map(|w: Word| Word { at: w.at.start - begin..w.at.end - begin, ..w });
                    all.push((&dump[begin..at], shifted.collect()));
                }
                at += 1;
                begin = at;
            }
            b'#' => at += dump[at..].find('\n').unwrap_or(dump.len() - at),
            b'-' if dump[at..].starts_with("-- ") || dump[at..].starts_with("--\n") => {
                at += dump[at..].find('\n').unwrap_or(dump.len() - at);
            }
            b'/' if dump[at..].starts_with("/*!") || dump[at..].starts_with("/*M!") => {
                at += dump[at..].find('!').unwrap_or_default() + 1;
                at += bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
            }
            b'/' if dump[at..].starts_with("/*") => {
                at += dump[at..].find("*/").map_or(dump.len() - at, |end| end + 2);
            }
            b'*' if dump[at..].starts_with("*/") => at += 2,
            b'\\' => return Err("the dump of grants has a command of the client".to_owned()),
            quote @ (b'\'' | b'"' | b'`') => {
                at += 1;
                let mut text = Vec::new();
                loop {
                    match bytes.get(at) {
                        None => return Err("the dump of grants ends in the middle of a text".to_owned()),
                        Some(b'\\') if quote != b'`' => {
                            text.extend(bytes.get(at + 1));
                            at += 2;
                        }
                        Some(b) if *b == quote && bytes.get(at + 1) == Some(&quote) => {
                            text.push(quote);
                            at += 2;
                        }
                        Some(b) if *b == quote => break,
                        Some(b) => {
                            text.push(*b);
                            at += 1;
                        }
                    }
                }
                at += 1;
                let text = String::from_utf8_lossy(&text).into_owned();
                words.push(Word { text, quoted: true, at: from..at });
            }
            b if b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80 => {
                let is_of_word =
                    |b: &&u8| b.is_ascii_alphanumeric() || matches!(**b, b'_' | b'$' | b'.') || **b >= 0x80;
                at += bytes[at..].iter().take_while(is_of_word).count();
                words.push(Word { text: dump[from..at].to_owned(), quoted: false, at: from..at });
            }
            b if b.is_ascii_whitespace() => at += 1,
            _ => {
                at += 1;
                words.push(Word { text: dump[from..at].to_owned(), quoted: false, at: from..at });
            }
        }
    }
    match words.is_empty() {
        true => Ok(all),
        false => Err("the dump of grants ends in the middle of a statement".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "-- users\nCREATE USER IF NOT EXISTS 'app'@'%' IDENTIFIED BY PASSWORD '*AB;C';\n\
        CREATE USER /*M!100103 IF NOT EXISTS */ `old`@`localhost` IDENTIFIED VIA unix_socket;\n\
        CREATE USER 'root'@'localhost';\nCREATE USER `mariadb.sys`@`localhost`;\n\
        GRANT SELECT ON `shop`.* TO 'app'@'%' WITH GRANT OPTION;\nGRANT USAGE ON *.* TO `old`@`localhost`;\nFLUSH PRIVILEGES;\n";

    fn existing() -> Vec<User> {
        [("root", "localhost"), ("old", "localhost")].map(|(u, h)| (u.to_owned(), h.to_owned())).to_vec()
    }

    #[test]
    fn missing_users_are_made_and_others_stay() {
        let connected = ("root".to_owned(), "localhost".to_owned());
        let plan = plan(DUMP.as_bytes(), &existing(), &connected, false).unwrap();
        assert_eq!(plan.users.len(), 1);
        assert!(plan.users[0].sql.trim_start().ends_with("'*AB;C';"), "{:?}", plan.users);
        assert_eq!(plan.rights.iter().map(|s| s.what.as_str()).collect::<Vec<_>>(), ["rights of 'app'@'%'"]);
        assert_eq!(plan.kept.iter().collect::<Vec<_>>(), ["'old'@'localhost'"]);
        assert_eq!(plan.left_out.len(), 2, "{:?}", plan.left_out);
    }

    #[test]
    fn a_user_that_is_there_is_changed_if_that_is_asked_for_and_the_connected_one_never() {
        let connected = ("root".to_owned(), "localhost".to_owned());
        let plan = plan(DUMP.as_bytes(), &existing(), &connected, true).unwrap();
        assert_eq!(plan.users[1].sql, "ALTER USER `old`@`localhost` IDENTIFIED VIA unix_socket;");
        assert!(!plan.users.iter().any(|step| step.what.contains("root")), "{:?}", plan.users);
        assert_eq!(plan.rights.len(), 2);
    }

    #[test]
    fn whatever_is_read_is_read_without_a_panic() {
        let parts =
            ["CREATE USER ", "GRANT x TO ", "'", "`", "\"", "\\", "ä", ";", "@", "/*!1", "*/", "-- ", "\n", "#"];
        let mut state = 7u64;
        for _ in 0..3000 {
            let text: String = (0..12)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    parts[(state >> 33) as usize % parts.len()]
                })
                .collect();
            let _ = plan(text.as_bytes(), &[], &Default::default(), true);
        }
    }

    #[test]
    fn what_is_cut_short_or_commands_the_client_is_refused() {
        let connected = Default::default();
        for text in ["CREATE USER 'a", "CREATE USER 'a'@'b'", "\\! id\n"] {
            assert!(plan(text.as_bytes(), &[], &connected, false).is_err(), "{text}");
        }
    }
}
