//! What came of one source, or of one member of it.

use crate::format::description::Figures;
use crate::format::record::Outcome;
use crate::primitives::component::component;
use crate::primitives::ids::SnapshotId;
use crate::source::exclude::RuleSummary;

/// What came of one source, or of one member of it.
#[derive(Debug, Clone)]
pub struct SourceReport {
    /// Name of the source.
    pub source: String,
    /// The database or other part of it that this is, as the server calls it.
    pub member: Option<String>,
    /// Its snapshot; `None` if nothing was published.
    pub snapshot: Option<SnapshotId>,
    /// How complete it is; [`Outcome::Failed`] if nothing was published.
    pub outcome: Outcome,
    /// What was read and stored.
    pub figures: Figures,
    /// Why nothing was published, or what was is not complete.
    pub error: Option<String>,
    /// Exclusion rules that matched nothing.
    pub rules_unmatched: Vec<String>,
    /// What the exclusion rules left out.
    pub rules: Vec<RuleSummary>,
}

impl SourceReport {
    /// Of a source that was looked at, and of which nothing is published yet.
    pub fn new(source: String, outcome: Outcome, figures: Figures) -> Self {
        let (rules_unmatched, rules) = (Vec::new(), Vec::new());
        Self { source, member: None, snapshot: None, outcome, figures, error: None, rules_unmatched, rules }
    }

    /// Of a source of which nothing was published.
    pub fn failed(source: String, figures: Figures, error: String) -> Self {
        Self { error: Some(error), ..Self::new(source, Outcome::Failed, figures) }
    }

    /// The source, and behind a slash the member.
    pub fn path(&self) -> String {
        match &self.member {
            Some(member) => format!("{}/{}", self.source, component(member)),
            None => self.source.clone(),
        }
    }
}
