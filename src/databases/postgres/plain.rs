//! Rows per table of a dump in plain SQL, counted while it passes.
//!
//! [`PlainCounter`] reads what `pg_dump` writes: blocks of `COPY`, and `INSERT` of one or several rows. It splits SQL into
//! words as psql does, so that neither a text, nor a comment, nor the body of a function is taken for rows. It keeps the
//! names of tables and no contents, takes any bytes, cut anywhere, and says `None` where it cannot be sure.

use std::collections::HashMap;

use super::statement::{Ending, Statement, WORD_LEN_MAX};

pub use super::statement::TableName;

/// Tables that are kept at most.
const TABLES_MAX: usize = 1 << 20;

/// Counts the rows of each table in a dump.
#[derive(Debug, Default)]
pub struct PlainCounter {
    state: State,
    statement: Statement,
    tables: HashMap<TableName, u64>,
    /// `standard_conforming_strings` is off: a backslash escapes in every text.
    backslashes: bool,
    is_unsure: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    Word(Vec<u8>),
    /// Behind a `-`.
    Dash,
    /// Behind a `/`.
    Slash,
    LineComment,
    BlockComment {
        depth: u64,
        last: u8,
    },
    /// A command to psql, up to the end of the line.
    Meta,
    Text {
        escapes: bool,
        is_escaped: bool,
    },
    /// Behind a quote that may end a text.
    TextEnd {
        escapes: bool,
    },
    Quoted(Vec<u8>),
    /// Behind a quote that may end a name.
    QuotedEnd(Vec<u8>),
    /// Within what may become the opening tag of a dollar quote.
    Tag(Vec<u8>),
    /// Within a dollar quote: its tag, and how much of the closing one was seen.
    Body {
        tag: Vec<u8>,
        seen: usize,
    },
    /// Behind `COPY ... FROM stdin;`, up to the end of the line.
    CopyHead(TableName),
    CopyRows {
        table: TableName,
        rows: u64,
        line: LineStart,
    },
}

/// The first bytes of a line, as far as they tell whether it is `\.`.
#[derive(Debug, Default)]
struct LineStart {
    bytes: [u8; 2],
    len: usize,
}

impl LineStart {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(3) {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
            }
            self.len = (self.len + 1).min(3);
        }
    }

    fn is_end(&self) -> bool {
        self.len == 2 && self.bytes == *b"\\."
    }
}

impl PlainCounter {
    /// Takes the next bytes.
    pub fn saw(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            rest = match &mut self.state {
                State::CopyRows { .. } => self.rows(rest),
                State::LineComment | State::Meta | State::CopyHead(_) if *byte != b'\n' => {
                    skip_to(rest, |b| b == b'\n')
                }
                State::Text { is_escaped: false, .. } if !matches!(*byte, b'\'' | b'\\') => {
                    skip_to(rest, |b| matches!(b, b'\'' | b'\\'))
                }
                State::Word(word) if is_word_part(*byte) => {
                    let more = skip_to(rest, |b| !is_word_part(b));
                    let len = (rest.len() - more.len()).min((WORD_LEN_MAX + 1).saturating_sub(word.len()));
                    word.extend_from_slice(&rest[..len]);
                    more
                }
                State::Body { seen: 0, .. } if *byte != b'$' => skip_to(rest, |b| b == b'$'),
                _ => {
                    // What ends a word belongs to what follows.
                    while !self.step(*byte) {}
                    after
                }
            };
        }
    }

    /// All tables whose rows were there, with how many there were; `None` if it cannot be told.
    pub fn finish(mut self) -> Option<Vec<(TableName, u64)>> {
        while !self.step(b'\n') {}
        let is_open = matches!(
            self.state,
            State::CopyHead(_)
                | State::CopyRows { .. }
                | State::Text { .. }
                | State::Quoted(_)
                | State::Body { .. }
                | State::BlockComment { .. }
        );
        if is_open || self.is_unsure {
            return None;
        }
        let mut tables: Vec<(TableName, u64)> = self.tables.into_iter().collect();
        tables.sort();
        Some(tables)
    }

    /// Takes rows of a `COPY`; returns what comes behind.
    fn rows<'b>(&mut self, mut bytes: &'b [u8]) -> &'b [u8] {
        let State::CopyRows { table, rows, line } = &mut self.state else { return bytes };
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            line.add(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if line.is_end() {
                let (table, rows) = (std::mem::take(table), *rows);
                self.state = State::Between;
                self.add(table, rows);
                return bytes;
            }
            *rows += 1;
            *line = LineStart::default();
        }
        line.add(bytes);
        &[]
    }

    fn add(&mut self, table: TableName, rows: u64) {
        if self.tables.len() >= TABLES_MAX && !self.tables.contains_key(&table) {
            self.is_unsure = true;
            return;
        }
        let known = self.tables.entry(table).or_default();
        *known = known.saturating_add(rows);
    }

    /// Takes a byte; false if it is to be taken once more, in the state that it led to.
    fn step(&mut self, byte: u8) -> bool {
        match std::mem::take(&mut self.state) {
            State::Between => {
                self.state = self.begin(byte);
                return true;
            }
            State::Word(word) => return self.in_word(word, byte),
            State::Dash if byte == b'-' => self.state = State::LineComment,
            State::Slash if byte == b'*' => self.state = State::BlockComment { depth: 1, last: 0 },
            State::Dash | State::Slash => {
                self.statement.punctuation(b'-');
                return false;
            }
            State::LineComment if byte != b'\n' => self.state = State::LineComment,
            State::Meta if byte != b'\n' => self.state = State::Meta,
            State::LineComment | State::Meta => {}
            State::BlockComment { depth, last } => match (last, byte) {
                (b'*', b'/') if depth <= 1 => {}
                (b'*', b'/') => self.state = State::BlockComment { depth: depth - 1, last: 0 },
                (b'/', b'*') => self.state = State::BlockComment { depth: depth + 1, last: 0 },
                _ => self.state = State::BlockComment { depth, last: byte },
            },
            State::Text { escapes, is_escaped } => {
                self.state = match byte {
                    b'\'' if !is_escaped => State::TextEnd { escapes },
                    _ => State::Text { escapes, is_escaped: escapes && byte == b'\\' && !is_escaped },
                };
            }
            State::TextEnd { escapes } if byte == b'\'' => self.state = State::Text { escapes, is_escaped: false },
            State::TextEnd { .. } => return false,
            State::Quoted(name) if byte == b'"' => self.state = State::QuotedEnd(name),
            State::Quoted(name) => self.state = State::Quoted(with(name, byte)),
            State::QuotedEnd(name) if byte == b'"' => self.state = State::Quoted(with(name, byte)),
            State::QuotedEnd(name) => {
                self.statement.name(&name);
                return false;
            }
            State::Tag(tag) => return self.in_tag(tag, byte),
            State::Body { tag, seen } => {
                let seen = match tag.get(seen) {
                    Some(next) if *next == byte => seen + 1,
                    _ => usize::from(byte == b'$'),
                };
                if seen < tag.len() {
                    self.state = State::Body { tag, seen };
                }
            }
            State::CopyHead(table) => {
                self.state = match byte {
                    b'\n' => State::CopyRows { table, rows: 0, line: LineStart::default() },
                    _ => State::CopyHead(table),
                };
            }
            rows @ State::CopyRows { .. } => {
                self.state = rows;
                self.rows(&[byte]);
            }
        }
        true
    }

    /// What begins with a byte between words.
    fn begin(&mut self, byte: u8) -> State {
        match byte {
            b'-' => State::Dash,
            b'/' => State::Slash,
            b'\\' => State::Meta,
            b'"' => State::Quoted(Vec::new()),
            b'$' => State::Tag(vec![byte]),
            b'\'' => {
                self.statement.text();
                State::Text { escapes: self.backslashes, is_escaped: false }
            }
            b';' => self.end_statement(),
            byte if is_word(byte) => State::Word(vec![byte]),
            byte if byte.is_ascii_whitespace() => State::Between,
            byte => {
                self.statement.punctuation(byte);
                State::Between
            }
        }
    }

    fn end_statement(&mut self) -> State {
        match self.statement.end() {
            Ending::Within | Ending::Other => State::Between,
            Ending::Copy(Some(table)) => State::CopyHead(table),
            Ending::Inserted(Some(table), rows) => {
                self.add(table, rows);
                State::Between
            }
            Ending::Copy(None) | Ending::Inserted(None, _) => {
                self.is_unsure = true;
                State::Between
            }
            Ending::StandardStrings(standard) => {
                self.backslashes = !standard;
                State::Between
            }
        }
    }

    /// What comes behind a word.
    fn in_word(&mut self, word: Vec<u8>, byte: u8) -> bool {
        // An E before a text belongs to it.
        if byte == b'\'' && matches!(word.as_slice(), b"e" | b"E") {
            self.state = State::Text { escapes: true, is_escaped: false };
            self.statement.text();
            return true;
        }
        self.statement.word(&word);
        false
    }

    fn in_tag(&mut self, tag: Vec<u8>, byte: u8) -> bool {
        if byte == b'$' {
            let tag = with(tag, byte);
            self.is_unsure |= tag.len() > WORD_LEN_MAX;
            self.statement.text();
            self.state = State::Body { tag, seen: 0 };
            return true;
        }
        // `$1` is a parameter.
        let is_part = is_word(byte) && (tag.len() > 1 || !byte.is_ascii_digit());
        match is_part {
            true => self.state = State::Tag(with(tag, byte)),
            false => self.statement.punctuation(b'$'),
        }
        is_part
    }
}

/// The part of `bytes` from the first on that `is_end` names.
fn skip_to(bytes: &[u8], is_end: impl Fn(u8) -> bool) -> &[u8] {
    &bytes[bytes.iter().position(|b| is_end(*b)).unwrap_or(bytes.len())..]
}

/// With one more byte, unless it is too long already: then it is one byte longer than what is told apart.
fn with(mut word: Vec<u8>, byte: u8) -> Vec<u8> {
    if word.len() <= WORD_LEN_MAX {
        word.push(byte);
    }
    word
}

/// Within a word, a dollar is part of it.
fn is_word_part(byte: u8) -> bool {
    is_word(byte) || byte == b'$'
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted_by(text: &[u8], piece: usize) -> Option<Vec<(String, u64)>> {
        let mut counter = PlainCounter::default();
        text.chunks(piece).for_each(|part| counter.saw(part));
        let tables = counter.finish()?;
        Some(tables.into_iter().map(|((schema, name), rows)| (format!("{schema}|{name}"), rows)).collect())
    }

    /// Whole, in two pieces cut at any byte, and byte by byte.
    fn counted(text: &str) -> Option<Vec<(String, u64)>> {
        let bytes = text.as_bytes();
        let whole = counted_by(bytes, bytes.len().max(1));
        for at in 0..bytes.len() {
            let mut counter = PlainCounter::default();
            counter.saw(&bytes[..at]);
            counter.saw(&bytes[at..]);
            let cut = counter.finish().map(|tables| tables.iter().map(|(_, rows)| *rows).collect::<Vec<_>>());
            assert_eq!(cut, whole.as_ref().map(|all| all.iter().map(|(_, rows)| *rows).collect()), "cut at {at}");
        }
        assert_eq!(counted_by(bytes, 1), whole);
        whole
    }

    fn is(text: &str, expected: &[(&str, u64)]) {
        let expected = expected.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect::<Vec<_>>();
        assert_eq!(counted(text), Some(expected), "{text}");
    }

    #[test]
    fn rows_of_copy_are_counted() {
        is(
            "COPY public.a (x, y) FROM stdin;\n1\t2\n3\t\\N\n\\.\n\nCOPY public.b (x) FROM stdin;\n\\.\n",
            &[("public|a", 2), ("public|b", 0)],
        );
        // A table without columns has empty lines; `\.` ends only as a line of its own.
        is("COPY s.none  FROM stdin;\n\n\n\n\\.\n", &[("s|none", 3)]);
        is("COPY s.t (a) FROM stdin;\n\\\\.\n\\.x\n.\n\\\n\\.\n", &[("s|t", 4)]);
        is("COPY s.t (a) FROM stdin;\nCOPY s.u (a) FROM stdin;\n'\n$$\n/*\n\\.\n", &[("s|t", 4)]);
        is("copy s.t (a) with oids from STDIN ;\nx\n\\.\nCOPY s.t TO stdout;\nx\n", &[("s|t", 1)]);
    }

    #[test]
    fn names_may_hold_anything() {
        is(
            "COPY \"a.b\".\"c\"\"; COPY d (e) FROM stdin;\n\" (\"(\") FROM stdin;\n1\n\\.\n",
            &[("a.b|c\"; COPY d (e) FROM stdin;\n", 1)],
        );
        is("COPY Public.\u{dc}n\u{ef} (x) FROM stdin;\n1\n\\.\n", &[("public|\u{dc}n\u{ef}", 1)]);
        is("COPY t (x) FROM stdin;\n1\n\\.\n", &[("|t", 1)]);
    }

    #[test]
    fn rows_of_insert_are_counted() {
        is(
            "INSERT INTO s.t VALUES (1, '),(');\nINSERT INTO s.t (a, b) VALUES\n\t(1, (2)),\n\t(2, E'\\'),(');\n",
            &[("s|t", 3)],
        );
        is("INSERT INTO s.t DEFAULT VALUES;\nINSERT INTO s.u DEFAULT VALUES;\n", &[("s|t", 1), ("s|u", 1)]);
        is(
            "INSERT INTO s.t OVERRIDING SYSTEM VALUE VALUES (1) ON CONFLICT (a) DO NOTHING;\n\
             INSERT INTO s.\"values\" VALUES (now());\n",
            &[("s|t", 1), ("s|values", 1)],
        );
    }

    #[test]
    fn texts_comments_and_bodies_are_no_rows() {
        let copy = "COPY s.no (a) FROM stdin;\n1\n\\.\n";
        for text in [
            "-- COPY s.no (a) FROM stdin;\n--\n".to_owned(),
            "COMMENT ON TABLE s.t IS 'x;\nCOPY s.no (a) FROM stdin;\n1\n\\.\n';\n".to_owned(),
            "COMMENT ON TABLE s.t IS E'\\';\nCOPY s.no (a) FROM stdin;\n\\'''';\n".to_owned(),
            format!("/* /* {copy} */ {copy} */\n"),
            format!("CREATE FUNCTION f() AS $_$\n{copy}$$ $_ $1 $_$;\n"),
            format!("CREATE FUNCTION f() AS $$\n{copy}$$;\nSELECT a$$b;\n"),
            "CREATE FUNCTION f() RETURNS void\nBEGIN ATOMIC\n INSERT INTO s.no VALUES (1);\n SELECT CASE WHEN true \
             THEN 1 END;\n INSERT INTO s.no VALUES (1);\nEND;\n"
                .to_owned(),
            "CREATE OR REPLACE PROCEDURE f() BEGIN ATOMIC INSERT INTO s.no VALUES (1); END;\n".to_owned(),
            "CREATE RULE r AS ON UPDATE TO s.t DO (INSERT INTO s.no VALUES (1); INSERT INTO s.no VALUES (2));\n"
                .to_owned(),
            "\\restrict COPY s.no (a) FROM stdin;\n\\connect 'it\n".to_owned(),
            "SELECT 1 - 2 / 3 COPY s.no FROM stdin;\n".to_owned(),
        ] {
            is(&format!("{text}COPY s.yes (a) FROM stdin;\n1\n\\.\n"), &[("s|yes", 1)]);
        }
    }

    #[test]
    fn backslashes_count_as_the_dump_says() {
        let body = "COMMENT ON TABLE t IS 'a\\';\nCOPY s.t (a) FROM stdin;\n1\n\\.\n";
        is(&format!("SET standard_conforming_strings = on;\n{body}"), &[("s|t", 1)]);
        let off = "SET standard_conforming_strings = off;\nCOMMENT ON TABLE t IS 'a\\'; COPY s.t FROM stdin;\n';\n";
        is(off, &[]);
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        assert_eq!(counted("COPY s.t (a) FROM stdin;\n1\n2\n"), None, "cut short");
        assert_eq!(counted("COMMENT ON TABLE t IS 'a"), None);
        assert_eq!(counted("COPY a.b.c (a) FROM stdin;\n1\n\\.\n"), None);
        let long = "x".repeat(WORD_LEN_MAX + 10);
        assert_eq!(counted_by(format!("COPY s.{long} (a) FROM stdin;\n1\n\\.\n").as_bytes(), 7), None);
        assert_eq!(counted_by(format!("COPY s.\"{long}\" (a) FROM stdin;\n1\n\\.\n").as_bytes(), 7), None);
        assert_eq!(counted_by(format!("select ${long}$ x").as_bytes(), 7), None);
        assert_eq!(counted(""), Some(Vec::new()));
    }
}
