//! Who follows a backup while it runs.

use super::snapshot_writer::SourceReport;

/// Is told what a backup saves as it is published: if the process is killed later, this much is known.
pub trait Follower: Send + Sync {
    /// These sources are to be saved, in this order.
    fn begins(&self, sources: &[String]);

    /// What came of a source, or of a member of one. Its snapshot is published, if it has one. The same source is told
    /// again if it turns out later not to be without a warning.
    fn saved(&self, report: &SourceReport);

    /// A source has ended, with all its members.
    fn ended(&self, source: &str);
}
