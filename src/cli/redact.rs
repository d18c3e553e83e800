//! The command line as it is kept with a run: without secrets.
//!
//! Commands of `--from-command` often carry passwords. What looks like one is replaced by `***`: better too much
//! than too little, for what is kept only tells people what was run.

use std::ffi::OsString;

use crate::primitives::text::shortened_to;

const MASK: &str = "***";

/// Parts of names whose values are secret.
const SECRET_NAMES: [&str; 9] =
    ["pass", "pwd", "secret", "token", "credential", "apikey", "api_key", "api-key", "access_key"];

/// Characters that are kept: `find | xargs strongroom backup` names thousands of paths, and each run keeps its command twice.
const COMMAND_LEN_MAX: usize = 4096;

/// The arguments, quoted for a shell, with what is secret replaced; no more than their beginning.
pub fn command_line(arguments: &[OsString]) -> String {
    let mut words = Vec::new();
    let mut masked = false;
    for argument in arguments {
        let text = argument.to_string_lossy();
        let word = match text.as_ref() {
            _ if std::mem::take(&mut masked) => MASK.to_owned(),
            "--password-command" => {
                masked = true;
                text.into_owned()
            }
            _ if text.starts_with("--password-command=") => format!("--password-command={MASK}"),
            _ if text.starts_with("--password-file") => text.into_owned(),
            text => mask(text),
        };
        words.push(quote(&word));
    }
    let mut line = words.join(" ");
    if arguments.iter().any(|argument| argument == "--stdin-from-command") {
        // Which word is a secret depends on those before it.
        line = mask(&line);
    }
    shortened_to(COMMAND_LEN_MAX, &line)
}

/// A text with what looks like a secret replaced.
pub fn mask(text: &str) -> String {
    let mysql = ["mysql", "maria"].iter().any(|tool| text.contains(tool));
    let mut out = String::with_capacity(text.len());
    // What ends the value that is being left out; and whether the next word is a value.
    let (mut inside, mut next) = (None, None);
    for piece in text.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        let space = &piece[word.len()..];
        if let Some(quote) = inside {
            if word.ends_with(quote) {
                inside = None;
                out.push_str(space);
            }
            continue;
        }
        if word.is_empty() {
            out.push_str(space);
            continue;
        }
        let (kept, value) = match next.take() {
            Some(Next::Secret) if !word.starts_with('-') => ("", Some(word)),
            Some(Next::Login) if word.contains(':') => match word.split_once(':') {
                Some((user, password)) => (&word[..user.len() + 1], Some(password)),
                None => (word, None),
            },
            _ => split(word, mysql),
        };
        next = Next::after(word, text);
        match value {
            None => out.push_str(&without_url_password(kept)),
            Some(value) => {
                out.push_str(kept);
                out.push_str(MASK);
                let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'));
                inside = quote.filter(|q| value.len() == 1 || !value.ends_with(*q));
            }
        }
        if inside.is_none() {
            out.push_str(space);
        }
    }
    out
}

/// What the word after an option is.
enum Next {
    Secret,
    Login,
}

impl Next {
    /// What comes after `word` of `text`. A short option has its meaning from the program that it is given to: to
    /// `pg_dump`, `-p` is a port.
    fn after(word: &str, text: &str) -> Option<Self> {
        let runs = |programs: &[&str]| programs.iter().any(|program| text.contains(program));
        match word {
            "-u" | "--user" => Some(Self::Login),
            "-p" if runs(&["mydumper", "myloader", "mongo", "sshpass"]) => Some(Self::Secret),
            "-a" if runs(&["redis-cli"]) => Some(Self::Secret),
            "-w" if runs(&["ldapsearch"]) => Some(Self::Secret),
            "Bearer" | "Basic" => Some(Self::Secret),
            _ if word.starts_with("--") && !word.contains('=') && is_secret_name(word) => Some(Self::Secret),
            _ => None,
        }
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// What of a word is kept, and its secret value if it has one.
fn split(word: &str, mysql: bool) -> (&str, Option<&str>) {
    if mysql && word.len() > 2 && word.starts_with("-p") {
        return ("-p", Some(&word[2..]));
    }
    if let Some(login) = word.strip_prefix("-u")
        && let Some(at) = login.find(':')
        && !word.starts_with("--")
    {
        let at = "-u".len() + at;
        return (&word[..=at], Some(&word[at + 1..]));
    }
    // `--from-command NAME=CMD` puts a name and `=` in front of a command that may begin with a variable.
    let secret = word.match_indices('=').map(|(at, _)| at).find(|at| is_secret_name(&word[..*at]));
    match secret {
        Some(at) => (&word[..=at], Some(&word[at + 1..])),
        None => (word, None),
    }
}

/// `scheme://user:password@host` without the password.
fn without_url_password(word: &str) -> String {
    let masked = || {
        let start = word.find("://")? + 3;
        let authority = &word[start..][..word[start..].find('/').unwrap_or(word.len() - start)];
        let at = authority.rfind('@')?;
        let colon = authority[..at].find(':')?;
        Some(format!("{}:{MASK}{}", &word[..start + colon], &word[start + at..]))
    };
    masked().unwrap_or_else(|| word.to_owned())
}

/// A word as a shell reads it back.
pub fn quote(word: &str) -> String {
    // A NUL, which no shell takes, stands for itself.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MYDB-4, IDP-8: passwords in command lines that the log keeps.
    #[test]
    fn what_looks_like_a_secret_is_not_kept() {
        let cases = [
            ("mysqldump -u root -phunter2 shop", "mysqldump -u root -p*** shop"),
            ("PGPASSWORD=hunter2 pg_dump shop", "PGPASSWORD=*** pg_dump shop"),
            ("PGPASSWORD='a hunter2 b' pg_dump", "PGPASSWORD=*** pg_dump"),
            ("mongodump --uri mongodb://u:hunter2@h/x", "mongodump --uri mongodb://u:***@h/x"),
            ("pg_dump postgresql://u:hun/ter2@h/x", "pg_dump postgresql://u:hun/ter2@h/x"),
            ("x --password hunter2 y", "x --password *** y"),
            ("x --password -h y", "x --password -h y"),
            ("curl -u admin:hunter2 http://x", "curl -u admin:*** http://x"),
            ("x --api-key=hunter2", "x --api-key=***"),
            ("pg_dump -p 5432 shop", "pg_dump -p 5432 shop"),
            ("shop.sql=PGPASSWORD=hunter2 pg_dump shop", "shop.sql=PGPASSWORD=*** pg_dump shop"),
            ("shop.sql=PGPASSWORD='a hunter2' pg_dump shop", "shop.sql=PGPASSWORD=*** pg_dump shop"),
            ("a.sql=MYSQL_PWD=hunter2 mysqldump a", "a.sql=MYSQL_PWD=*** mysqldump a"),
            (
                "pg_dump 'postgresql://h/x?sslmode=require&password=hunter2'",
                "pg_dump 'postgresql://h/x?sslmode=require&password=***",
            ),
            ("mydumper -u root -p hunter2 -o x", "mydumper -u root -p *** -o x"),
            ("mongodump -u root -p hunter2 --archive", "mongodump -u root -p *** --archive"),
            ("sshpass -p hunter2 ssh h", "sshpass -p *** ssh h"),
            ("redis-cli -a hunter2 --rdb -", "redis-cli -a *** --rdb -"),
            ("ldapsearch -w hunter2 -x", "ldapsearch -w *** -x"),
            ("curl -uadmin:hunter2 http://x", "curl -uadmin:*** http://x"),
            ("curl -H \"Authorization: Bearer hunter2\" http://x", "curl -H \"Authorization: Bearer *** http://x"),
        ];
        for (text, masked) in cases {
            assert_eq!(mask(text), masked);
        }
    }

    #[test]
    fn the_line_is_quoted_and_the_passphrase_command_is_left_out() {
        let line = |words: &[&str]| command_line(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(
            line(&["backup", "--password-command", "echo hunter2", "--password-command=x", "/a b"]),
            "backup --password-command '***' '--password-command=***' '/a b'"
        );
        assert_eq!(line(&["--password-file", "/k"]), "--password-file /k");
        for command in [
            &["mysqldump", "-phunter2", "shop"][..],
            &["mysqldump", "--password", "hunter2", "shop"],
            &["mysqldump", "--password", "hun ter2", "shop"],
            &["env", "PGPASSWORD=hunter2", "pg_dump", "shop"],
            &["sh", "-c", "PGPASSWORD=hunter2 pg_dump shop"],
            &["sh", "-c", "mysqldump -phunter2 shop"],
            &["curl", "-u", "admin:hunter2", "http://x"],
        ] {
            let all = [&["backup", "--stdin-from-command", "--"][..], command].concat();
            let line = line(&all);
            assert!(!line.contains("ter2") && line.contains("***"), "{line}");
        }
    }
}
