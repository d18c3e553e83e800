//! Unpacking a base backup into the directories that it is of.
//!
//! `global/pg_control`, without which no server starts, is written last, by [`Unpacking::finish`]: the caller says when all
//! of the archive was read and was what was saved. The links of tablespaces are made anew, and not taken from the archive.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType, Header};

use crate::destination::{Problem, RelativePath, Room, Target, TargetError, TargetOptions, room_above};
use crate::format::tree::{FileTime, Metadata, Node, NodeKind, Owner};
use crate::primitives::text::printable;

use super::tablespaces::{Mapping, Tablespace, map_of, path_of, places};

/// The first entry of an archive that holds one tar file for each tablespace.
const BASE: &str = "base.tar";

/// Without it, no server starts.
const CONTROL: &[u8] = b"global/pg_control";

/// Which tablespaces there are, and where.
const MAP: &[u8] = b"tablespace_map";

/// The major version of the server.
const VERSION: &[u8] = b"PG_VERSION";

/// Where links to tablespaces are.
const LINKS: &[u8] = b"pg_tblspc/";

/// What of an archive is kept in memory at most: servers write 8 KiB for the longest of these files.
const HELD_LEN_MAX: u64 = 1 << 20;

/// Bytes that are copied at once.
const COPY_LEN: usize = 128 << 10;

/// Problems that are kept.
const PROBLEMS_MAX: usize = 100;

/// Why a base backup cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// A directory that is to be filled holds something.
    #[error("{} is not empty, and a base backup is unpacked only into an empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// A directory cannot be filled.
    #[error("cannot unpack into {}", place.display())]
    Target {
        /// The directory.
        place: PathBuf,
        /// What is wrong.
        source: TargetError,
    },
    /// A directory has too little room.
    #[error("not enough space for {}: {needed} bytes are needed, and {} are free", place.display(), room.bytes)]
    NoRoom {
        /// The directory.
        place: PathBuf,
        /// Bytes to be written.
        needed: u64,
        /// What there is.
        room: Room,
    },
    /// The archive cannot be read as one.
    #[error("the archive is damaged")]
    Read(#[from] io::Error),
    /// The archive holds something that no server writes.
    #[error("the archive is no base backup: it holds {name}, {why}")]
    Entry {
        /// The name, printable.
        name: String,
        /// Why it is not unpacked.
        why: String,
    },
    /// Something is missing, or cannot be put anywhere.
    #[error("{0}")]
    Other(String),
}

/// Where a base backup is unpacked, and how.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// The data directory.
    pub target: PathBuf,
    /// How files are written: owners above all.
    pub target_options: TargetOptions,
    /// Where tablespaces go.
    pub mappings: Vec<Mapping>,
    /// Whether it is not looked for free space.
    pub no_space_check: bool,
}

impl UnpackOptions {
    /// Refuses a directory that has too little room.
    pub fn check_room(&self, place: &Path, needed: u64) -> Result<(), UnpackError> {
        match room_above(place) {
            Some(room) if !self.no_space_check && room.bytes < needed => {
                Err(UnpackError::NoRoom { place: place.to_owned(), needed, room })
            }
            _ => Ok(()),
        }
    }
}

/// A base backup that is unpacked, but for the file without which no server starts.
pub struct Unpacking {
    data: Place,
    control: Option<(Metadata, Vec<u8>)>,
    result: Unpacked,
}

/// What was unpacked.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// The major version of the server: `15`, or `9.6`.
    pub version: String,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories.
    pub directories: u64,
    /// Links to tablespaces.
    pub links: u64,
    /// Attributes that could not be set: how many, and the first of them.
    pub problems_count: u64,
    /// The first of them.
    pub problems: Vec<String>,
    /// Tablespaces, and where they are now.
    pub tablespaces: Vec<Tablespace>,
    /// Whether the manifest of the backup is there.
    pub has_manifest: bool,
    /// Whether the configuration of the server is there.
    pub has_configuration: bool,
    /// Whether `tablespace_map` names other places than in the backup.
    pub is_moved: bool,
}

/// A directory that is being filled.
struct Place {
    path: PathBuf,
    target: Target,
    directories: BTreeMap<Vec<u8>, Metadata>,
}

/// Reads an archive to its end, and unpacks what is in it.
pub fn unpack(mut input: impl Read, options: &UnpackOptions) -> Result<Unpacking, UnpackError> {
    let mut work = Work::new(options)?;
    let mut archive = Archive::new(&mut input as &mut dyn Read);
    let mut is_of_tars = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let header = entry.header().clone();
        let name = name_of(&header);
        // The data directory of a server holds no such file.
        let is_of_tars = *is_of_tars.get_or_insert(name == BASE.as_bytes());
        if is_of_tars {
            work.tar_file(&name, &header, &mut entry)?;
        } else {
            work.data_entry(&name, &header, &mut entry)?;
        }
    }
    // Whoever sends the archive is to come to its end.
    io::copy(&mut input, &mut io::sink())?;
    work.end()
}

struct Work<'a> {
    options: &'a UnpackOptions,
    data: Place,
    control: Option<(Metadata, Vec<u8>)>,
    map: Option<(Metadata, Vec<u8>)>,
    result: Unpacked,
    /// Numbers of tablespaces that were unpacked.
    unpacked: Vec<u32>,
}

impl<'a> Work<'a> {
    fn new(options: &'a UnpackOptions) -> Result<Self, UnpackError> {
        let data = Place::open(&options.target, options)?;
        let result = Unpacked::default();
        Ok(Self { options, data, control: None, map: None, result, unpacked: Vec::new() })
    }

    /// A file of an archive that holds a tar file for each tablespace.
    fn tar_file(&mut self, name: &[u8], header: &Header, content: &mut dyn Read) -> Result<(), UnpackError> {
        match (header.entry_type(), name) {
            (EntryType::Directory, b"") => Ok(()),
            (EntryType::Regular, b"base.tar") => {
                self.options.check_room(&self.options.target, header.size()?)?;
                let mut inner = Archive::new(content);
                for entry in inner.entries()?.raw(true) {
                    let mut entry = entry?;
                    let header = entry.header().clone();
                    self.data_entry(&name_of(&header), &header, &mut entry)?;
                }
                self.place_tablespaces()
            }
            (EntryType::Regular, b"backup_manifest") => {
                self.result.has_manifest = true;
                // Its owner in the outer archive is nobody's.
                let meta = Metadata { owner: self.data.root().owner, ..metadata(header)? };
                self.data.file(name, &meta, content, header.size()?, &mut self.result)
            }
            (EntryType::Regular, name) => {
                let oid = name.strip_suffix(b".tar").and_then(|oid| std::str::from_utf8(oid).ok()?.parse::<u32>().ok());
                let known = self.result.tablespaces.iter().find(|known| Some(known.oid) == oid);
                let Some(Tablespace { oid, new, .. }) = known.cloned() else {
                    return Err(refused(name, "which is the tar file of no tablespace that its tablespace_map names"));
                };
                self.options.check_room(&new, header.size()?)?;
                self.tablespace(oid, &new, content)
            }
            _ => Err(refused(name, "which is no tar file")),
        }
    }

    fn tablespace(&mut self, oid: u32, at: &Path, content: &mut dyn Read) -> Result<(), UnpackError> {
        let mut place = Place::open(at, self.options)?;
        let mut inner = Archive::new(content);
        for entry in inner.entries()?.raw(true) {
            let mut entry = entry?;
            let header = entry.header().clone();
            let name = name_of(&header);
            place.entry(&name, &header, &mut entry, &mut self.result)?;
        }
        place.finish(&mut self.result)?;
        self.unpacked.push(oid);
        Ok(())
    }

    /// An entry of the data directory.
    fn data_entry(&mut self, name: &[u8], header: &Header, content: &mut dyn Read) -> Result<(), UnpackError> {
        if header.entry_type() == EntryType::Symlink && name.starts_with(LINKS) {
            // Made from the map.
            return Ok(());
        }
        let is_file = header.entry_type() == EntryType::Regular;
        match name {
            CONTROL | MAP | VERSION if is_file => {
                let held = held(name, header, content)?;
                match name {
                    CONTROL => self.control = Some((metadata(header)?, held)),
                    MAP => self.map = Some((metadata(header)?, held)),
                    _ => {
                        self.result.version = printable(held.trim_ascii());
                        self.data.file(
                            name,
                            &metadata(header)?,
                            &mut &held[..],
                            held.len() as u64,
                            &mut self.result,
                        )?;
                    }
                }
                Ok(())
            }
            name => {
                self.result.has_manifest |= name == b"backup_manifest";
                self.result.has_configuration |= name == b"postgresql.conf";
                self.data.entry(name, header, content, &mut self.result)
            }
        }
    }

    /// Decides where tablespaces go, once the data directory was read.
    fn place_tablespaces(&mut self) -> Result<(), UnpackError> {
        let map = self.map.as_ref().map_or(&b""[..], |(_, map)| map);
        let all = places(map, &self.options.mappings, &self.options.target).map_err(UnpackError::Other)?;
        self.result.is_moved = all.iter().any(|one| path_of(&one.old) != one.new);
        self.result.tablespaces = all;
        Ok(())
    }

    fn end(mut self) -> Result<Unpacking, UnpackError> {
        let other = |what: &str| Err(UnpackError::Other(format!("the archive is no whole base backup: {what}")));
        if self.result.version.is_empty() {
            return other("it holds no PG_VERSION");
        }
        if self.control.is_none() {
            return other("it holds no global/pg_control");
        }
        if self.result.tablespaces.is_empty() {
            self.place_tablespaces()?;
        }
        if let Some(lacks) = self.result.tablespaces.iter().find(|one| !self.unpacked.contains(&one.oid)) {
            return other(&format!("it lacks {}.tar, tablespace {}", lacks.oid, printable(&lacks.old)));
        }
        if let Some((meta, map)) = self.map.take() {
            let map = if self.result.is_moved { map_of(&self.result.tablespaces) } else { map };
            self.data.file(MAP, &meta, &mut &map[..], map.len() as u64, &mut self.result)?;
        }
        for one in &self.result.tablespaces {
            self.data.link(&[LINKS, one.oid.to_string().as_bytes()].concat(), &one.new)?;
            self.result.links += 1;
        }
        Ok(Unpacking { data: self.data, control: self.control, result: self.result })
    }
}

impl Unpacking {
    /// Writes what lets a server start. To be called once all of the archive was read and found to be what was saved.
    pub fn finish(self) -> Result<Unpacked, UnpackError> {
        let Self { mut data, control, mut result } = self;
        if let Some((meta, bytes)) = control {
            data.file(CONTROL, &meta, &mut &bytes[..], bytes.len() as u64, &mut result)?;
        }
        data.finish(&mut result)?;
        Ok(result)
    }
}

impl Place {
    fn open(path: &Path, options: &UnpackOptions) -> Result<Self, UnpackError> {
        let target = Target::open(path, options.target_options.clone()).map_err(|source| match source {
            TargetError::NotEmpty { path } => UnpackError::NotEmpty(path),
            source => UnpackError::Target { place: path.to_owned(), source },
        })?;
        Ok(Self { path: path.to_owned(), target, directories: BTreeMap::new() })
    }

    fn failed(&self) -> impl Fn(TargetError) -> UnpackError + use<> {
        let place = self.path.clone();
        move |source| UnpackError::Target { place: place.clone(), source }
    }

    fn entry(
        &mut self,
        name: &[u8],
        header: &Header,
        content: &mut dyn Read,
        result: &mut Unpacked,
    ) -> Result<(), UnpackError> {
        let meta = metadata(header)?;
        match header.entry_type() {
            EntryType::Directory => {
                self.target.make_directory(&path(name)?).map_err(self.failed())?;
                // The root is one that was named, not one of the server's.
                result.directories += u64::from(!name.is_empty() && !self.directories.contains_key(name));
                self.directories.insert(name.to_vec(), meta);
                Ok(())
            }
            EntryType::Regular if !name.is_empty() => self.file(name, &meta, content, header.size()?, result),
            EntryType::Symlink => Err(refused(name, "a symbolic link that is no tablespace")),
            EntryType::Link => Err(refused(name, "another name of a file")),
            _ => Err(refused(name, "which is neither file nor directory")),
        }
    }

    fn file(
        &mut self,
        name: &[u8],
        meta: &Metadata,
        content: &mut dyn Read,
        size: u64,
        result: &mut Unpacked,
    ) -> Result<(), UnpackError> {
        let failed = self.failed();
        let file = self.target.create_file(&path(name)?, size).map_err(&failed)?;
        let mut buffer = vec![0; COPY_LEN];
        let mut at = 0;
        loop {
            let n = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            file.write_at(at, &buffer[..n]).map_err(&failed)?;
            at += n as u64;
        }
        if at != size {
            return Err(UnpackError::Other(format!("the archive ends in the middle of {}", printable(name))));
        }
        note(file.finish(meta, size).map_err(&failed)?, &self.path, result);
        result.files += 1;
        result.bytes += size;
        Ok(())
    }

    fn link(&self, name: &[u8], to: &Path) -> Result<(), UnpackError> {
        let kind = NodeKind::Symlink(to.as_os_str().as_bytes().to_vec());
        let node = Node { name: Vec::new(), meta: self.root(), kind };
        self.target.make_other(&path(name)?, &node).map(drop).map_err(self.failed())
    }

    /// The attributes of the directory itself, of which an archive says nothing: those of the first below it.
    fn root(&self) -> Metadata {
        let first = self.directories.values().next().cloned();
        first.unwrap_or_else(|| Metadata { mode: 0o700, ..Metadata::default() })
    }

    /// Gives the directories their attributes, the deepest first.
    fn finish(self, result: &mut Unpacked) -> Result<(), UnpackError> {
        let failed = self.failed();
        let root = (!self.directories.is_empty()).then(|| (Vec::new(), self.root()));
        for (name, meta) in self.directories.into_iter().rev().filter(|(name, _)| !name.is_empty()).chain(root) {
            let problems = self.target.finish_directory(&path(&name)?, &meta).map_err(&failed)?;
            note(problems, &self.path, result);
        }
        Ok(())
    }
}

fn note(problems: Vec<Problem>, place: &Path, result: &mut Unpacked) {
    result.problems_count += problems.len() as u64;
    let room = PROBLEMS_MAX.saturating_sub(result.problems.len());
    result.problems.extend(problems.iter().take(room).map(|problem| match &problem.source {
        Some(source) => format!("{}: {problem}: {source}", place.display()),
        None => format!("{}: {problem}", place.display()),
    }));
}

/// A small file of the archive.
fn held(name: &[u8], header: &Header, content: &mut dyn Read) -> Result<Vec<u8>, UnpackError> {
    let size = header.size()?;
    if size > HELD_LEN_MAX {
        return Err(refused(name, &format!("which has {size} bytes")));
    }
    let mut held = Vec::new();
    content.read_to_end(&mut held)?;
    match held.len() as u64 == size {
        true => Ok(held),
        false => Err(UnpackError::Other(format!("the archive ends in the middle of {}", printable(name)))),
    }
}

/// The name of an entry, without `./` before it and slashes behind it.
fn name_of(header: &Header) -> Vec<u8> {
    let name = header.path_bytes();
    let name = name.strip_prefix(b"./").unwrap_or(&name);
    let end = name.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    if &name[..end] == b"." { Vec::new() } else { name[..end].to_vec() }
}

fn path(name: &[u8]) -> Result<RelativePath, UnpackError> {
    RelativePath::parse(name).map_err(|e| refused(name, &format!("which is no name of a server: {e}")))
}

fn refused(name: &[u8], why: &str) -> UnpackError {
    UnpackError::Entry { name: printable(name), why: why.to_owned() }
}

/// The attributes that an archive says: no special bits, no extended attributes.
fn metadata(header: &Header) -> Result<Metadata, UnpackError> {
    let number = |n: u64| u32::try_from(n).unwrap_or(0);
    let name = |name: Option<&[u8]>| name.unwrap_or_default().to_vec();
    Ok(Metadata {
        mode: header.mode()? & 0o777,
        owner: Owner {
            uid: number(header.uid()?),
            gid: number(header.gid()?),
            user: name(header.username_bytes()),
            group: name(header.groupname_bytes()),
        },
        mtime: FileTime { secs: i64::try_from(header.mtime()?).unwrap_or(0), nanos: 0 },
        ..Metadata::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::Ownership;
    use std::fs;

    /// An entry: kind, name, content or target.
    type Said<'a> = (EntryType, &'a str, &'a [u8]);

    fn tar_of(entries: &[Said<'_>]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name, content) in entries {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4700);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            header.set_size(if is_link { 0 } else { content.len() as u64 });
            if is_link {
                header.set_link_name_literal(content).unwrap();
            }
            header.set_cksum();
            tar.append(&header, if is_link { &b""[..] } else { content }).unwrap();
        }
        tar.into_inner().unwrap()
    }

    const FILE: EntryType = EntryType::Regular;
    const DIRECTORY: EntryType = EntryType::Directory;
    const NEEDED: [Said<'static>; 5] = [
        (FILE, "backup_label", b"label"),
        (FILE, "PG_VERSION", b"15\n"),
        (DIRECTORY, "global/", b""),
        (FILE, "global/1262", b"catalog"),
        (FILE, "global/pg_control", b"control"),
    ];

    fn options(target: &Path) -> UnpackOptions {
        let target_options = TargetOptions { ownership: Ownership::None, ..TargetOptions::default() };
        UnpackOptions { target: target.to_owned(), target_options, mappings: Vec::new(), no_space_check: false }
    }

    #[test]
    fn what_lets_a_server_start_comes_last() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let unpacking = unpack(&tar_of(&NEEDED)[..], &options(&data)).unwrap();
        assert!(data.join("global/1262").exists() && !data.join("global/pg_control").exists());
        let unpacked = unpacking.finish().unwrap();
        assert_eq!(fs::read(data.join("global/pg_control")).unwrap(), b"control");
        assert_eq!((unpacked.version.as_str(), unpacked.files, unpacked.directories), ("15", 4, 1));
        assert!(!unpacked.has_manifest && !unpacked.has_configuration && !unpacked.is_moved);
        let mode = |name: &str| fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(""), mode("global"), mode("global/1262")), (0o700, 0o700, 0o700), "no special bits");
        let error = unpack(&tar_of(&NEEDED)[..], &options(&data)).err().unwrap();
        assert!(matches!(error, UnpackError::NotEmpty(_)), "{error}");
    }

    #[test]
    fn tablespaces_come_into_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let (data, fast) = (folder.path().join("data"), folder.path().join("fast"));
        let links: [Said<'_>; 4] = [
            (FILE, "tablespace_map", b"16385 /srv/fast\n16386 /srv/slow\n"),
            (DIRECTORY, "pg_tblspc", b""),
            (EntryType::Symlink, "pg_tblspc/16385", b"/srv/fast"),
            (EntryType::Symlink, "pg_tblspc/16386", b"/srv/slow"),
        ];
        let base = tar_of(&[&NEEDED[..], &links].concat());
        let table = tar_of(&[(DIRECTORY, "PG_15_2", b""), (FILE, "PG_15_2/7", b"rows")]);
        let outer: [Said<'_>; 5] = [
            (FILE, "base.tar", &base),
            (DIRECTORY, "./", b""),
            (FILE, "./16385.tar", &table),
            (FILE, "./16386.tar", &table),
            (FILE, "./backup_manifest", b"{}"),
        ];
        let mapping = Mapping::parse(&format!("/srv/fast={}", fast.display())).unwrap();
        let options = UnpackOptions { mappings: vec![mapping], ..options(&data) };
        let unpacked = unpack(&tar_of(&outer)[..], &options).unwrap().finish().unwrap();
        assert!(unpacked.is_moved && unpacked.has_manifest);
        let slow = folder.path().join("data.tablespaces/16386");
        for (oid, place) in [(16385, &fast), (16386, &slow)] {
            let link = data.join(format!("pg_tblspc/{oid}"));
            assert_eq!(&fs::read_link(&link).unwrap(), place);
            assert_eq!(fs::read(link.join("PG_15_2/7")).unwrap(), b"rows");
        }
        let map = format!("16385 {}\n16386 {}\n", fast.display(), slow.display());
        assert_eq!(fs::read_to_string(data.join("tablespace_map")).unwrap(), map);
        // One that is missing is named, and no server starts.
        let data = folder.path().join("other");
        let error = unpack(&tar_of(&outer[..3])[..], &self::options(&data)).err().unwrap();
        assert!(error.to_string().contains("lacks 16386.tar, tablespace /srv/slow"), "{error}");
        assert!(!data.join("global/pg_control").exists());
    }

    #[test]
    fn what_no_server_writes_is_refused_and_nothing_is_written_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let base = tar_of(&NEEDED);
        let long = vec![b'x'; 2 << 20];
        let cases: [(Said<'_>, &str); 13] = [
            ((FILE, "../out", b"x"), "no name of a server"),
            ((FILE, "/out", b"x"), "no name of a server"),
            ((FILE, "global/../../out", b"x"), "no name of a server"),
            ((EntryType::Symlink, "global/l", b"/etc"), "a symbolic link"),
            ((EntryType::Link, "global/l", b"/etc/passwd"), "another name of a file"),
            ((EntryType::Char, "global/null", b""), "neither file nor directory"),
            ((EntryType::GNULongName, "././@LongLink", &long), "neither file nor directory"),
            ((EntryType::XHeader, "pax", &long), "neither file nor directory"),
            ((FILE, "global/1262", b"again"), "cannot unpack into"),
            ((FILE, "backup_label/x", b"x"), "cannot unpack into"),
            ((FILE, "tablespace_map", &long), "which has 2097152 bytes"),
            ((FILE, "tablespace_map", b"nonsense"), "no server writes"),
            ((FILE, "tablespace_map", b"7 /srv/fast"), "lacks 7.tar"),
        ];
        for (n, (bad, what)) in cases.into_iter().enumerate() {
            let data = folder.path().join(n.to_string());
            let error = unpack(&tar_of(&[&NEEDED[..], &[bad]].concat())[..], &options(&data)).err();
            let error = error.unwrap_or_else(|| panic!("{} is refused", bad.1));
            assert!(error.to_string().contains(what), "{}: {error}", bad.1);
            assert!(!data.join("global/pg_control").exists(), "{}", bad.1);
        }
        let others = [
            tar_of(&[(FILE, "base.tar", &base), (FILE, "7.tar", b"")]),
            tar_of(&[(FILE, "base.tar", &base), (EntryType::Symlink, "x", b"/etc")]),
            tar_of(&NEEDED[..4]),
            tar_of(&NEEDED[2..]),
            base[..base.len() - 1536].to_vec(),
            b"no tar file".to_vec(),
            Vec::new(),
        ];
        for (n, bytes) in others.iter().enumerate() {
            let data = folder.path().join(format!("other{n}"));
            assert!(unpack(&bytes[..], &options(&data)).is_err(), "{n}");
            assert!(!data.join("global/pg_control").exists(), "{n}");
        }
        assert!(!folder.path().join("out").exists() && !Path::new("/out").exists());
    }
}
