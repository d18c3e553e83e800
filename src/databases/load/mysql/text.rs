//! Dumps of MySQL and MariaDB on their way into a client.
//!
//! `mariadb-dump` writes a first line that switches its client into a sandbox; other clients fail at it. A dump that was
//! made with `--databases` makes its database and switches to it: these lines are left out, for it is loaded into a
//! database that is made beforehand. A text of several lines cannot look like them: the dump tools write line ends within
//! texts as `\n`.

use std::io::{self, Write};

use crate::databases::load::dump_text::exchanged;

/// The beginnings of the line that switches on the sandbox.
const SANDBOX: [&[u8]; 2] = [b"/*M!999999\\- ", b"/*!999999\\- "];
const USE: &[u8] = b"USE `";
const CREATE: &[u8] = b"CREATE DATABASE /*!";
const HEAD: &[u8] = b"-- Host: ";

/// A line that is looked at is no longer than this.
const LINE_LEN_MAX: usize = 4 << 10;

/// Passes a dump on without the line that switches on MariaDB's sandbox, if it begins with it.
pub struct SandboxFilter<'a> {
    out: &'a mut dyn Write,
    /// The first line so far; `None` once it is over.
    first: Option<Vec<u8>>,
}

impl<'a> SandboxFilter<'a> {
    /// Passes on to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, first: Some(Vec::new()) }
    }

    /// The stream is over.
    pub fn finish(mut self) -> io::Result<()> {
        self.first.take().map_or(Ok(()), |first| self.out.write_all(&first))
    }
}

impl Write for SandboxFilter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut first) = self.first.take() else {
            self.out.write_all(bytes)?;
            return Ok(bytes.len());
        };
        first.extend_from_slice(bytes);
        let end = first.iter().position(|b| *b == b'\n');
        let may_be = |line: &[u8]| SANDBOX.iter().any(|s| line.starts_with(s) || s.starts_with(line));
        match end {
            Some(end) if SANDBOX.iter().any(|s| first.starts_with(s)) => self.out.write_all(&first[end + 1..])?,
            None if may_be(&first) && first.len() < LINE_LEN_MAX => self.first = Some(first),
            _ => self.out.write_all(&first)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Passes a dump on without what makes its database and switches to it, and refuses one of another database.
pub(super) struct DatabaseFilter<'a> {
    out: &'a mut dyn Write,
    member: &'a str,
    /// The line so far, while it may be one that is looked at.
    line: Option<Vec<u8>>,
    /// Whether the head of the dump, which names its database, may still come.
    is_head: bool,
}

impl<'a> DatabaseFilter<'a> {
    pub(super) fn new(out: &'a mut dyn Write, member: &'a str) -> Self {
        Self { out, member, line: Some(Vec::new()), is_head: true }
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        match self.line.take() {
            Some(line) => self.whole_line(&line),
            None => Ok(()),
        }
    }

    fn whole_line(&mut self, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if line.starts_with(USE) {
            return self.check(&unquoted(text[USE.len()..].trim_end_matches(';').trim_end_matches('`')));
        }
        if line.starts_with(CREATE) {
            return Ok(());
        }
        if self.is_head
            && line.starts_with(HEAD)
            && let Some((_, name)) = text.split_once("Database: ")
        {
            self.is_head = false;
            let name = name.trim();
            if !name.is_empty() {
                self.check(name)?;
            }
        }
        self.out.write_all(line)
    }

    fn check(&self, name: &str) -> io::Result<()> {
        // The head of a dump has a name without its line ends and outer blanks.
        match name == self.member || name == self.member.trim().replace(['\n', '\r'], " ") {
            true => Ok(()),
            false => Err(io::Error::other(exchanged(self.member, name))),
        }
    }
}

fn unquoted(name: &str) -> String {
    name.replace("``", "`")
}

impl Write for DatabaseFilter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
            let (part, others) = rest.split_at(len);
            rest = others;
            let is_end = part.ends_with(b"\n");
            match self.line.take() {
                None => self.out.write_all(part)?,
                Some(mut line) => {
                    line.extend_from_slice(part);
                    let known = [USE, CREATE, HEAD];
                    let may_be = known.iter().any(|k| line.starts_with(k) || k.starts_with(&line[..]));
                    if !may_be || line.len() > LINE_LEN_MAX {
                        self.out.write_all(&line)?;
                    } else if is_end {
                        self.whole_line(&line)?;
                    } else {
                        self.line = Some(line);
                        continue;
                    }
                }
            }
            self.line = is_end.then(Vec::new);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_sandbox(dump: &[u8], step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut filter = SandboxFilter::new(&mut out);
        dump.chunks(step).for_each(|part| filter.write_all(part).unwrap());
        filter.finish().unwrap();
        out
    }

    /// DH-11: older clients fail at the first line.
    #[test]
    fn only_the_line_of_the_sandbox_is_left_out() {
        let dump = b"/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump\nx";
        for step in [1, 5, 1000] {
            assert_eq!(without_sandbox(dump, step), b"-- MariaDB dump\nx");
            assert_eq!(without_sandbox(b"/*!999999\\- enable the sandbox mode */\ny", step), b"y");
            for other in [&b"-- MySQL dump\n/*M!999999\\- x */\n"[..], b"/*M!99", b"", b"\n"] {
                assert_eq!(without_sandbox(other, step), other);
            }
        }
    }

    fn filtered(dump: &str, member: &str, step: usize) -> io::Result<String> {
        let mut out = Vec::new();
        let mut filter = DatabaseFilter::new(&mut out, member);
        dump.as_bytes().chunks(step).try_for_each(|part| filter.write_all(part))?;
        filter.finish()?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_dump_is_loaded_into_the_database_that_is_made_for_it() {
        let dump = "-- MariaDB dump\n-- Host: localhost    Database: sh`op\n-- ---\n\nCREATE DATABASE /*!32312 IF NOT EXISTS*/ \
                    `sh``op` /*!40100 DEFAULT CHARACTER SET utf8mb4 */;\n\nUSE `sh``op`;\nINSERT INTO `t` VALUES ('USE `x`;');\n";
        for step in [1, 7, 1000] {
            let text = filtered(dump, "sh`op", step).unwrap();
            assert_eq!(
                text,
                "-- MariaDB dump\n-- Host: localhost    Database: sh`op\n-- ---\n\n\nINSERT INTO `t` VALUES ('USE `x`;');\n"
            );
            assert!(filtered(dump, "other", step).unwrap_err().to_string().contains("exchanged"));
            let switched = "-- x\nUSE `mysql`;\n";
            assert!(filtered(switched, "shop", step).is_err());
        }
    }
}
