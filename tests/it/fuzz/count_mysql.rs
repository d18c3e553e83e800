//! Any bytes as a dump, and as a value and a name in a sound one.

use strongroom::databases::mysql::count::Counter;

/// A dump with everything that the counter looks at.
pub(super) const SAMPLE: &[u8] = b"/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump\n\n\
    /*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;\n\
    CREATE TABLE `t` (\n  `a` int COMMENT 'x;y'\n);\nINSERT INTO `t` VALUES\n(1,'a\\'b',0xFF),\n(2,NULL,'),(');\n\
    /*!50003 SET @saved_sql_mode = @@sql_mode */ ;\n/*!50003 SET sql_mode = 'NO_BACKSLASH_ESCAPES' */ ;\nDELIMITER ;;\n\
    CREATE PROCEDURE `p`()\nbegin\nINSERT INTO `t` VALUES (1); # x\nselect '\\'; end ;;\nDELIMITER ;\n\
    /*!50003 SET sql_mode = @saved_sql_mode */ ;\nREPLACE INTO `u``v` (`a`) VALUES (1),(2-1);\n-- Dump completed\n";

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    let counted = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut counter = Counter::default();
        pieces.for_each(|piece| counter.saw(piece));
        counter.finish()
    };
    // Where pieces end makes no difference.
    assert_eq!(counted(&mut [data].into_iter()), counted(&mut data.chunks(1)));
    // Whatever a value or a name holds, it is one.
    let (mut value, mut name) = (Vec::new(), Vec::new());
    for b in data {
        match b {
            b'\'' | b'\\' => value.extend([b'\\', *b]),
            b => value.push(*b),
        }
        match b {
            b'`' => name.extend(b"``"),
            b => name.push(*b),
        }
    }
    let dump = [b"INSERT INTO `", &name[..], b"` VALUES ('", &value, b"'),\n(0x00,'", &value, b"');\n"].concat();
    let tables = counted(&mut dump.chunks(7));
    match data.len() {
        0..=2000 => assert_eq!(tables.unwrap().into_iter().collect::<Vec<_>>(), [(data.to_vec(), 2)]),
        _ => drop(tables),
    }
}
