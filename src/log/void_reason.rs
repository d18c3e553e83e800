//! Why a record is void.

use crate::format::envelope::FormatError;
use crate::primitives::ids::{BlockId, CredentialId, ObjectHash, OperationId, RunId, SnapshotId};

/// Why a record does nothing, for everyone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoidReason {
    /// The owner settled beforehand that this object is none of the log's.
    #[error("the owner has settled that it does not count")]
    Stray,
    /// It names a run that the log has reached.
    #[error("run {} is not beyond the end of the log", .0.0)]
    NotBeyond(RunId),
    /// It settles what the log has reached.
    #[error("number {0} is not beyond this record")]
    StrayReached(u64),
    /// A pack that is not lost cannot be found.
    #[error("pack {} is not lost", .0.short())]
    PackNotLost(ObjectHash),
    /// The object is no record.
    #[error("the record cannot be read")]
    Unreadable(#[source] FormatError),
    /// Nobody admitted its writer.
    #[error("credential {} is not known", .0.short())]
    UnknownWriter(CredentialId),
    /// Its writer was revoked before.
    #[error("credential {} is revoked", .0.short())]
    RevokedWriter(CredentialId),
    /// Its writer did not sign it.
    #[error("the signature is not that of credential {}", .0.short())]
    Signature(CredentialId),
    /// A version of the rules that there never was.
    #[error("record version {0} is not known")]
    Version(u32),
    /// It was made for another place in the log.
    #[error("a record for number {stated} stands after record {follows}")]
    WrongNumber {
        /// The number it states.
        stated: u64,
        /// The record before it.
        follows: u64,
    },
    /// A credential that is not the owner's follows another history.
    #[error("credential {} follows another history, with {}", .writer.short(), .stated.short())]
    WrongPrevious {
        /// Who says so.
        writer: CredentialId,
        /// The hash it names.
        stated: ObjectHash,
    },
    /// A credential that is not the owner's judges the record before otherwise.
    #[error("credential {} holds the record before to be {}", .writer.short(), if *.stated { "valid" } else { "void" })]
    WrongVerdict {
        /// Who says so.
        writer: CredentialId,
        /// Its verdict.
        stated: bool,
    },
    /// The operation was done before.
    #[error("operation {} was done before", .0.short())]
    RepeatedOperation(OperationId),
    /// The writer's role does not allow it.
    #[error("credential {} may not {what}", .writer.short())]
    NotAllowed {
        /// The writer.
        writer: CredentialId,
        /// What it tried.
        what: &'static str,
    },
    /// The host is not in the writer's certificate.
    #[error("credential {} may not speak for this host", .0.short())]
    ForeignHost(CredentialId),
    /// An object cannot be so long.
    #[error("no object is as long as {} is said to be", .0.short())]
    AbsurdLength(ObjectHash),
    /// The source is not in the writer's certificate.
    #[error("credential {} may not speak for this source", .0.short())]
    ForeignSource(CredentialId),
    /// A record begins one run at most.
    #[error("run {} is begun twice", .0.0)]
    SecondBegin(RunId),
    /// The run was never begun, or is over.
    #[error("run {} is not open", .0.0)]
    RunNotOpen(RunId),
    /// The run is another credential's.
    #[error("run {} belongs to another credential", .0.0)]
    RunOfAnother(RunId),
    /// Only prune and repair rewrite.
    #[error("run {} is not a prune or repair", .0.0)]
    RunCannotRewrite(RunId),
    /// The run was never begun, or was not over before this record.
    #[error("run {} was not over before this record", .0.0)]
    RunNotOver(RunId),
    /// A new pack lies in another run's folder.
    #[error("pack {} lies in the folder of run {}", .pack.short(), .run.0)]
    PackOfAnotherRun {
        /// The pack.
        pack: ObjectHash,
        /// Whose folder it lies in.
        run: RunId,
    },
    /// The name was published before.
    #[error("pack {} was published before", .0.short())]
    PackExists(ObjectHash),
    /// A new segment lies in another run's folder.
    #[error("segment {} lies in the folder of run {}", .segment.short(), .run.0)]
    SegmentOfAnotherRun {
        /// The segment.
        segment: ObjectHash,
        /// Whose folder it lies in.
        run: RunId,
    },
    /// The name was published before.
    #[error("segment {} was published before", .0.short())]
    SegmentExists(ObjectHash),
    /// A new pack without a directory.
    #[error("pack {} has no directory", .0.short())]
    NoDirectory(ObjectHash),
    /// A pack with two directories in one operation.
    #[error("pack {} has two directories", .0.short())]
    TwoDirectories(ObjectHash),
    /// A directory for a pack that this operation may not speak of.
    #[error("a directory is given for pack {}, which is not new here", .0.short())]
    ForeignDirectory(ObjectHash),
    /// The snapshot id was published before, and perhaps forgotten.
    #[error("snapshot {} was published before", .0.short())]
    SnapshotExists(SnapshotId),
    /// The parent was never published, or is forgotten.
    #[error("parent snapshot {} does not exist", .0.short())]
    ParentNotLive(SnapshotId),
    /// The parent has holes.
    #[error("parent snapshot {} is damaged", .0.short())]
    ParentHoled(SnapshotId),
    /// Never published, or forgotten.
    #[error("snapshot {} does not exist", .0.short())]
    UnknownSnapshot(SnapshotId),
    /// Protected from Forget.
    #[error("snapshot {} is held", .0.short())]
    Held(SnapshotId),
    /// Whole already.
    #[error("snapshot {} is not damaged", .0.short())]
    NotHoled(SnapshotId),
    /// Never published, condemned, swept or lost.
    #[error("pack {} is not live", .0.short())]
    PackNotLive(ObjectHash),
    /// One operation names a pack twice.
    #[error("pack {} is named twice", .0.short())]
    PackTwice(ObjectHash),
    /// One pack's Doom names a block twice.
    #[error("block {block} is named twice in the doom of pack {}", .pack.short())]
    BlockTwice {
        /// The pack.
        pack: ObjectHash,
        /// The block.
        block: BlockId,
    },
    /// Ranges of dead chunks are empty, overlap, descend or overflow.
    #[error("dead chunks of block {block} in pack {} are not ascending ranges", .pack.short())]
    BadRanges {
        /// The pack.
        pack: ObjectHash,
        /// The block.
        block: BlockId,
    },
    /// Condemned without a Doom.
    #[error("pack {} is not doomed", .0.short())]
    NotDoomed(ObjectHash),
    /// A run that is still open may count on the pack.
    #[error("pack {} was doomed in record {doomed}, and run {} is open since", .pack.short(), .open.0)]
    DoomedTooLate {
        /// The pack.
        pack: ObjectHash,
        /// Number of its newest doom.
        doomed: u64,
        /// The oldest other open run.
        open: RunId,
    },
    /// The pack belongs to another run that is still open.
    #[error("pack {} belongs to run {}, which is open", .pack.short(), .run.0)]
    PackOfOpenRun {
        /// The pack.
        pack: ObjectHash,
        /// The run.
        run: RunId,
    },
    /// Never published, condemned or swept.
    #[error("segment {} is not live", .0.short())]
    SegmentNotLive(ObjectHash),
    /// A pack would be left without a directory.
    #[error("segment {} is condemned and holds the only directory of pack {}", .segment.short(), .pack.short())]
    DirectoryLost {
        /// The pack.
        pack: ObjectHash,
        /// The segment.
        segment: ObjectHash,
    },
    /// Swept, and no earlier record condemned it.
    #[error("{} was not condemned before this record", .0.short())]
    NotCondemned(ObjectHash),
    /// Swept, and its run could still publish the name again.
    #[error("{} belongs to run {}, which is open", .name.short(), .run.0)]
    SweptOfOpenRun {
        /// The pack or segment.
        name: ObjectHash,
        /// Its run.
        run: RunId,
    },
    /// Swept as an orphan, and it is none.
    #[error("{} was published by run {}", .name.short(), .run.0)]
    NotOrphan {
        /// The pack or segment.
        name: ObjectHash,
        /// The run.
        run: RunId,
    },
    /// There is one owner, and the config names it.
    #[error("credential {} cannot be made an owner", .0.short())]
    SecondOwner(CredentialId),
    /// Admitted before, and perhaps revoked.
    #[error("credential {} was admitted before", .0.short())]
    CredentialExists(CredentialId),
    /// Unknown, or revoked before.
    #[error("credential {} cannot be revoked: it is not known or is revoked already", .0.short())]
    NotRevocable(CredentialId),
    /// The keys of an epoch go to all credentials that remain, and to no others.
    #[error("the keys of epoch {epoch} are not sealed to exactly the credentials that remain")]
    WrongRecipients {
        /// The epoch it begins.
        epoch: u32,
    },
    /// Epochs follow each other.
    #[error("epoch {stated} does not follow epoch {current}")]
    WrongEpoch {
        /// The epoch it begins.
        stated: u32,
        /// The epoch there is.
        current: u32,
    },
}
