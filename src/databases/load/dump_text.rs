//! What a dump of PostgreSQL says of its own database, and plain dumps on their way into psql.
//!
//! A dump that was made with `--create` names its database, makes it, and connects to it. It is loaded into a database
//! that is made beforehand, maybe of another name: these statements are left out of the stream. What they say beside
//! that, settings and grants of the database, is kept, and said of the new database once its content is there.

use std::io::{self, Write};

use super::sql::{self, Piece, Splitter, Word, words};

/// What a statement about the database of the dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// It makes or removes it, or names its owner.
    Making,
    /// It is a setting, a limit or a comment.
    Setting,
    /// It gives or takes rights.
    Rights,
}

/// A statement about the database of the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfDatabase {
    /// What it is.
    pub about: About,
    /// What it calls the database.
    pub name: String,
    before: String,
    after: String,
}

impl OfDatabase {
    /// Reads a statement; `None` if it is about something else.
    fn read(statement: &[u8], words: &[Word]) -> Option<Self> {
        let is = |n: usize, keyword: &str| words.get(n).is_some_and(|word| word.is(keyword));
        let behind = |n: usize| (n..words.len()).find(|n| is(*n, "database")).map(|n| n + 1);
        let first = words.first()?;
        let (about, at) = match first.text.as_str() {
            "create" | "drop" if is(1, "database") => (About::Making, if is(2, "if") { 4 } else { 2 }),
            "alter" if is(1, "database") && is(3, "owner") => (About::Making, 2),
            "alter" if is(1, "database") => (About::Setting, 2),
            "alter" if (is(1, "role") || is(1, "user")) && is(3, "in") => (About::Setting, behind(3)?),
            "comment" if is(1, "on") && is(2, "database") => (About::Setting, 3),
            "security" if behind(0).is_some() => (About::Setting, behind(0)?),
            "grant" | "revoke" => {
                let on = words.iter().position(|word| word.is("on"))?;
                (About::Rights, is(on + 1, "database").then_some(on + 2)?)
            }
            _ => return None,
        };
        let name = words.get(at)?;
        let text = |from: usize, to: usize| String::from_utf8_lossy(&statement[from..to]).into_owned();
        Some(Self {
            about,
            name: name.name()?.to_owned(),
            before: text(first.at.start, name.at.start),
            after: text(name.at.end, statement.len()),
        })
    }

    /// The statement, about another database.
    pub(super) fn of(&self, database: &str) -> String {
        format!("{}{}{}", self.before, sql::name(database), self.after)
    }

    /// Whether it has every session read only.
    pub(super) fn is_read_only(&self) -> bool {
        self.after.to_ascii_lowercase().contains("default_transaction_read_only")
    }
}

/// What is left out of a plain dump, and what is known of it so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// What the description calls the database.
    pub member: String,
    /// Owners are left out.
    pub no_owner: bool,
    /// Grants are left out.
    pub no_privileges: bool,
    /// Tablespaces are left out.
    pub no_tablespaces: bool,
    /// The major version of the server.
    pub server: u32,
}

/// Settings that older servers do not know, and the version that brought them.
const NEWER_SETTINGS: [(&str, u32); 1] = [("transaction_timeout", 17)];

/// Passes a plain dump on, statement by statement, without what [`Wanted`] leaves out.
pub(super) struct PlainFilter<'a> {
    splitter: Option<Splitter>,
    rest: Rest<'a>,
}

struct Rest<'a> {
    out: &'a mut dyn Write,
    wanted: &'a Wanted,
    kept: &'a mut Vec<OfDatabase>,
}

impl<'a> PlainFilter<'a> {
    /// Passes on to `out`, and adds the statements about the database to `kept`.
    pub(super) fn new(out: &'a mut dyn Write, wanted: &'a Wanted, kept: &'a mut Vec<OfDatabase>) -> Self {
        Self { splitter: Some(Splitter::new()), rest: Rest { out, wanted, kept } }
    }

    /// The stream is over: an error, if the dump is not.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let Self { splitter, rest } = &mut self;
        splitter.take().map_or(Ok(()), |splitter| splitter.finish(&mut |piece| rest.piece(piece)))
    }
}

impl Write for PlainFilter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self { splitter, rest } = self;
        if let Some(splitter) = splitter {
            splitter.push(bytes, &mut |piece| rest.piece(piece))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.rest.out.flush()
    }
}

impl Rest<'_> {
    fn piece(&mut self, piece: Piece<'_>) -> io::Result<()> {
        match piece {
            Piece::Part(bytes) | Piece::Data(bytes) => self.out.write_all(bytes),
            // psql would do what such a line says, whoever wrote it. These are of the dump's own frame, and not needed.
            Piece::Command(line) if is_of_frame(line) => Ok(()),
            Piece::Command(_) => Err(io::Error::other("the dump has a command of psql that pg_dump does not write")),
            Piece::Statement(statement) => self.statement(statement),
        }
    }

    fn statement(&mut self, statement: &[u8]) -> io::Result<()> {
        let words = words(statement);
        if let Some(found) = OfDatabase::read(statement, &words) {
            check_name(&self.wanted.member, &found)?;
            self.kept.push(found);
            return Ok(());
        }
        if is_unwanted(&words, self.wanted) { Ok(()) } else { self.out.write_all(statement) }
    }
}

/// Whether a line is one of those commands of psql that the dump tools write: around the restricted part, and to connect.
pub(super) fn is_of_frame(line: &[u8]) -> bool {
    // The encoding is that of the name in the line that connects, and is said again behind it.
    let known = ["\\restrict ", "\\unrestrict ", "\\connect ", "\\encoding SQL_ASCII\n"];
    known.iter().any(|known| line.starts_with(known.as_bytes()))
}

fn check_name(member: &str, found: &OfDatabase) -> io::Result<()> {
    match found.name == member {
        true => Ok(()),
        false => Err(io::Error::other(exchanged(member, &found.name))),
    }
}

/// What is said of a dump that is of another database than its description says.
pub(super) fn exchanged(member: &str, found: &str) -> String {
    format!(
        "the dump is of the database {found}, and its description says that it is {member}: dumps were exchanged, and it is not loaded"
    )
}

fn is_unwanted(words: &[Word], wanted: &Wanted) -> bool {
    let is = |n: usize, keyword: &str| words.get(n).is_some_and(|word| word.is(keyword));
    let ends_as_owner = || {
        let at = words.len().saturating_sub(4);
        is(at, "owner") && is(at + 1, "to")
    };
    // The catalog is changed for the database that is made, which is no template.
    (is(0, "update") && words.iter().any(|word| word.is("pg_database")))
        || (wanted.no_owner && ((is(0, "alter") && ends_as_owner()) || (is(0, "set") && is(1, "session"))))
        || (wanted.no_privileges
            && (is(0, "grant") || is(0, "revoke") || (is(0, "alter") && is(1, "default") && is(2, "privileges"))))
        || (wanted.no_tablespaces && is(0, "set") && is(1, "default_tablespace"))
        || (is(0, "set") && NEWER_SETTINGS.iter().any(|(name, since)| is(1, name) && wanted.server < *since))
}

/// Refuses an archive of another database, as `pg_restore --list` tells its name: with spaces for line ends.
pub(super) fn check_listed_name(member: &str, list: &str) -> Result<(), String> {
    let found = list.lines().find_map(|line| line.strip_prefix(';')?.trim_start().strip_prefix("dbname:"));
    let found = found.ok_or("pg_restore --list does not say of which database the dump is")?.trim_matches(' ');
    let listed = member.replace(['\n', '\r'], " ");
    if listed.trim_matches(' ') == found { Ok(()) } else { Err(exchanged(member, found)) }
}

/// What an archive says of its database and of owners, read from what `pg_restore --create --schema-only` writes.
#[derive(Debug, Clone, Default)]
pub(super) struct ArchiveText {
    /// Statements about the database.
    pub statements: Vec<OfDatabase>,
    /// Roles that own something.
    pub owners: std::collections::BTreeSet<String>,
}

impl ArchiveText {
    /// Reads what the tool wrote.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let mut found = Self::default();
        let mut splitter = Splitter::new();
        let mut sink = |piece: Piece<'_>| {
            if let Piece::Statement(statement) = piece {
                let words = words(statement);
                found.statements.extend(OfDatabase::read(statement, &words));
                if let [.., owner, to, name, _] = &words[..]
                    && owner.is("owner")
                    && to.is("to")
                {
                    found.owners.extend(name.name().map(str::to_owned));
                }
            }
            Ok(())
        };
        splitter.push(text, &mut sink).and_then(|()| splitter.finish(&mut sink)).map_err(|e| e.to_string())?;
        Ok(found)
    }

    /// Refuses an archive of another database.
    pub(super) fn check_name(&self, member: &str) -> Result<(), String> {
        self.statements.iter().try_for_each(|found| check_name(member, found)).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict k\n\nSET transaction_timeout = 0;\nSET default_transaction_read_only = off;\n\
DROP DATABASE \"fe\"\"nce\";\nCREATE DATABASE \"fe\"\"nce\" WITH TEMPLATE = template0;\nALTER DATABASE \"fe\"\"nce\" OWNER TO o;\n\
\\unrestrict k\n\\encoding SQL_ASCII\n\\connect -reuse-previous=on \"dbname='x'\"\n\\restrict k\n\
ALTER DATABASE \"fe\"\"nce\" SET default_transaction_read_only TO 'on';\nALTER ROLE app IN DATABASE \"fe\"\"nce\" SET a TO 'b';\n\
CREATE TABLE t (a text);\nALTER TABLE t OWNER TO \"o;\";\nCOPY t (a) FROM stdin;\nCREATE DATABASE x;\n\\.\nGRANT ALL ON TABLE t TO p;\n\
GRANT CONNECT ON DATABASE \"fe\"\"nce\" TO app;\n\\unrestrict k\n";

    fn filtered(dump: &str, wanted: &Wanted) -> io::Result<(String, Vec<OfDatabase>)> {
        let (mut out, mut kept) = (Vec::new(), Vec::new());
        let mut filter = PlainFilter::new(&mut out, wanted, &mut kept);
        filter.write_all(dump.as_bytes())?;
        filter.finish()?;
        Ok((String::from_utf8(out).unwrap(), kept))
    }

    #[test]
    fn what_a_dump_says_of_its_database_is_kept_for_the_one_that_is_made() {
        let wanted = Wanted { member: "fe\"nce".to_owned(), server: 15, ..Wanted::default() };
        let (text, kept) = filtered(DUMP, &wanted).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with("--")).collect();
        let expected = [
            "SET default_transaction_read_only = off;",
            "CREATE TABLE t (a text);",
            "ALTER TABLE t OWNER TO \"o;\";",
            "COPY t (a) FROM stdin;",
            "CREATE DATABASE x;",
            "\\.",
            "GRANT ALL ON TABLE t TO p;",
        ];
        assert_eq!(lines, expected);
        let said: Vec<String> = kept.iter().filter(|k| k.about != About::Making).map(|k| k.of("new")).collect();
        assert_eq!(
            said,
            [
                "ALTER DATABASE \"new\" SET default_transaction_read_only TO 'on';",
                "ALTER ROLE app IN DATABASE \"new\" SET a TO 'b';",
                "GRANT CONNECT ON DATABASE \"new\" TO app;"
            ]
        );
        assert_eq!(kept.iter().filter(|k| k.is_read_only()).count(), 1);
        assert!(!filtered(DUMP, &Wanted { server: 17, ..wanted }).unwrap().1.is_empty());
    }

    /// IDP-7: each database got the last dump.
    #[test]
    fn a_dump_of_another_database_is_refused() {
        let error = filtered(DUMP, &Wanted { member: "wts".to_owned(), ..Wanted::default() }).unwrap_err();
        assert!(error.to_string().contains("exchanged"), "{error}");
        let archive = ArchiveText::read(DUMP.as_bytes()).unwrap();
        assert!(archive.check_name("wts").is_err() && archive.check_name("fe\"nce").is_ok());
        assert_eq!(archive.owners.into_iter().collect::<Vec<_>>(), ["o", "o;"]);
    }

    #[test]
    fn a_name_with_a_line_end_is_compared_as_the_list_tells_it() {
        let list = ";\n; Archive created at 2026-12-01\n;     dbname: a b\n;     TOC Entries: 7\n";
        assert!(check_listed_name("a\nb", list).is_ok());
        assert!(check_listed_name("b\na", list).unwrap_err().contains("exchanged"));
        assert!(check_listed_name("a\nb", "; nothing\n").is_err());
    }

    #[test]
    fn owners_and_grants_are_left_out_if_asked_for() {
        let wanted = Wanted { member: "fe\"nce".to_owned(), no_owner: true, no_privileges: true, ..Wanted::default() };
        let text = filtered(DUMP, &wanted).unwrap().0;
        assert!(!text.contains("OWNER") && !text.contains("GRANT") && text.contains("CREATE TABLE"), "{text}");
    }

    #[test]
    fn commands_of_psql_are_not_passed_on() {
        assert!(filtered("select 1;\n\\! id\n", &Wanted::default()).is_err());
    }
}
