//! Texts that a user gives to be stored: refused if nobody could read them in a list.
//!
//! What others stored is not checked here: it may be anything, and is cut where it is shown ([`super::output::text::table`]).

use super::error::{CliError, Result};

/// Tags that a snapshot can have.
pub const TAGS_MAX: usize = 100;

/// Bytes of each text that is said of a snapshot or a credential.
pub const TEXT_LEN_MAX: usize = 1000;

/// Hosts, and sources, that a credential can be given.
const NAMES_MAX: usize = 100;

/// Refuses a text that is empty, longer than [`TEXT_LEN_MAX`] or not of one line. `option` is where it was given.
pub fn check_text(option: &str, text: &str) -> Result<()> {
    let refused = |what: String| Err(CliError::Usage(format!("{option} {what}")));
    match text {
        text if text.len() > TEXT_LEN_MAX => {
            refused(format!("is {} bytes long; the most is {TEXT_LEN_MAX}", text.len()))
        }
        text if text.trim().is_empty() => refused("is empty".to_owned()),
        text if text.chars().any(char::is_control) => {
            refused("contains a line break or another control character".to_owned())
        }
        _ => Ok(()),
    }
}

/// Refuses tags that are too many, or that [`check_text`] refuses.
pub fn check_tags(tags: &[String]) -> Result<()> {
    if tags.len() > TAGS_MAX {
        return Err(CliError::Usage(format!("{} tags are given; a snapshot can have {TAGS_MAX}", tags.len())));
    }
    tags.iter().try_for_each(|tag| check_text("--tag", tag))
}

/// Refuses the name of a stream, which is the name of a file too.
pub fn check_stream(option: &str, name: &str) -> Result<()> {
    check_text(option, name)?;
    match name {
        "." | ".." => Err(CliError::Usage(format!("{option} {name} is no name of a file"))),
        name if name.contains('/') => Err(CliError::Usage(format!("{option} {name} contains a slash"))),
        _ => Ok(()),
    }
}

/// Refuses names for a credential that are too many, or that [`check_text`] refuses.
pub fn check_names(option: &str, names: &[String]) -> Result<()> {
    if names.len() > NAMES_MAX {
        return Err(CliError::Usage(format!("{option} is given {} times; the most is {NAMES_MAX}", names.len())));
    }
    names.iter().try_for_each(|name| check_text(option, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tag of 65,536 characters ended `snapshots` with a panic, for everybody.
    #[test]
    fn what_nobody_could_read_is_refused_and_the_option_is_named() {
        let refused = |done: Result<()>| done.expect_err("it is absurd").to_string();
        assert!(check_text("--host", "db 1").is_ok() && check_text("--label", &"\u{fc}".repeat(500)).is_ok());
        assert_eq!(refused(check_text("--host", " ")), "--host is empty");
        assert_eq!(refused(check_text("--label", &"x".repeat(1001))), "--label is 1001 bytes long; the most is 1000");
        assert_eq!(
            refused(check_text("--source", "a\nb")),
            "--source contains a line break or another control character"
        );
        assert!(check_tags(&vec!["t".to_owned(); 100]).is_ok() && check_tags(&["\u{1b}[2J".to_owned()]).is_err());
        assert_eq!(refused(check_tags(&vec!["t".to_owned(); 101])), "101 tags are given; a snapshot can have 100");
        assert!(check_names("--host", &vec!["h".to_owned(); 101]).is_err());
        for name in ["..", "a/b", "", "a\tb"] {
            assert!(check_stream("--stdin-name", name).is_err(), "{name}");
        }
        assert!(check_stream("--stdin-name", "shop.sql").is_ok());
    }
}
