//! The descriptive part of runs and snapshots: hosts, paths, tags, commands, figures.
//!
//! Sealed to the repository's public key inside the record, so that a machine that may only add cannot read
//! what others did. The byte layout is `docs/FORMAT.md`, section "Description".

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::crypto::secret::Secret;
use crate::primitives::component::component;
use crate::primitives::ids::{RepositoryId, SetId, SnapshotId};

use super::envelope::{Envelope, FormatError, Kind};
use super::record::Outcome;
use super::sealed::{Sealing, open_value, seal_value};

/// What a run read, found new and stored. All in bytes or counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Figures {
    /// Regular files seen.
    #[n(0)]
    pub files: u64,
    /// Files whose content was read.
    #[n(1)]
    pub files_read: u64,
    /// Directories seen.
    #[n(2)]
    pub directories: u64,
    /// Other entries: links, pipes, devices, sockets.
    #[n(3)]
    pub others: u64,
    /// Bytes of content in the snapshot.
    #[n(4)]
    pub bytes: u64,
    /// Bytes that were read.
    #[n(5)]
    pub bytes_read: u64,
    /// Bytes of chunks that were not there before.
    #[n(6)]
    pub bytes_new: u64,
    /// Bytes added to the store, everything counted.
    #[n(7)]
    pub bytes_stored: u64,
    /// Entries that could not be read.
    #[n(8)]
    pub unreadable: u64,
    /// Entries that vanished between listing and reading.
    #[n(9)]
    pub vanished: u64,
    /// Files that changed while they were read.
    #[n(10)]
    pub changed: u64,
    /// Wall time in milliseconds.
    #[n(11)]
    pub duration_ms: u64,
}

/// What is said of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct SnapshotDescription {
    /// The machine.
    #[n(0)]
    pub host: String,
    /// The user that ran the backup.
    #[n(1)]
    pub user: String,
    /// Name of the source.
    #[n(2)]
    pub source: String,
    /// Absolute paths, or the names of streams, as bytes.
    #[n(3)]
    pub paths: Vec<ByteVec>,
    /// Tags.
    #[n(4)]
    pub tags: Vec<String>,
    /// A label, if one was given.
    #[n(5)]
    pub label: Option<String>,
    /// Exclusion rules that were in force.
    #[n(6)]
    pub excludes: Vec<String>,
    /// Program name and version.
    #[n(7)]
    pub program: String,
    /// What was read and stored.
    #[n(8)]
    pub figures: Figures,
    /// Findings worth keeping: problems, and the last words of commands.
    #[n(9)]
    pub findings: Vec<String>,
    /// What it is a copy of, if it is one.
    #[n(10)]
    pub origin: Option<SnapshotOrigin>,
    /// What was left out, so that it can be asked later whether an entry would have been.
    #[n(11)]
    pub left_out: Option<LeftOut>,
    /// Metadata of the directory `/`, which no directory holds: as [`Metadata::encode`] writes it.
    ///
    /// [`Metadata::encode`]: super::tree::Metadata::encode
    #[n(12)]
    pub root: Option<ByteVec>,
    /// The set that it belongs to, if it was not saved alone.
    #[n(13)]
    pub set: Option<SetDescription>,
    /// What the stream is, if a source of a configuration said so.
    #[n(14)]
    pub stream: Option<StreamDescription>,
    /// Data directories of programs that are known among the paths.
    #[n(15)]
    pub data_directories: Option<Vec<DataDirectory>>,
}

/// The data directory of a program.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DataDirectory {
    /// Its absolute path, as bytes.
    #[n(0)]
    pub path: ByteVec,
    /// The program.
    #[n(1)]
    pub product: String,
    /// The version that the directory is of; empty if it does not say.
    #[n(2)]
    pub version: String,
}

impl SnapshotDescription {
    /// The source; behind a slash the line of a list that it is, if a job lists its sources.
    pub fn source_path(&self) -> String {
        let line = self.stream.as_ref().and_then(|stream| stream.line.as_ref());
        std::iter::once(self.source.clone()).chain(line.map(|line| component(line))).collect::<Vec<_>>().join("/")
    }

    /// The path of the source, and behind a slash the member of it that this is: what tells it from the other snapshots
    /// of a set.
    pub fn member_path(&self) -> String {
        let member = self.stream.as_ref().and_then(|stream| stream.member.as_ref());
        let source = self.source_path();
        member.map_or(source.clone(), |member| format!("{source}/{}", component(member)))
    }
}

/// What is said of a stream: what wrote it, and what `load` has to know to bring it back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct StreamDescription {
    /// The database or other part of the source that it is, as the server calls it; `None` if it is all of the source.
    #[n(0)]
    pub member: Option<String>,
    /// Kind of the source: `postgres`, `mysql`, `sqlite`, `command`.
    #[n(1)]
    pub kind: String,
    /// Its format: `custom`, `plain`, `directory`, `basebackup`, `globals`, `grants`, `sqlite`; empty if nothing is known.
    #[n(2)]
    pub format: String,
    /// What the tool that wrote it says of its version.
    #[n(3)]
    pub tool: Option<String>,
    /// Version of the server.
    #[n(4)]
    pub server: Option<String>,
    /// Names and values that are needed to make the database again: owner, encoding, locale.
    #[n(5)]
    pub properties: Vec<(String, String)>,
    /// Its tables, if their rows were counted.
    #[n(6)]
    pub tables: Option<Vec<TableCount>>,
    /// The command that would load it, without secrets.
    #[n(7)]
    pub load: Option<String>,
    /// All members of the source that were to be saved with it, itself among them.
    #[n(8)]
    pub members: Vec<String>,
    /// The line of the job's list that it comes from, by name; the source is then the job.
    #[n(9)]
    pub line: Option<String>,
}

/// How many rows a table had.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct TableCount {
    /// Its name; of PostgreSQL with its schema, `public.orders`, as the server would quote it.
    #[n(0)]
    pub name: String,
    /// Its rows.
    #[n(1)]
    pub rows: u64,
    /// A checksum of its rows, if one was asked for.
    #[n(2)]
    pub checksum: Option<String>,
}

/// The type of sets of what a load replaced: `latest` means one only if that is said.
pub const PRE_RESTORE: &str = "pre-restore";

/// What all members of a set say of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SetDescription {
    /// Its id.
    #[n(0)]
    pub id: SetId,
    /// The sources of which it was to have a snapshot each.
    #[n(1)]
    pub sources: Vec<String>,
    /// The job that saved it; `None` if no configuration named one.
    #[n(2)]
    pub job: Option<String>,
    /// The type of the job, such as `Daily`: retention and `latest` never mix types.
    #[n(3)]
    pub job_type: Option<String>,
    /// What a person is told after it was restored.
    #[n(4)]
    pub notes: Option<String>,
    /// Answers that were recorded with it: a name, and what the command printed.
    #[n(5)]
    pub records: Option<Vec<(String, String)>>,
    /// Whether it is one of sources that were asked for alone, and no set of the whole job; `None`: it is of all.
    #[n(6)]
    pub alone: Option<bool>,
}

impl SetDescription {
    /// Whether its sources were asked for alone: it is no set of the whole job.
    pub fn is_alone(&self) -> bool {
        self.alone == Some(true)
    }
}

impl SetDescription {
    /// Whether it holds what a load replaced.
    pub fn is_pre_restore(&self) -> bool {
        self.job_type.as_deref() == Some(PRE_RESTORE)
    }
}

/// The exclusion rules of a snapshot in full.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct LeftOut {
    /// Patterns with gitignore meaning, presets and files spelled out, in the order in which they were asked.
    #[n(0)]
    pub patterns: Vec<String>,
    /// Contents of directories with a `CACHEDIR.TAG`.
    #[n(1)]
    pub caches: bool,
    /// Contents of directories that hold an entry of one of these names.
    #[n(2)]
    pub if_present: Vec<String>,
    /// Regular files that are longer than this.
    #[n(3)]
    pub larger_than: Option<u64>,
    /// Contents of directories on other file systems than the root of the source.
    #[n(4)]
    pub one_file_system: bool,
}

/// A snapshot of another repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode)]
pub struct SnapshotOrigin {
    /// The repository.
    #[n(0)]
    pub repository: RepositoryId,
    /// What it is called there.
    #[n(1)]
    pub snapshot: SnapshotId,
}

/// What is said of a run, at its begin or end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct RunDescription {
    /// The machine.
    #[n(0)]
    pub host: String,
    /// What was asked, without secrets.
    #[n(1)]
    pub command: String,
    /// Program name and version.
    #[n(2)]
    pub program: String,
    /// What was read and stored; empty at the begin.
    #[n(3)]
    pub figures: Figures,
    /// Findings: problems, the last words of failed commands.
    #[n(4)]
    pub findings: Vec<String>,
    /// The set that it saves, without notes and records; `None` if it saves none.
    #[n(5)]
    pub set: Option<SetDescription>,
    /// What came of each source, and of each member of one; `None` at the begin, and where a snapshot ends the run.
    #[n(6)]
    pub sources: Option<Vec<SourceOutcome>>,
}

/// What came of a source, or of a member of one.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SourceOutcome {
    /// Its path: the source, and behind a slash the member.
    #[n(0)]
    pub path: String,
    /// How complete it is.
    #[n(1)]
    pub outcome: Outcome,
    /// Its snapshot, if there is one.
    #[n(2)]
    pub snapshot: Option<SnapshotId>,
    /// Why it is not complete; the first lines.
    #[n(3)]
    pub error: Option<String>,
    /// Bytes of its content.
    #[n(4)]
    pub bytes: u64,
    /// Bytes added to the repository.
    #[n(5)]
    pub bytes_stored: u64,
}

/// Characters of an error that are kept.
const ERROR_LEN_MAX: usize = 1000;

impl SourceOutcome {
    /// The first lines of an error, as many as are kept.
    pub fn shortened(error: &str) -> String {
        error.chars().take(ERROR_LEN_MAX).collect()
    }
}

/// What is said of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct CredentialDescription {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Hosts it may speak for.
    #[n(1)]
    pub hosts: Vec<String>,
    /// Sources it may speak for; empty: any.
    #[n(2)]
    pub sources: Vec<String>,
    /// When it was made, in milliseconds since the epoch.
    #[n(3)]
    pub created_ms: i64,
}

/// Seals a description.
pub fn seal<T: Encode<()>>(value: &T, sealing: &Sealing, salt: [u8; 32]) -> ByteVec {
    let content = minicbor::to_vec(value).expect("writing to memory does not fail");
    seal_value(Kind::Description, sealing, salt, &content, 0).into()
}

/// Opens a description, given the secret for its envelope.
pub fn open<T: for<'b> Decode<'b, ()>>(
    bytes: &[u8],
    secret: impl FnOnce(&Envelope) -> Result<Secret, FormatError>,
) -> Result<T, FormatError> {
    Ok(minicbor::decode(&open_value(Kind::Description, bytes, secret)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keys::{Domain, Epoch};

    #[test]
    fn a_description_comes_back() {
        let secret = Secret::new([1; 32]);
        let sealing = Sealing { secret: &secret, encapsulation: Some([3; 32]), domain: Domain(0), epoch: Epoch(0) };
        let described = SnapshotDescription {
            host: "db1".into(),
            paths: vec![b"/srv/\xff".to_vec().into()],
            tags: vec!["nightly".into()],
            ..SnapshotDescription::default()
        };
        let sealed = seal(&described, &sealing, [2; 32]);
        let opened: SnapshotDescription = open(&sealed, |e| {
            assert_eq!(e.encapsulation, [3; 32]);
            Ok(secret.clone())
        })
        .unwrap();
        assert_eq!(opened, described);
    }
}
