//! What a statement of a plain dump is, from its words: rows for a table, or nothing that counts.

/// Bytes of a word or of the tag of a dollar quote that are told apart. Names of PostgreSQL have 63.
pub(super) const WORD_LEN_MAX: usize = 256;

/// A table, as its schema and its own name, without quotes.
pub type TableName = (String, String);

/// What a statement was, once it has ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// It has not ended: the semicolon stands within it.
    Within,
    /// The rows follow; `None` if the name of the table cannot be told.
    Copy(Option<TableName>),
    /// It had so many rows.
    Inserted(Option<TableName>, u64),
    /// It says whether a backslash is an ordinary character of texts.
    StandardStrings(bool),
    /// Anything else.
    Other,
}

/// A statement, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Statement {
    kind: Kind,
    /// Words so far, up to four.
    words: usize,
    parentheses: usize,
    /// `BEGIN ATOMIC` and `CASE` that have no `END` yet.
    blocks: usize,
    name: Name,
    /// The last two words.
    last: [Last; 2],
    rows: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[default]
    Empty,
    Copy,
    /// Behind INSERT.
    Insert,
    /// Behind INSERT INTO.
    Into,
    /// Behind VALUES.
    Values,
    /// Behind the rows.
    Inserted,
    Create,
    /// CREATE FUNCTION or PROCEDURE, whose body may hold statements.
    Routine,
    Set,
    /// SET standard_conforming_strings.
    StandardStrings,
    Other,
}

/// Words whose order tells something.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    #[default]
    Other,
    From,
    Stdin,
    Default,
    Off,
}

/// The name of a table, part by part.
#[derive(Debug, Default)]
struct Name {
    parts: Vec<String>,
    after_dot: bool,
    is_done: bool,
    is_too_long: bool,
}

impl Name {
    fn part(&mut self, text: &[u8], is_quoted: bool) {
        if self.is_done || (!self.parts.is_empty() && !self.after_dot) {
            self.is_done = true;
            return;
        }
        self.is_too_long |= text.len() > WORD_LEN_MAX || self.parts.len() > 2;
        if self.parts.len() <= 2 {
            let text = String::from_utf8_lossy(text);
            self.parts.push(if is_quoted { text.into_owned() } else { text.to_ascii_lowercase() });
        }
        self.after_dot = false;
    }

    fn punctuation(&mut self, byte: u8) {
        match byte {
            b'.' if !self.parts.is_empty() && !self.after_dot && !self.is_done => self.after_dot = true,
            _ => self.is_done = true,
        }
    }

    fn take(&mut self) -> Option<TableName> {
        let name = std::mem::take(self);
        if name.is_too_long || name.after_dot {
            return None;
        }
        match <[String; 2]>::try_from(name.parts) {
            Ok([schema, name]) => Some((schema, name)),
            Err(parts) => Some((String::new(), <[String; 1]>::try_from(parts).ok()?[0].clone())),
        }
    }
}

impl Statement {
    /// A word without quotes.
    pub(super) fn word(&mut self, text: &[u8]) {
        let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
        let is_top = self.parentheses == 0;
        match self.kind {
            Kind::Empty if is("copy") => self.kind = Kind::Copy,
            Kind::Empty if is("insert") => self.kind = Kind::Insert,
            Kind::Empty if is("create") => self.kind = Kind::Create,
            Kind::Empty if is("set") => self.kind = Kind::Set,
            Kind::Empty => self.kind = Kind::Other,
            Kind::Set if is("standard_conforming_strings") => self.kind = Kind::StandardStrings,
            Kind::Set => self.kind = Kind::Other,
            Kind::Insert if is("into") => self.kind = Kind::Into,
            Kind::Insert => self.kind = Kind::Other,
            // As psql has it: CREATE, perhaps OR REPLACE, then what is created.
            Kind::Create if is("function") || is("procedure") => self.kind = Kind::Routine,
            Kind::Create if self.words >= 3 || !(is("or") || is("replace")) => self.kind = Kind::Other,
            Kind::Routine if is_top && (is("begin") || self.blocks > 0 && is("case")) => self.blocks += 1,
            Kind::Routine if is_top && is("end") => self.blocks = self.blocks.saturating_sub(1),
            Kind::Into if is_top && !self.name.parts.is_empty() && !self.name.after_dot && is("values") => {
                self.kind = Kind::Values;
                // INSERT INTO t DEFAULT VALUES
                self.rows = u64::from(self.last[1] == Last::Default);
            }
            Kind::Values if is_top && is("on") => self.kind = Kind::Inserted,
            Kind::Copy | Kind::Into => self.name.part(text, false),
            _ => {}
        }
        self.words = (self.words + 1).min(4);
        self.follows(match () {
            () if is("from") => Last::From,
            () if is("stdin") => Last::Stdin,
            () if is("default") => Last::Default,
            () if is("off") => Last::Off,
            () => Last::Other,
        });
    }

    /// A name in quotes.
    pub(super) fn name(&mut self, text: &[u8]) {
        match self.kind {
            Kind::Copy | Kind::Into => self.name.part(text, true),
            Kind::Empty | Kind::Set | Kind::Insert => self.kind = Kind::Other,
            _ => {}
        }
        self.follows(Last::Other);
    }

    /// A text.
    pub(super) fn text(&mut self) {
        self.name.is_done = true;
        if self.kind == Kind::Empty {
            self.kind = Kind::Other;
        }
        self.follows(Last::Other);
    }

    /// Any other character.
    pub(super) fn punctuation(&mut self, byte: u8) {
        if matches!(self.kind, Kind::Copy | Kind::Into) {
            self.name.punctuation(byte);
        }
        match byte {
            b'(' => {
                if self.kind == Kind::Values && self.parentheses == 0 {
                    self.rows += 1;
                }
                self.parentheses += 1;
            }
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            _ => {}
        }
        if self.kind == Kind::Empty {
            self.kind = Kind::Other;
        }
        if byte != b'=' {
            self.follows(Last::Other);
        }
    }

    /// A semicolon. If the statement ends with it, the next one begins.
    pub(super) fn end(&mut self) -> Ending {
        if self.parentheses > 0 || self.blocks > 0 {
            return Ending::Within;
        }
        let mut ended = std::mem::take(self);
        match ended.kind {
            Kind::Copy if ended.last == [Last::From, Last::Stdin] => Ending::Copy(ended.name.take()),
            Kind::Values | Kind::Inserted => Ending::Inserted(ended.name.take(), ended.rows),
            Kind::StandardStrings => Ending::StandardStrings(ended.last[1] != Last::Off),
            _ => Ending::Other,
        }
    }

    fn follows(&mut self, word: Last) {
        self.last = [self.last[1], word];
    }
}
