//! Stats: how much there is, of what, and what it costs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::format::names::PackKind;
use crate::repository::{Repository, Result};

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

/// What snapshots cost together: of one source, or of one night.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Host and source; or the day.
    pub name: String,
    /// How many snapshots.
    pub snapshots: u64,
    /// Time of the newest, in milliseconds since the epoch.
    pub newest_ms: i64,
    /// Content of the newest, in bytes.
    pub content: u64,
    /// Bytes that were not there before, of all of them.
    pub new: u64,
    /// Bytes that they added to the store when they were made.
    pub stored: u64,
}

/// By what shares are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareBy {
    /// Host and source.
    Source,
    /// The day that a snapshot stands for.
    Night,
}

/// The live snapshots' shares, by name.
pub fn shares(repository: &Repository, by: ShareBy, zone: &TimeZone) -> Result<Vec<Share>> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for snapshot in repository.snapshots()? {
        let (d, time_ms) = (&snapshot.described, snapshot.state.time_ms);
        let name = match by {
            ShareBy::Source => format!("{} {}", d.host, d.source),
            ShareBy::Night => match Timestamp::from_millisecond(time_ms) {
                Ok(time) => time.to_zoned(zone.clone()).date().to_string(),
                Err(_) => "no day".to_owned(),
            },
        };
        let share =
            shares.entry(name.clone()).or_insert_with(|| Share { name, newest_ms: i64::MIN, ..Share::default() });
        share.snapshots += 1;
        share.new += d.figures.bytes_new;
        share.stored += d.figures.bytes_stored;
        if by == ShareBy::Night {
            share.content += d.figures.bytes;
        } else if time_ms >= share.newest_ms {
            share.content = d.figures.bytes;
        }
        share.newest_ms = share.newest_ms.max(time_ms);
    }
    Ok(shares.into_values().collect())
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
        stats.segment_len += crate::format::envelope::ENVELOPE_LEN as u64 + segment.parts.iter().sum::<u64>();
    }
    stats.content = repository.snapshots()?.iter().map(|s| s.described.figures.bytes).sum();
    Ok(stats)
}
