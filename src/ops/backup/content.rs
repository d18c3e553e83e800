//! Storing the content of one file or stream after the other.

use std::io;

use crossbeam_channel::bounded;

use crate::crypto::keys::ContentHasher;
use crate::format::tree::Content;
use crate::primitives::ids::{ContentId, Extent, Reference};
use crate::primitives::progress::Observer;
use crate::repository::write::run::{ChunkClass, Run};
use crate::repository::write::trees::ListBuilder;
use crate::repository::{Repository, RepositoryError};

use super::Stop;
use super::cut::{Cutter, Group, Piece};
use super::together::Part;

/// Groups of chunks that are read ahead of what is stored.
const GROUPS_AHEAD: usize = 3;

/// A content that was stored.
#[derive(Debug, Clone)]
pub(super) struct StoredContent {
    /// Where its chunks are.
    pub content: Content,
    /// Its id.
    pub id: ContentId,
    /// Its stored bytes, holes left out.
    pub len: u64,
}

/// Stores chunks of one content after the other.
pub(super) struct ContentWriter {
    cutter: Cutter,
    list: ListBuilder,
    hasher: ContentHasher,
    len: u64,
}

impl ContentWriter {
    /// For contents of this repository, cut by `cutter`.
    pub(super) fn new(repository: &Repository, cutter: Cutter) -> Self {
        let hasher = ContentHasher::new(repository.domain_keys());
        Self { cutter, list: ListBuilder::default(), hasher, len: 0 }
    }

    /// Stores consecutive chunks.
    pub(super) fn add(
        &mut self,
        run: &mut Run,
        class: ChunkClass,
        pieces: &[Piece],
        bytes: &[u8],
    ) -> Result<(), RepositoryError> {
        let mut at = 0;
        for piece in pieces {
            let end = at + piece.len as usize;
            let (block, first) = run.chunk(class, piece.id, &bytes[at..end])?;
            self.hasher.add(piece.id);
            let reference = Reference { block, first, count: 1 };
            self.list.push(run, Extent { reference, len: u64::from(piece.len) })?;
            self.len += u64::from(piece.len);
            at = end;
        }
        Ok(())
    }

    /// Stores what `produce` reads and cuts on a thread of its own. What it read before it failed is stored, too:
    /// [`ContentWriter::take`] gives it up. The run is held for one group at a time.
    pub(super) fn store<T: Send>(
        &mut self,
        part: &Part<'_>,
        observer: &dyn Observer,
        produce: impl FnOnce(&Cutter, &mut dyn FnMut(Group) -> bool) -> io::Result<T> + Send,
    ) -> Result<io::Result<T>, Stop> {
        let (groups, stored) = bounded::<Group>(GROUPS_AHEAD);
        let cutter = self.cutter.clone();
        std::thread::scope(|scope| {
            let producer = scope.spawn(move || produce(&cutter, &mut |group| groups.send(group).is_ok()));
            let mut outcome = Ok(());
            for group in &stored {
                if observer.interrupted() {
                    outcome = Err(Stop::Interrupted);
                    break;
                }
                if let Err(e) = self.add(&mut part.lock(), group.class, &group.pieces, &group.bytes) {
                    outcome = Err(Stop::Repository(e));
                    break;
                }
            }
            // The producer sees the closed channel and stops.
            drop(stored);
            let panicked = || Stop::Repository(RepositoryError::Worker("a reader panicked".to_owned()));
            let produced = producer.join().map_err(|_| panicked())?;
            outcome?;
            // The producer may have ended early for the same reason: what it read is not the whole.
            if observer.interrupted() { Err(Stop::Interrupted) } else { Ok(produced) }
        })
    }

    /// Bytes that were stored since the last content was taken.
    pub(super) fn stored_len(&self) -> u64 {
        self.len
    }

    /// What was stored since the last time.
    pub(super) fn take(&mut self, run: &mut Run) -> Result<StoredContent, RepositoryError> {
        let content = self.list.take(run)?;
        Ok(StoredContent { content, id: self.hasher.take(), len: std::mem::take(&mut self.len) })
    }
}
