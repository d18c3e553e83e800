//! Counts the rows of a dump in plain SQL while it passes.
//!
//! It reads what `mysqldump` and `mariadb-dump` write of one database, as their clients would: statements, strings,
//! comments and `DELIMITER` lines, in pieces that may end anywhere. Rows are those of `INSERT` and `REPLACE` statements;
//! a table that `CREATE TABLE` names and no `INSERT` fills has none. Statements within routines and triggers, and what
//! stands in `/*! ... */`, such as views, count for nothing.
//!
//! Any bytes are read without a panic, and what is kept does not grow with the length of a statement. What cannot be
//! counted is said by [`Counter::finish`], never guessed.

use std::collections::BTreeMap;

/// Greatest length of a name or of an SQL mode in bytes: a name has 64 characters at the most.
const TEXT_LEN_MAX: usize = 2048;

/// So many tables are counted at the most.
const TABLES_MAX: usize = 200_000;

/// Greatest length of a delimiter, as the clients have it.
const DELIMITER_LEN_MAX: usize = 15;

/// Bytes that mean something within a row, outside quotes.
const MATTERS_IN_ROW: [bool; 256] = {
    let mut matters = [false; 256];
    let bytes = b"'\"`-/#()";
    let mut at = 0;
    while at < bytes.len() {
        matters[bytes[at] as usize] = true;
        at += 1;
    }
    matters
};

/// Where in the text the reading stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// In statements.
    Code,
    /// Behind one `-`.
    Dash,
    /// Behind `--`.
    DashDash,
    /// Behind a `/`.
    Slash,
    /// Behind `/*`.
    SlashStar,
    /// In the version behind `/*!`.
    Version,
    /// In a comment until the end of the line.
    LineComment,
    /// In a comment until `*/`; whether its last byte was a star.
    BlockComment(bool),
    /// In a quoted text that begins with this byte.
    Quoted(u8),
    /// Behind a backslash in it.
    Escaped(u8),
    /// Behind what is its end, unless it is doubled.
    QuoteEnd(u8),
    /// In the line of a `DELIMITER` command.
    DelimiterLine,
}

/// What the statement at hand is, as far as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Statement {
    /// Nothing of it was read.
    Start,
    /// It stands in `/*! ... */`, and nothing more of it was read.
    Conditional,
    /// `INSERT` or `REPLACE`, before its `VALUES`; how many parentheses are open.
    Insert(u32),
    /// Behind `VALUES`; how many parentheses are open.
    Rows(u32),
    /// `CREATE`, before the name of a table.
    Create,
    /// `CREATE TABLE`, before its name.
    CreateTable,
    /// `SET`.
    Set,
    /// Another one, or the rest of one.
    Other,
}

/// What a `SET` says of the SQL mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Unsaid,
    /// `sql_mode` was read: its value follows.
    Expected,
    /// What it is from the end of the statement on: whether backslashes escape.
    Becomes(bool),
}

/// A name or value that is being read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Text {
    bytes: Vec<u8>,
    /// It was longer than what is kept.
    is_cut: bool,
}

impl Text {
    fn push(&mut self, byte: u8) {
        if self.bytes.len() < TEXT_LEN_MAX {
            self.bytes.push(byte);
        } else {
            self.is_cut = true;
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.is_cut = false;
    }

    fn is(&self, word: &str) -> bool {
        self.bytes.eq_ignore_ascii_case(word.as_bytes())
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }
}

/// Counts rows in a stream.
#[derive(Debug, Clone)]
pub struct Counter {
    at: At,
    statement: Statement,
    delimiter: Vec<u8>,
    /// How many bytes of the delimiter were just read.
    delimiter_seen: usize,
    /// The word that is being read, outside quotes.
    word: Text,
    /// What stood before it.
    before_word: u8,
    /// The last byte of code.
    last: u8,
    /// What is being read inside quotes, if it matters.
    quoted: Text,
    /// The table that the statement fills.
    table: Option<Vec<u8>>,
    rows: u64,
    mode: Mode,
    /// Whether backslashes escape now, before the last `@saved_sql_mode`, and before the dump.
    backslash: bool,
    saved: bool,
    tables: BTreeMap<Vec<u8>, u64>,
    failed: Option<&'static str>,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            at: At::Code,
            statement: Statement::Start,
            delimiter: b";".to_vec(),
            delimiter_seen: 0,
            word: Text::default(),
            before_word: 0,
            last: 0,
            quoted: Text::default(),
            table: None,
            rows: 0,
            mode: Mode::Unsaid,
            backslash: true,
            saved: true,
            tables: BTreeMap::new(),
            failed: None,
        }
    }
}

impl Counter {
    /// Reads the next piece of the stream.
    pub fn saw(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            if self.failed.is_some() {
                return;
            }
            match self.indifferent_len(rest) {
                0 => {}
                n => {
                    rest = &rest[n..];
                    continue;
                }
            }
            self.byte(*first);
            rest = after;
        }
    }

    /// The tables and their rows, by name; or why they could not be counted.
    pub fn finish(&mut self) -> Result<BTreeMap<Vec<u8>, u64>, &'static str> {
        match self.failed {
            Some(why) => Err(why),
            None => Ok(std::mem::take(&mut self.tables)),
        }
    }

    /// How many bytes at the beginning change nothing: nearly all of a dump lies in values.
    fn indifferent_len(&self, bytes: &[u8]) -> usize {
        match (self.at, self.statement) {
            (At::Quoted(quote), _) if !self.wants_quoted() => {
                let escapes = self.backslash && quote != b'`';
                let mut at = 0;
                while let Some(next) = bytes[at..].iter().position(|b| *b == quote || (*b == b'\\' && escapes)) {
                    at += next;
                    // What is escaped may come with the next piece.
                    if bytes[at] == quote || at + 1 == bytes.len() {
                        return at;
                    }
                    at += 2;
                }
                bytes.len()
            }
            (At::Code, Statement::Rows(1..)) if self.delimiter_seen == 0 => {
                let first = self.delimiter[0];
                bytes.iter().position(|b| MATTERS_IN_ROW[usize::from(*b)] || *b == first).unwrap_or(bytes.len())
            }
            _ => 0,
        }
    }

    fn byte(&mut self, b: u8) {
        match self.at {
            At::Code => self.code(b),
            At::Dash if b == b'-' => self.at = At::DashDash,
            At::Dash => self.was_code(b"-", b),
            At::DashDash if b == b'\n' => self.at = At::Code,
            At::DashDash if b.is_ascii_whitespace() || b.is_ascii_control() => self.at = At::LineComment,
            At::DashDash => self.was_code(b"--", b),
            At::Slash if b == b'*' => self.at = At::SlashStar,
            At::Slash => self.was_code(b"/", b),
            At::SlashStar if b == b'!' => {
                self.at = At::Version;
                if self.statement == Statement::Start {
                    self.statement = Statement::Conditional;
                }
            }
            At::SlashStar => self.at = At::BlockComment(b == b'*'),
            At::Version if b.is_ascii_digit() => {}
            At::Version => self.was_code(b"", b),
            At::LineComment if b == b'\n' => self.at = At::Code,
            At::LineComment => {}
            At::BlockComment(true) if b == b'/' => self.at = At::Code,
            At::BlockComment(_) => self.at = At::BlockComment(b == b'*'),
            At::Quoted(quote) if b == quote => self.at = At::QuoteEnd(quote),
            At::Quoted(quote) if b == b'\\' && quote != b'`' && self.backslash => self.at = At::Escaped(quote),
            At::Quoted(_) => self.keep(b),
            At::Escaped(quote) => {
                self.keep(b);
                self.at = At::Quoted(quote);
            }
            At::QuoteEnd(quote) if b == quote => {
                self.keep(b);
                self.at = At::Quoted(quote);
            }
            At::QuoteEnd(quote) => {
                self.at = At::Code;
                self.quoted_ended(quote);
                self.code(b);
            }
            At::DelimiterLine if b == b'\n' => self.delimiter_ended(),
            At::DelimiterLine => self.quoted.push(b),
        }
    }

    /// What looked like the beginning of a comment was code, and so is what follows.
    fn was_code(&mut self, before: &[u8], b: u8) {
        self.at = At::Code;
        before.iter().for_each(|b| self.plain(*b));
        self.code(b);
    }

    /// A byte outside quotes and comments.
    fn code(&mut self, b: u8) {
        if self.delimiter.get(self.delimiter_seen) == Some(&b) {
            self.delimiter_seen += 1;
            if self.delimiter_seen == self.delimiter.len() {
                self.delimiter_seen = 0;
                self.statement_ended();
            }
            return;
        }
        let seen = std::mem::take(&mut self.delimiter_seen);
        if seen > 0 {
            // It was the beginning of a delimiter only.
            let begun = self.delimiter[..seen].to_vec();
            begun.iter().for_each(|b| self.plain(*b));
            return self.code(b);
        }
        match b {
            b'\'' | b'"' | b'`' => {
                self.word_ended();
                self.quoted.clear();
                self.at = At::Quoted(b);
            }
            b'-' | b'/' | b'#' => {
                self.word_ended();
                self.at = match b {
                    b'-' => At::Dash,
                    b'/' => At::Slash,
                    _ => At::LineComment,
                };
            }
            b => self.plain(b),
        }
    }

    /// A byte that belongs to a statement and begins nothing.
    fn plain(&mut self, b: u8) {
        if let Statement::Rows(1..) = self.statement {
            // Within a row only parentheses matter.
            return self.parenthesis(b);
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | 0x80..) {
            if self.word.bytes.is_empty() {
                self.before_word = self.last;
            }
            self.word.push(b);
        } else {
            self.word_ended();
            self.parenthesis(b);
        }
        self.last = b;
    }

    fn parenthesis(&mut self, b: u8) {
        self.statement = match (self.statement, b) {
            (Statement::Insert(depth), b'(') => Statement::Insert(depth.saturating_add(1)),
            (Statement::Insert(depth), b')') => Statement::Insert(depth.saturating_sub(1)),
            (Statement::Rows(depth), b'(') => Statement::Rows(depth.saturating_add(1)),
            (Statement::Rows(1), b')') => {
                self.rows += 1;
                Statement::Rows(0)
            }
            (Statement::Rows(depth), b')') => Statement::Rows(depth.saturating_sub(1)),
            // No statement that is looked at begins so.
            (Statement::Start | Statement::Conditional, b) if !b.is_ascii_whitespace() => Statement::Other,
            (other, _) => other,
        };
    }

    fn word_ended(&mut self) {
        if self.word.bytes.is_empty() {
            return;
        }
        let word = std::mem::take(&mut self.word);
        self.statement = match self.statement {
            Statement::Start if word.is_any(&["insert", "replace"]) => Statement::Insert(0),
            Statement::Start if word.is("create") => Statement::Create,
            Statement::Start | Statement::Conditional if word.is("set") => Statement::Set,
            Statement::Start if word.is("delimiter") => {
                self.quoted.clear();
                self.at = At::DelimiterLine;
                Statement::Start
            }
            Statement::Insert(0) if word.is_any(&["values", "value"]) => Statement::Rows(0),
            Statement::Insert(0) if word.is_any(&["select", "set", "with", "table"]) => Statement::Other,
            Statement::Insert(0) => {
                if !word.is_any(&["into", "ignore", "delayed", "low_priority", "high_priority"]) {
                    self.named(&word);
                }
                Statement::Insert(0)
            }
            // Behind the rows.
            Statement::Rows(0) => Statement::Other,
            Statement::Create if word.is_any(&["or", "replace"]) => Statement::Create,
            Statement::Create if word.is("table") => Statement::CreateTable,
            Statement::CreateTable if word.is_any(&["if", "not", "exists"]) => Statement::CreateTable,
            Statement::CreateTable => {
                self.created(&word);
                Statement::Other
            }
            Statement::Set => {
                self.set(&word);
                Statement::Set
            }
            Statement::Insert(_) => self.statement,
            _ => Statement::Other,
        };
        self.word = word;
        self.word.clear();
    }

    fn wants_quoted(&self) -> bool {
        match self.statement {
            Statement::Insert(0) | Statement::CreateTable => true,
            Statement::Set => self.mode == Mode::Expected,
            _ => false,
        }
    }

    fn keep(&mut self, b: u8) {
        if self.wants_quoted() {
            self.quoted.push(b);
        }
    }

    fn quoted_ended(&mut self, quote: u8) {
        let quoted = std::mem::take(&mut self.quoted);
        self.last = quote;
        match self.statement {
            Statement::Start | Statement::Conditional => self.statement = Statement::Other,
            Statement::Insert(0) if quote != b'\'' => self.named(&quoted),
            Statement::CreateTable => {
                self.created(&quoted);
                self.statement = Statement::Other;
            }
            Statement::Set if self.mode == Mode::Expected => {
                let modes = String::from_utf8_lossy(&quoted.bytes).to_ascii_lowercase();
                self.mode = Mode::Becomes(!modes.contains("no_backslash_escapes"));
                if quoted.is_cut {
                    self.failed = Some("an SQL mode is longer than any that is known");
                }
            }
            _ => {}
        }
        self.quoted = quoted;
    }

    /// The name of the table that is filled; of `DATABASE.TABLE`, the last word counts.
    fn named(&mut self, name: &Text) {
        if name.is_cut {
            self.failed = Some("the name of a table is longer than any that a server takes");
        }
        self.table = Some(name.bytes.clone());
    }

    fn created(&mut self, name: &Text) {
        self.named(name);
        self.add();
    }

    /// Adds the rows to the table at hand.
    fn add(&mut self) {
        let (Some(table), rows) = (self.table.take(), std::mem::take(&mut self.rows)) else { return };
        if self.tables.len() >= TABLES_MAX && !self.tables.contains_key(&table) {
            self.failed = Some("there are too many tables");
            return;
        }
        *self.tables.entry(table).or_default() += rows;
    }

    /// A word of a `SET`: whether it names or saves the SQL mode.
    fn set(&mut self, word: &Text) {
        let is_variable = self.before_word == b'@';
        match (self.mode, is_variable) {
            (Mode::Expected, true) if word.is("saved_sql_mode") => self.mode = Mode::Becomes(self.saved),
            (Mode::Expected, true) => self.mode = Mode::Becomes(true),
            (_, true) if word.is("sql_mode") => self.saved = self.backslash,
            (_, false) if word.is("sql_mode") && self.before_word != b'.' => self.mode = Mode::Expected,
            _ => {}
        }
    }

    fn delimiter_ended(&mut self) {
        let line = std::mem::take(&mut self.quoted);
        let word = line.bytes.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
        match word {
            Some(word) if word.len() <= DELIMITER_LEN_MAX => self.delimiter = word.to_vec(),
            _ => self.failed = Some("a DELIMITER line names none"),
        }
        self.at = At::Code;
        self.delimiter_seen = 0;
    }

    fn statement_ended(&mut self) {
        self.word_ended();
        if matches!(self.statement, Statement::Rows(_)) || self.rows > 0 {
            self.add();
        }
        if let Mode::Becomes(backslash) = self.mode {
            self.backslash = backslash;
        }
        // A word may have begun the line of a delimiter: it is over.
        self.at = At::Code;
        (self.statement, self.mode, self.table, self.rows) = (Statement::Start, Mode::Unsaid, None, 0);
        self.last = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts, in one piece and cut at every byte, which must give the same.
    fn counted(text: &str) -> Vec<(String, u64)> {
        let of = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut counter = Counter::default();
            pieces.for_each(|piece| counter.saw(piece));
            counter.finish().unwrap()
        };
        let whole = of(&mut [text.as_bytes()].into_iter());
        assert_eq!(of(&mut text.as_bytes().chunks(1)), whole, "{text}");
        assert_eq!(of(&mut text.as_bytes().chunks(3)), whole, "{text}");
        whole.into_iter().map(|(name, rows)| (String::from_utf8(name).unwrap(), rows)).collect()
    }

    fn rows(text: &str) -> u64 {
        counted(text).iter().map(|(_, rows)| rows).sum()
    }

    #[test]
    fn rows_are_counted_whatever_their_values_hold() {
        let text = "CREATE TABLE `empty` (\n  `a` int COMMENT 'INSERT INTO `x` VALUES (1);'\n);\n\
            INSERT INTO `t` VALUES\n(1,'a\\'b\\\\','x'),\n(2,'),(',\")(\"),\n(3,'INSERT INTO `t` VALUES (1),(2);\n',NULL),\n\
            (4,'-- x /* y */ # z \\\"',0xFF00),(5,_binary '\\0'),(6,'it''s');\n\
            INSERT INTO `t` VALUES (7,1.5e3,-2,b'101');\nREPLACE INTO `we``ird '\"(x),` (`a`,`b)`) VALUES (1,(2)),(NULL,3);\n\
            INSERT IGNORE INTO `o` VALUES ();\n";
        let expected = [("empty", 0), ("o", 1), ("t", 7), ("we`ird '\"(x),", 2)];
        assert_eq!(counted(text), expected.map(|(name, rows)| (name.to_owned(), rows)));
    }

    #[test]
    fn what_is_no_row_of_the_dump_is_not_counted() {
        for none in [
            "-- INSERT INTO `t` VALUES (1);\n",
            "--\n-- x '\n",
            "# INSERT INTO `t` VALUES (1);\n",
            "/* INSERT INTO `t` VALUES (1); **/",
            "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump '\n",
            "/*!50001 CREATE TABLE `v` (`a` tinyint) */;\n/*!50001 CREATE VIEW `v` AS SELECT 1 */;\n",
            "DELIMITER ;;\nCREATE PROCEDURE `p`()\nbegin\nINSERT INTO `t` VALUES (1);\nINSERT INTO t values (2);\nend ;;\nDELIMITER ;\n",
            "DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`h`*/ /*!50003 TRIGGER x BEFORE INSERT ON t FOR EACH ROW\n\
             INSERT INTO `u` VALUES ('\\'); */;;\nDELIMITER ;\n",
            "INSERT INTO `t` SELECT (1);\n",
            "CREATE SEQUENCE `s` start with 1;\nDO SETVAL(`s`, 1, 0);\n",
            "(INSERT INTO `t` VALUES (1));",
        ] {
            assert_eq!(counted(none), [], "{none}");
            let more = format!("{none}\nINSERT INTO `after` VALUES (1),(2);\n");
            if !none.contains("('\\')") {
                assert_eq!(counted(&more), [("after".to_owned(), 2)], "{none}");
            }
        }
        assert_eq!(rows("INSERT INTO `t` VALUES (1),(2) ON DUPLICATE KEY UPDATE a=VALUES(a), b=(1);"), 2);
        assert_eq!(rows("INSERT INTO d.t VALUES (1--\n),(2-1),(4/2);insert into `d`.`t` value(1);"), 4);
    }

    #[test]
    fn a_dump_that_breaks_off_counts_whole_statements() {
        assert_eq!(rows("INSERT INTO `t` VALUES (1),(2);\nINSERT INTO `t` VALUES (1),('"), 2);
    }

    #[test]
    fn the_sql_mode_says_whether_backslashes_escape() {
        let set = "/*!50003 SET @saved_sql_mode       = @@sql_mode */ ;\n\
            /*!50003 SET sql_mode              = 'STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES' */ ;\n";
        let back = "/*!50003 SET sql_mode              = @saved_sql_mode */ ;\n";
        let plain = "INSERT INTO `t` VALUES ('\\'),('),(');\n";
        let escaped = "INSERT INTO `t` VALUES ('\\'),(');\n";
        assert_eq!(rows(&format!("{set}{plain}{back}{escaped}")), 3);
        assert_eq!(rows(&format!("{set}{set}{back}{plain}SET SQL_MODE=@OLD_SQL_MODE;{escaped}")), 3);
        let head = "/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n";
        assert_eq!(rows(&format!("{head}{escaped}")), 1);
    }

    #[test]
    fn what_cannot_be_counted_is_said() {
        let mut counter = Counter::default();
        counter.saw(b"INSERT INTO `");
        (0..10).for_each(|_| counter.saw(&[b'x'; 1000]));
        counter.saw(b"` VALUES (1);");
        assert!(counter.finish().is_err());
        counter = Counter::default();
        counter.saw(b"DELIMITER \n");
        assert!(counter.finish().is_err());
    }
}
