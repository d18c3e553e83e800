//! Attempts out of runs: each source of a run is one, whatever the run is known from.

use std::collections::BTreeMap;

use super::attempt::{Attempt, Ending};

/// What is known of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFacts {
    /// The machine.
    pub host: String,
    /// The job; `None` for a backup that no configuration asked for.
    pub job: Option<String>,
    /// The type of the run.
    pub job_type: Option<String>,
    /// Whether it was of some sources alone.
    pub alone: bool,
    /// When it began, in milliseconds since the epoch.
    pub begun_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// How it ended as a whole.
    pub ending: Ending,
    /// Why it is not good.
    pub error: Option<String>,
    /// The sources that it was to save.
    pub planned: Vec<String>,
    /// The sources that it was to save and that have not ended.
    pub unfinished: Vec<String>,
    /// What came of sources, and of members of them.
    pub results: Vec<SourceResult>,
}

/// What came of a source, or of a member of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceResult {
    /// Its path.
    pub path: String,
    /// How it ended.
    pub ending: Ending,
    /// Why it is not good.
    pub error: Option<String>,
    /// Its snapshot.
    pub snapshot: Option<String>,
    /// Bytes of its content.
    pub bytes: u64,
    /// Bytes that were added to the repository.
    pub bytes_stored: u64,
}

impl RunFacts {
    /// An attempt for each source that it was to save, and one for the job itself, which has its name: that one is good if
    /// its sources became known. Members count for their source: it is as good as the worst of them.
    pub fn attempts(&self) -> Vec<Attempt> {
        let mut results: BTreeMap<String, Vec<&SourceResult>> = BTreeMap::new();
        for name in self.planned.iter().chain(&self.unfinished) {
            results.entry(name.clone()).or_default();
        }
        for result in &self.results {
            results.entry(self.source_of(&result.path)).or_default().push(result);
        }
        let of_job = self.job.clone().map(|job| match results.is_empty() {
            true => Attempt { ending: self.ending, error: self.error.clone(), ..self.attempt(job, &[]) },
            false => Attempt { ending: Ending::Complete, error: None, ..self.attempt(job, &[]) },
        });
        let of_sources = results.into_iter().map(|(source, results)| self.attempt(source, &results));
        of_job.into_iter().chain(of_sources).collect()
    }

    /// The source of a path: the longest planned one that it is or lies below; else what its first two parts name.
    fn source_of(&self, path: &str) -> String {
        let is_below = |name: &&String| {
            path.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self.planned.iter().chain(&self.unfinished).filter(is_below).max_by_key(|name| name.len()) {
            Some(name) => name.clone(),
            None if self.job.is_some() => path.split('/').take(2).collect::<Vec<_>>().join("/"),
            None => path.to_owned(),
        }
    }

    fn attempt(&self, source: String, results: &[&SourceResult]) -> Attempt {
        let worst = results.iter().max_by_key(|result| result.ending);
        let is_unfinished = self.unfinished.contains(&source);
        let some_saved = results.iter().any(|result| result.ending != Ending::Failed);
        let (ending, error) = match (self.ending, worst) {
            // It has not ended, and this source has not either.
            (Ending::Running | Ending::Crashed, _) if is_unfinished || worst.is_none() => {
                (self.ending, self.error.clone())
            }
            // It ended before this source did: what it saved of it is not all.
            (_, Some(_)) if is_unfinished && some_saved => (Ending::Partial, self.error.clone()),
            (_, Some(_)) if is_unfinished => (Ending::Failed, self.error.clone()),
            (_, Some(worst)) if worst.ending == Ending::Failed && some_saved => (Ending::Partial, worst.error.clone()),
            (_, Some(worst)) => (worst.ending, worst.error.clone()),
            (_, None) => (Ending::Failed, self.error.clone()),
        };
        Attempt {
            host: self.host.clone(),
            job: self.job.clone(),
            job_type: self.job_type.clone(),
            alone: self.alone,
            source,
            begun_ms: self.begun_ms,
            ended_ms: self.ended_ms,
            ending,
            error,
            snapshot: results.iter().find_map(|result| result.snapshot.clone()),
            bytes: results.iter().map(|result| result.bytes).sum(),
            bytes_stored: results.iter().map(|result| result.bytes_stored).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(path: &str, ending: Ending) -> SourceResult {
        let error = (!ending.is_good()).then(|| format!("{path} is bad"));
        SourceResult { path: path.to_owned(), ending, error, snapshot: None, bytes: 10, bytes_stored: 1 }
    }

    fn facts(ending: Ending, unfinished: &[&str], results: Vec<SourceResult>) -> RunFacts {
        RunFacts {
            host: "pg1".to_owned(),
            job: Some("idp".to_owned()),
            job_type: Some("Daily".to_owned()),
            alone: false,
            begun_ms: 1,
            ended_ms: None,
            ending,
            error: Some("the run".to_owned()),
            planned: vec!["idp/docs".to_owned(), "idp/gen3".to_owned()],
            unfinished: unfinished.iter().map(|name| (*name).to_owned()).collect(),
            results,
        }
    }

    fn told(facts: &RunFacts) -> Vec<(String, Ending, Option<String>, u64)> {
        let attempts = facts.attempts().into_iter().skip(1);
        attempts.map(|a| (a.source, a.ending, a.error, a.bytes)).collect()
    }

    #[test]
    fn a_job_whose_sources_did_not_become_known_has_failed_itself() {
        let mut run = facts(Ending::Failed, &[], Vec::new());
        let of_job = |run: &RunFacts| run.attempts().into_iter().map(|a| (a.source, a.ending)).next().unwrap();
        assert_eq!(of_job(&run), ("idp".to_owned(), Ending::Complete));
        run.planned.clear();
        assert_eq!(of_job(&run), ("idp".to_owned(), Ending::Failed));
        assert_eq!(run.attempts().len(), 1);
    }

    #[test]
    fn a_source_is_as_good_as_its_worst_member() {
        let results = vec![
            result("idp/docs", Ending::Complete),
            result("idp/gen3/fence", Ending::Complete),
            result("idp/gen3/wts", Ending::Warnings),
        ];
        let mut run = facts(Ending::Warnings, &[], results);
        let good = [("idp/docs", Ending::Complete, 10), ("idp/gen3", Ending::Warnings, 20)];
        let seen = told(&run);
        assert_eq!(seen.iter().map(|(s, e, _, b)| (s.as_str(), *e, *b)).collect::<Vec<_>>(), good);
        run.results.push(result("idp/gen3/audit", Ending::Failed));
        let why = Some("idp/gen3/audit is bad".to_owned());
        assert_eq!(told(&run)[1], ("idp/gen3".to_owned(), Ending::Partial, why.clone(), 30));
        run.results.retain(|result| result.ending == Ending::Failed);
        assert_eq!(told(&run)[1], ("idp/gen3".to_owned(), Ending::Failed, why, 10));
    }

    #[test]
    fn what_has_no_result_failed_with_its_run_or_goes_on() {
        let why = Some("the run".to_owned());
        for (ending, is) in [
            (Ending::Failed, Ending::Failed),
            (Ending::Complete, Ending::Failed),
            (Ending::Running, Ending::Running),
            (Ending::Crashed, Ending::Crashed),
        ] {
            let run = facts(ending, &["idp/gen3"], vec![result("idp/docs", Ending::Complete)]);
            assert_eq!(told(&run)[0].1, Ending::Complete);
            assert_eq!(told(&run)[1], ("idp/gen3".to_owned(), is, why.clone(), 0));
        }
        // One member of a source is done, and the others are not.
        let one = || vec![result("idp/gen3/fence", Ending::Complete)];
        assert_eq!(told(&facts(Ending::Crashed, &["idp/gen3"], one()))[1].1, Ending::Crashed);
        // The run was interrupted then.
        assert_eq!(
            told(&facts(Ending::Failed, &["idp/gen3"], one()))[1],
            ("idp/gen3".to_owned(), Ending::Partial, why, 10)
        );
    }
}
