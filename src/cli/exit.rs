//! Exit codes: one table, for people and for scripts.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// All of it was done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// It was done, with problems: something could not be read, restored or saved, and the rest was.
    Problems = 3,
    /// There is no repository there.
    NoRepository = 10,
    /// Refused because of what others wrote.
    Refused = 11,
    /// The passphrase is wrong.
    WrongPassphrase = 12,
    /// The user stopped it.
    Interrupted = 130,
}

/// The table, as the help shows it.
pub const TABLE: &str = "Exit codes:
  0    done
  1    failed
  2    the command line could not be understood
  3    done, with problems: something could not be read, restored or saved; the rest was
  10   there is no repository
  11   refused because of what others wrote
  12   wrong passphrase
  130  interrupted; what was uploaded is kept, no snapshot was made
A command given by --to-command that fails passes its own exit code on.";

/// Why a command ended early.
#[derive(Debug)]
pub struct Failure {
    /// How it ends.
    pub code: Code,
    /// What went wrong, with its causes.
    pub text: String,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of the command line's own.
    pub fn new(text: impl Into<String>) -> Self {
        Self { code: Code::Failed, text: text.into(), hint: None }
    }

    /// With a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An error with its causes, in one line, no cause twice.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_code() {
        use Code::*;
        for code in [Done, Failed, Problems, NoRepository, Refused, WrongPassphrase, Interrupted] {
            let number = (code as u8).to_string();
            assert!(TABLE.lines().any(|l| l.split_whitespace().next() == Some(&number)), "{code:?}");
        }
    }
}
