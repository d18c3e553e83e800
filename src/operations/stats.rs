//! Stats: how much there is, of what, and what it costs.

use crate::formats::names::PackKind;
use crate::machinery::repository::{Repository, Result};

/// Figures of a repository. Bytes, unless a name says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records in the log.
    pub records: u64,
    /// Of these, void ones.
    pub records_void: u64,
    /// Live snapshots.
    pub snapshots: u64,
    /// Content of all live snapshots, as if each were stored alone.
    pub content: u64,
    /// Live packs of content.
    pub data_packs: u64,
    /// Their length.
    pub data_len: u64,
    /// Live packs of trees and lists.
    pub meta_packs: u64,
    /// Their length.
    pub meta_len: u64,
    /// Live segments.
    pub segments: u64,
    /// Their length.
    pub segment_len: u64,
    /// Runs that are open.
    pub runs_open: u64,
}

/// Counts what the folded state names.
pub fn stats(repository: &Repository) -> Result<Stats> {
    let state = repository.state();
    let mut stats = Stats {
        records: state.number,
        records_void: state.void.len() as u64,
        snapshots: state.snapshots.len() as u64,
        runs_open: state.open_runs().count() as u64,
        ..Stats::default()
    };
    for pack in state.packs.values().filter(|p| p.live()) {
        let (count, len) = match pack.kind {
            PackKind::Data => (&mut stats.data_packs, &mut stats.data_len),
            PackKind::Meta => (&mut stats.meta_packs, &mut stats.meta_len),
        };
        *count += 1;
        *len += pack.len;
    }
    for segment in state.segments.values().filter(|s| s.condemned.is_none()) {
        stats.segments += 1;
        stats.segment_len += crate::formats::envelope::ENVELOPE_LEN as u64 + segment.parts.iter().sum::<u64>();
    }
    stats.content = repository.snapshots()?.iter().map(|s| s.described.figures.bytes).sum();
    Ok(stats)
}
