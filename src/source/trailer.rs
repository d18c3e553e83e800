//! Sees whether a dump in plain SQL has its last line.
//!
//! A dump client that is cut off may still end with status 0: behind a remote shell, a container's attach, or a pipe
//! without `pipefail`. The programs below begin with a comment and end with another one; a dump that has the first and
//! not the second is not whole. `mysqldump` writes neither with `--skip-comments` or `--compact`, and is believed then.

/// Bytes from the end that are enough to tell: `pg_dump` puts `\unrestrict` and some blank lines after its last words.
pub const TAIL_LEN: usize = 4096;

/// How a dump begins and ends.
struct Frame {
    program: &'static str,
    first: &'static [u8],
    last: &'static [u8],
}

const FRAMES: &[Frame] = &[
    Frame {
        program: "pg_dumpall",
        first: b"-- PostgreSQL database cluster dump\n",
        last: b"-- PostgreSQL database cluster dump complete",
    },
    Frame {
        program: "pg_dump",
        first: b"-- PostgreSQL database dump\n",
        last: b"-- PostgreSQL database dump complete",
    },
    Frame { program: "mysqldump", first: b"-- MySQL dump ", last: b"-- Dump completed" },
    Frame { program: "mariadb-dump", first: b"-- MariaDB dump ", last: b"-- Dump completed" },
];

/// How many lines the first comment may stand below: MariaDB puts one for its sandbox above it, PostgreSQL a `--`.
const LINES_BEFORE: usize = 2;

/// The program whose dump this is, if the dump begins as that program's do and does not end so. `start` and `end` are
/// the first and the last bytes of the stream; [`TAIL_LEN`] of the last are enough.
pub fn cut_short(start: &[u8], end: &[u8]) -> Option<&'static str> {
    let head = start.split_inclusive(|b| *b == b'\n').take(LINES_BEFORE + 1);
    let frame = head.filter_map(|line| FRAMES.iter().find(|f| line.starts_with(f.first))).next()?;
    let is_last = |line: &[u8]| line.starts_with(frame.last);
    (!end.split(|b| *b == b'\n').any(is_last)).then_some(frame.program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Option<&'static str> {
        cut_short(text.as_bytes(), &text.as_bytes()[text.len().saturating_sub(TAIL_LEN)..])
    }

    #[test]
    fn a_dump_without_its_last_line_is_cut_short() {
        let pg = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\ncreate table t ();\n";
        assert_eq!(cut(pg), Some("pg_dump"));
        assert_eq!(cut(&format!("{pg}--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n")), None);
        let all = "--\n-- PostgreSQL database cluster dump\n--\n\n-- PostgreSQL database dump complete\n";
        assert_eq!(cut(all), Some("pg_dumpall"), "one database of it is not all of it");
        assert_eq!(cut(&format!("{all}--\n-- PostgreSQL database cluster dump complete\n--\n")), None);
        let my = "-- MySQL dump 10.13  Distrib 8.0.36\n--\nCREATE TABLE t (a int);\n";
        assert_eq!(cut(my), Some("mysqldump"));
        assert_eq!(cut(&format!("{my}-- Dump completed on 2026-11-03  4:30:00\n")), None);
        assert_eq!(cut(&format!("{my}-- Dump completed\n")), None, "--skip-dump-date");
        let maria = "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19-11.4.2\n";
        assert_eq!(cut(maria), Some("mariadb-dump"));
    }

    #[test]
    fn what_is_no_such_dump_is_believed() {
        for text in
            ["", "hello", "CREATE TABLE t (a int);\n", "PGDMP", "a\nb\nc\n-- MySQL dump \n", "-- MySQL dumpling\n"]
        {
            assert_eq!(cut(text), None, "{text}");
        }
    }
}
