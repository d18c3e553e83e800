//! Any bytes as a plain dump of PostgreSQL: what is counted does not depend on how they are cut.

use strongroom::databases::postgres::plain::PlainCounter;

/// A dump with all that the counter tells apart.
#[allow(dead_code, reason = "the fuzz target has inputs of its own")]
pub(super) const SAMPLE: &str = "\\restrict k\nSET standard_conforming_strings = off;\nCOPY s.\"t\"\"\" (a) FROM stdin;\n\
    1\n\\.\n\nINSERT INTO s.t (a) VALUES\n\t(1, E'\\'('), (2, $$ ' $a$ $$);\nCREATE FUNCTION f() BEGIN ATOMIC\n \
    INSERT INTO s.no VALUES (CASE WHEN 1 THEN 2 END);\nEND;\n/* /* x */ ; */ -- y\nCOPY u FROM stdin;\n\\N\n\\.\n";

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    let mut whole = PlainCounter::default();
    whole.saw(data);
    let whole = whole.finish();
    for piece in [1, 1 + usize::from(data.first().copied().unwrap_or_default()) % 13] {
        let mut cut = PlainCounter::default();
        data.chunks(piece).for_each(|part| cut.saw(part));
        assert_eq!(cut.finish(), whole);
    }
}
