//! Sees from its first bytes whether a dump was compressed before it came here.
//!
//! Compressed by somebody else, a dump of which little changed is new from the first change on: nothing of it
//! deduplicates. The advice says which flag mends that.
//!
//! The header of PostgreSQL's own archive is read as `pg_dump`'s `ReadHead` does: `PGDMP`, three bytes of version,
//! length of an integer, length of an offset, format, and the compression: from version 1.15 (PostgreSQL 16) one
//! byte that names the algorithm, before that the level as an integer (a byte of sign, then its bytes, lowest first).

/// Bytes from the start that are enough to tell.
pub const SNIFF_LEN: usize = 4096;

/// A dump that was compressed too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compressed {
    /// What it is.
    pub what: &'static str,
    /// What to do instead.
    pub advice: &'static str,
}

const GZIP: Compressed = Compressed {
    what: "gzip",
    advice: "drop the `| gzip` (mongodump: drop `--gzip`): strongroom compresses after deduplicating",
};
const ZSTD: Compressed =
    Compressed { what: "zstd", advice: "drop the `| zstd`: strongroom compresses after deduplicating" };
const XZ: Compressed = Compressed { what: "xz", advice: "drop the `| xz`: strongroom compresses after deduplicating" };
const BZIP2: Compressed = Compressed {
    what: "bzip2",
    advice: "drop the `| bzip2` (tar: drop `-j`): strongroom compresses after deduplicating",
};
const LZ4: Compressed =
    Compressed { what: "lz4", advice: "drop the `| lz4`: strongroom compresses after deduplicating" };
const PG_DUMP: Compressed = Compressed {
    what: "compressed pg_dump archive",
    advice: "pg_dump: add `-Z0`: strongroom compresses after deduplicating",
};

const MAGICS: &[(&[u8], Compressed)] = &[
    // Magic and method; no other method than 8 was ever used.
    (b"\x1f\x8b\x08", GZIP),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"\xfd7zXZ\x00", XZ),
    (b"\x04\x22\x4d\x18", LZ4),
];

/// Format bytes of pg_dump's archives: custom (`-Fc`), and tar, which is also what the table of contents of a
/// directory (`-Fd`, `toc.dat`) says of itself; within a real tar nothing is compressed.
const PG_FORMATS: [u8; 2] = [1, 3];

/// Recognises a compressed dump by its first bytes; [`SNIFF_LEN`] of them are enough.
pub fn sniff(start: &[u8]) -> Option<Compressed> {
    let magic = MAGICS.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, what)| *what);
    magic.or_else(|| is_bzip2(start).then_some(BZIP2)).or_else(|| is_compressed_pg_dump(start)?.then_some(PG_DUMP))
}

fn is_bzip2(start: &[u8]) -> bool {
    let Some([b'B', b'Z', b'h', b'1'..=b'9', block @ ..]) = start.get(..10) else { return false };
    // A block begins with pi; the end of an empty file with its square root.
    block == [0x31, 0x41, 0x59, 0x26, 0x53, 0x59] || block == [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]
}

fn is_compressed_pg_dump(start: &[u8]) -> Option<bool> {
    let [major, minor, _revision, int_len, _offset_len, format, rest @ ..] = start.strip_prefix(b"PGDMP")? else {
        return None;
    };
    // Older than 1.12 (PostgreSQL 9.0, 2010) are not met any more, and newer majors are not known.
    if *major != 1 || *minor < 12 || !PG_FORMATS.contains(format) {
        return None;
    }
    if *minor >= 15 {
        return Some(*rest.first()? != 0);
    }
    let level = rest.get(1..=usize::from(*int_len))?;
    Some(level.iter().any(|&b| b != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn what(start: &[u8]) -> Option<&'static str> {
        sniff(start).map(|c| c.what)
    }

    fn piped_through(program: &str) -> Option<Vec<u8>> {
        let mut child = Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        child.stdin.take().unwrap().write_all(b"create table t (a int);\n").unwrap();
        Some(child.wait_with_output().unwrap().stdout)
    }

    #[test]
    fn what_the_usual_programs_write_is_recognised() {
        for program in ["gzip", "zstd", "xz", "bzip2", "lz4"] {
            // Those that are not installed are covered by the next test.
            if let Some(bytes) = piped_through(program) {
                assert_eq!(what(&bytes), Some(program));
            }
        }
    }

    #[test]
    fn magics_are_recognised_and_lookalikes_are_not() {
        assert_eq!(what(b"\x1f\x8b\x08\x00"), Some("gzip"));
        assert_eq!(what(b"\x28\xb5\x2f\xfd\x00"), Some("zstd"));
        assert_eq!(what(b"\xfd7zXZ\x00\x00"), Some("xz"));
        assert_eq!(what(b"BZh91AY&SY"), Some("bzip2"));
        assert_eq!(what(b"\x04\x22\x4d\x18"), Some("lz4"));
        for plain in [&b""[..], b"BZh is a word", b"BZh9", b"-- PostgreSQL database dump", b"\x6d\xe2\x99\x81\x00"] {
            assert_eq!(what(plain), None, "{}", plain.escape_ascii());
        }
    }

    #[test]
    fn the_header_of_pg_dump_tells_its_compression() {
        let archive = "compressed pg_dump archive";
        let header = |tail: &[u8]| what(&[b"PGDMP", tail].concat());
        // PostgreSQL 15 writes version 1.14; these are its bytes for no option, for -Z9 and for -Z0.
        assert_eq!(header(b"\x01\x0e\x00\x04\x08\x01\x01\x01\x00\x00\x00"), Some(archive));
        assert_eq!(header(b"\x01\x0e\x00\x04\x08\x01\x00\x09\x00\x00\x00"), Some(archive));
        assert_eq!(header(b"\x01\x0e\x00\x04\x08\x01\x00\x00\x00\x00\x00"), None);
        // PostgreSQL 16 writes version 1.15 and 17 version 1.16: none, gzip, zstd.
        assert_eq!(header(b"\x01\x0f\x00\x04\x08\x01\x00"), None);
        assert_eq!(header(b"\x01\x0f\x00\x04\x08\x01\x01"), Some(archive));
        assert_eq!(header(b"\x01\x10\x00\x04\x08\x01\x03"), Some(archive));
        // The toc.dat of -Fd with and without -Z0; an unknown format and a header cut short tell nothing.
        assert_eq!(header(b"\x01\x0e\x00\x04\x08\x03\x01\x01\x00\x00\x00"), Some(archive));
        assert_eq!(header(b"\x01\x0e\x00\x04\x08\x03\x00\x00\x00\x00\x00"), None);
        assert_eq!(header(b"\x01\x0e\x00\x04\x08\x09\x01\x01\x00\x00\x00"), None);
        for n in 0..10 {
            assert_eq!(header(&b"\x01\x0e\x00\x04\x08\x01\x01\x01\x00\x00\x00"[..n]), None, "cut at {n}");
        }
    }

    #[test]
    fn every_advice_names_the_flag() {
        assert!(sniff(b"\x1f\x8b\x08\x00").unwrap().advice.contains("| gzip"));
        assert!(sniff(b"PGDMP\x01\x0f\x00\x04\x08\x01\x01").unwrap().advice.contains("-Z0"));
    }
}
