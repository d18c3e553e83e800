//! Any bytes as a dump, and as a value and a name in a sound one.

use strongroom::databases::mysql::count::Counter;

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
