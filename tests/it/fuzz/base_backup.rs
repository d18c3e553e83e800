//! Any bytes as the archive of a base backup, and as one of its entries.

use std::path::Path;

use strongroom::databases::postgres::base_backup::{UnpackOptions, unpack};
use strongroom::destination::{Ownership, TargetOptions};

/// A header of tar with this name and kind, in front of `content`, as a server writes it.
fn entry(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header[100..136].copy_from_slice(b"0000600\x000000000\x000000000\x00\0\0\0\0\0\0\0\0\0\0\0\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut all = [&header[..], content].concat();
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

/// An archive in which a tablespace has a tar file of its own.
pub(super) fn sample() -> Vec<u8> {
    let table = entry(b"PG_15_2/7", b'0', b"rows");
    let base = [
        entry(b"PG_VERSION", b'0', b"15\n"),
        entry(b"tablespace_map", b'0', b"7 /srv/fast\n"),
        entry(b"pg_tblspc/", b'5', b""),
        entry(b"pg_tblspc/7", b'2', b""),
        entry(b"global/", b'5', b""),
        entry(b"global/pg_control", b'0', b"control"),
    ]
    .concat();
    [entry(b"base.tar", b'0', &base), entry(b"./7.tar", b'0', &[entry(b"PG_15_2/", b'5', b""), table].concat())]
        .concat()
}

fn unpacked(archive: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let target = folder.path().join("data");
    let target_options = TargetOptions { ownership: Ownership::None, ..TargetOptions::default() };
    let options = UnpackOptions { target: target.clone(), target_options, mappings: Vec::new(), no_space_check: true };
    // No server starts with what is not wholly unpacked.
    let result = unpack(archive, &options);
    assert!(!target.join("global/pg_control").exists());
    let is_whole = result.and_then(|unpacking| unpacking.finish()).is_ok();
    assert!(!is_whole || target.join("global/pg_control").exists());
    // Nothing is made anywhere else.
    for found in std::fs::read_dir(folder.path()).expect("it is ours") {
        let name = found.expect("it is ours").file_name();
        assert!(name == "data" || name == "data.tablespaces", "{name:?}");
    }
    assert!(!Path::new("/out").exists());
}

/// Panics if it is not so.
pub(super) fn check(data: &[u8]) {
    unpacked(data);
    let (kind, rest) = data.split_first().map_or((b'0', data), |(kind, rest)| (*kind, rest));
    let (name, content) = rest.split_at(rest.len().min(24));
    let needed = [entry(b"PG_VERSION", b'0', b"15\n"), entry(b"tablespace_map", b'0', content)].concat();
    unpacked(&[needed, entry(name, kind, content), sample()].concat());
}
