//! Text of SQL as PostgreSQL's tools write it: cut into statements while it streams, and statements into words.
//!
//! What is cut is the stream itself: the pieces, put together, are its bytes. Only psql's own commands, which begin with
//! a backslash, and the data of `COPY ... FROM stdin` are told from statements.

use std::io;
use std::mem;

/// A longer statement is handed on in parts.
const STATEMENT_LEN_MAX: usize = 1 << 20;

/// Bytes of a long statement that are held back: a mark that quotes with dollars is no longer.
const HELD_LEN: usize = 128;

/// What [`Splitter`] finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A whole statement, with what stands before it and its semicolon.
    Statement(&'a [u8]),
    /// A part of a statement that is too long to be looked at, or what follows the last one.
    Part(&'a [u8]),
    /// Lines of data of a COPY, and the line that ends them.
    Data(&'a [u8]),
    /// A command of psql: a line that begins with a backslash.
    Command(&'a [u8]),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Plain,
    Quote {
        escapes: bool,
    },
    Name,
    /// The mark, and how many bytes came behind it.
    Dollars(Vec<u8>, usize),
    LineComment,
    /// How deep, and the byte before, if it can begin or end one.
    BlockComment(u32, u8),
    Command,
    Copy,
}

/// Cuts a stream into statements.
#[derive(Debug)]
pub(super) struct Splitter {
    state: State,
    /// What is not handed on yet.
    held: Vec<u8>,
    /// Whether the statement has anything but blanks and comments so far.
    has_words: bool,
    /// Whether a part of the statement was handed on.
    is_long: bool,
    /// What may become the mark of a quotation: `$tag` so far.
    mark: Option<Vec<u8>>,
    /// Whether the byte before was a backslash that escapes the next.
    escaped: bool,
}

impl Splitter {
    pub(super) fn new() -> Self {
        let (has_words, is_long, escaped) = (false, false, false);
        Self { state: State::Plain, held: Vec::new(), has_words, is_long, mark: None, escaped }
    }

    /// Takes the next bytes and hands on the pieces that they complete.
    pub(super) fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.state == State::Copy {
                rest = self.copy(rest, sink)?;
                continue;
            }
            let (first, others) = (rest[0], &rest[1..]);
            rest = others;
            self.held.push(first);
            self.step(first, sink)?;
            if self.held.len() >= STATEMENT_LEN_MAX {
                self.is_long = true;
                let keep = self.held.split_off(self.held.len() - HELD_LEN);
                sink(Piece::Part(&mem::replace(&mut self.held, keep)))?;
            }
        }
        Ok(())
    }

    /// Hands on what is left. An error: the stream ends in the middle of something.
    pub(super) fn finish(mut self, sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
        match self.state {
            State::Command => sink(Piece::Command(&self.held)),
            State::Plain | State::LineComment if !self.has_words => sink(Piece::Part(&self.held)),
            _ => {
                self.held.clear();
                Err(io::Error::other("the dump ends in the middle of a statement"))
            }
        }
    }

    fn step(&mut self, byte: u8, sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
        let before = self.held.len().checked_sub(2).map_or(b'\n', |at| self.held[at]);
        match &mut self.state {
            State::Plain => return self.plain(byte, before, sink),
            State::Quote { escapes } => match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if *escapes => self.escaped = true,
                b'\'' => self.state = State::Plain,
                _ => {}
            },
            State::Name if byte == b'"' => self.state = State::Plain,
            State::Dollars(mark, len) => {
                *len += 1;
                if byte == b'$' && *len >= mark.len() && self.held.ends_with(mark) {
                    self.state = State::Plain;
                }
            }
            State::LineComment if byte == b'\n' => self.state = State::Plain,
            State::BlockComment(depth, last) => match (*last, byte) {
                (b'/', b'*') => (*depth, *last) = (*depth + 1, 0),
                (b'*', b'/') if *depth == 1 => self.state = State::Plain,
                (b'*', b'/') => (*depth, *last) = (*depth - 1, 0),
                _ => *last = byte,
            },
            State::Command if byte == b'\n' => {
                self.state = State::Plain;
                sink(Piece::Command(&mem::take(&mut self.held)))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn plain(&mut self, byte: u8, before: u8, sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
        let mark = self.mark.take();
        match byte {
            b'\'' => {
                let two_before = self.held.len().checked_sub(3).map_or(b' ', |at| self.held[at]);
                self.state = State::Quote { escapes: matches!(before, b'e' | b'E') && !is_of_name(two_before) };
                self.has_words = true;
            }
            b'"' => {
                self.state = State::Name;
                self.has_words = true;
            }
            b'-' if before == b'-' => self.state = State::LineComment,
            b'*' if before == b'/' => self.state = State::BlockComment(1, 0),
            b'$' => {
                self.has_words = true;
                match mark {
                    Some(mut mark) => {
                        mark.push(byte);
                        self.state = State::Dollars(mark, 0);
                    }
                    None if !is_of_name(before) => self.mark = Some(vec![byte]),
                    None => {}
                }
            }
            b';' => {
                let statement = mem::take(&mut self.held);
                let is_long = mem::take(&mut self.is_long);
                self.has_words = false;
                if !is_long && is_copy(&statement) {
                    self.state = State::Copy;
                }
                return sink(if is_long { Piece::Part(&statement) } else { Piece::Statement(&statement) });
            }
            b'\\' if !self.has_words => {
                let held = self.held.len() - 1;
                if held > 0 {
                    sink(Piece::Part(&self.held[..held]))?;
                    self.held.drain(..held);
                }
                self.state = State::Command;
            }
            b'\\' => return Err(io::Error::other("the dump has a backslash in the middle of a statement")),
            // What begins a comment is a word if no comment follows, which nothing that is looked at here is made of.
            b'-' | b'/' => {}
            _ if byte.is_ascii_whitespace() => {}
            _ => {
                self.has_words = true;
                self.mark = mark.filter(|mark| is_of_name(byte) && !(mark.len() == 1 && byte.is_ascii_digit()));
                if let Some(mark) = &mut self.mark {
                    mark.push(byte);
                }
            }
        }
        Ok(())
    }

    /// Hands on whole lines of data; what is left when they are over.
    fn copy<'a>(&mut self, bytes: &'a [u8], sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<&'a [u8]> {
        let mut done = 0;
        while let Some(len) = bytes[done..].iter().position(|b| *b == b'\n') {
            let end = done + len + 1;
            let is_last = match self.held.is_empty() {
                true => is_end_of_data(&bytes[done..end]),
                false => {
                    self.held.extend_from_slice(&bytes[done..end]);
                    let line = mem::take(&mut self.held);
                    sink(Piece::Data(&line))?;
                    let is_last = is_end_of_data(&line);
                    if !is_last {
                        done = end;
                        return Ok(&bytes[done..]);
                    }
                    self.state = State::Plain;
                    return Ok(&bytes[end..]);
                }
            };
            done = end;
            if is_last {
                self.state = State::Plain;
                sink(Piece::Data(&bytes[..done]))?;
                return Ok(&bytes[done..]);
            }
        }
        if done > 0 {
            sink(Piece::Data(&bytes[..done]))?;
        }
        self.held.extend_from_slice(&bytes[done..]);
        Ok(&[])
    }
}

fn is_end_of_data(line: &[u8]) -> bool {
    line == b"\\.\n" || line == b"\\.\r\n"
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn is_copy(statement: &[u8]) -> bool {
    let lower = |at: usize| statement.get(at..).unwrap_or_default().to_ascii_lowercase();
    lower(statement.len().saturating_sub(32)).trim_ascii_end().ends_with(b"from stdin;")
        && words(statement).first().is_some_and(|word| word.is("copy"))
}

/// A word of a statement: a name, a text or a sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// What it is.
    pub kind: WordKind,
    /// What it means: a name as the server has it, a text without its quotes.
    pub text: String,
    /// Where it stands in the statement.
    pub at: std::ops::Range<usize>,
}

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordKind {
    /// A key word or a name without quotes, in small letters.
    Bare,
    /// A name in quotes.
    Quoted,
    /// A text.
    Text,
    /// Anything else, one byte each.
    Sign,
}

impl Word {
    /// Whether it is this key word.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == WordKind::Bare && self.text == keyword
    }

    /// The name that it is.
    pub(super) fn name(&self) -> Option<&str> {
        matches!(self.kind, WordKind::Bare | WordKind::Quoted).then_some(self.text.as_str())
    }
}

/// The words of a statement, without comments.
pub(super) fn words(statement: &[u8]) -> Vec<Word> {
    let (mut words, mut at) = (Vec::new(), 0);
    let text = |from: usize, to: usize| String::from_utf8_lossy(&statement[from..to]).into_owned();
    while at < statement.len() {
        let (begin, byte) = (at, statement[at]);
        let two = statement.get(at..at + 2).unwrap_or_default();
        let (kind, text) = match byte {
            _ if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ if two == b"--" => {
                at += statement[at..].iter().position(|b| *b == b'\n').unwrap_or(statement.len() - at);
                continue;
            }
            _ if two == b"/*" => {
                let end = statement[at + 2..].windows(2).position(|w| w == b"*/");
                at = end.map_or(statement.len(), |end| at + 2 + end + 2);
                continue;
            }
            b'"' => {
                at = end_of_quoted(statement, at + 1, b'"', false);
                (WordKind::Quoted, text(begin + 1, at.saturating_sub(1).max(begin + 1)).replace("\"\"", "\""))
            }
            b'\'' => {
                at = end_of_quoted(statement, at + 1, b'\'', false);
                (WordKind::Text, text(begin + 1, at.saturating_sub(1).max(begin + 1)).replace("''", "'"))
            }
            b'E' | b'e' if two.get(1) == Some(&b'\'') => {
                at = end_of_quoted(statement, at + 2, b'\'', true);
                (WordKind::Text, text(begin + 2, at.saturating_sub(1).max(begin + 2)))
            }
            _ if is_of_name(byte) => {
                at += statement[at..].iter().take_while(|b| is_of_name(**b) || **b == b'$').count();
                (WordKind::Bare, text(begin, at).to_lowercase())
            }
            _ => {
                at += 1;
                (WordKind::Sign, text(begin, at))
            }
        };
        words.push(Word { kind, text, at: begin..at });
    }
    words
}

/// The place behind the quote that ends what begins at `at`.
fn end_of_quoted(bytes: &[u8], mut at: usize, quote: u8, escapes: bool) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if escapes => at += 2,
            b if b == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A name as PostgreSQL reads it.
pub(super) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as PostgreSQL reads it, whatever it is set to.
pub(super) fn text(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: &[u8], step: usize) -> Vec<(char, String)> {
        let (mut splitter, mut all) = (Splitter::new(), Vec::<(char, String)>::new());
        let mut sink = |piece: Piece<'_>| {
            let (kind, bytes) = match piece {
                Piece::Statement(b) => ('s', b),
                Piece::Part(b) => ('p', b),
                Piece::Data(b) => ('d', b),
                Piece::Command(b) => ('c', b),
            };
            let text = String::from_utf8_lossy(bytes).into_owned();
            match all.last_mut() {
                Some((last, before)) if *last == kind && kind != 's' => before.push_str(&text),
                _ => all.push((kind, text)),
            }
            Ok(())
        };
        bytes.chunks(step).for_each(|chunk| splitter.push(chunk, &mut sink).unwrap());
        splitter.finish(&mut sink).unwrap();
        all.retain(|(_, text)| !text.is_empty());
        all
    }

    #[test]
    fn a_dump_is_cut_into_statements_data_and_commands_wherever_its_bytes_are_cut() {
        let dump = "-- it's; a comment\n\\restrict abc\nset x = 'a;''b\\';\ncreate function f() as $_$ ; $$ ' $_$, $$$$;\n\
            /*/ ; /* ; */ */ select E'\\';', \"a;\"\"\", $1;COPY t (a) FROM stdin;\n1;\t\\N\n\\.x\n\\.\n\nselect 1-1;\n";
        let expected = pieces(dump.as_bytes(), usize::MAX);
        let kinds: String = expected.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, "pcssssdsp", "{expected:?}");
        assert_eq!(expected.iter().map(|(_, text)| text.as_str()).collect::<String>(), dump);
        for step in [1, 2, 3, 7] {
            assert_eq!(pieces(dump.as_bytes(), step), expected, "{step}");
        }
    }

    #[test]
    fn a_statement_that_is_too_long_is_handed_on_in_parts() {
        let long = format!("insert into t values ($a$ {} $a$); select 1;", ";'".repeat(STATEMENT_LEN_MAX));
        let all = pieces(long.as_bytes(), 4096);
        assert_eq!(all.iter().map(|(kind, _)| *kind).collect::<String>(), "ps");
        assert_eq!(all.iter().map(|(_, text)| text.as_str()).collect::<String>(), long);
    }

    #[test]
    fn a_dump_that_ends_within_something_is_told() {
        for text in ["select 'a", "select 1", "COPY t FROM stdin;\n1\n", "/* x", "select $a$ ;"] {
            let mut splitter = Splitter::new();
            splitter.push(text.as_bytes(), &mut |_| Ok(())).unwrap();
            assert!(splitter.finish(&mut |_| Ok(())).is_err(), "{text}");
        }
        assert!(Splitter::new().push(b"select 1 \\! id\n", &mut |_| Ok(())).is_err());
    }

    /// Texts of few signs, as a small generator makes them.
    #[test]
    fn whatever_is_cut_is_put_together_again_and_read_without_a_panic() {
        let signs = b"'\"$a;\n\\-/*E.\xc3 ";
        let mut state = 7u64;
        for _ in 0..3000 {
            let text: Vec<u8> = (0..24)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    signs[(state >> 33) as usize % signs.len()]
                })
                .collect();
            let (mut splitter, mut back) = (Splitter::new(), Vec::new());
            let mut sink = |piece: Piece<'_>| {
                let (Piece::Statement(b) | Piece::Part(b) | Piece::Data(b) | Piece::Command(b)) = piece;
                words(b);
                back.extend_from_slice(b);
                Ok(())
            };
            let done = text.chunks(5).try_for_each(|part| splitter.push(part, &mut sink));
            let done = done.and_then(|()| splitter.finish(&mut sink));
            words(&text);
            assert!(text.starts_with(&back) && (done.is_err() || back == text), "{text:?}: {back:?}");
        }
    }

    #[test]
    fn words_mean_what_the_server_reads() {
        let told: Vec<(WordKind, String)> = words(b"-- x\nALTER Role \"we \"\"ird\" SET a TO 'it''s', 5;")
            .into_iter()
            .map(|word| (word.kind, word.text))
            .collect();
        use WordKind::{Bare, Quoted, Sign, Text};
        let expected = [
            (Bare, "alter"),
            (Bare, "role"),
            (Quoted, "we \"ird"),
            (Bare, "set"),
            (Bare, "a"),
            (Bare, "to"),
            (Text, "it's"),
            (Sign, ","),
            (Bare, "5"),
            (Sign, ";"),
        ];
        assert_eq!(told, expected.map(|(kind, text)| (kind, text.to_owned())));
        assert_eq!(
            (name("a\"b"), text("it's"), text("a\\'")),
            ("\"a\"\"b\"".into(), "'it''s'".into(), "E'a\\\\'''".into())
        );
    }
}
