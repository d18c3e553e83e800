//! What a source must keep to, from the configuration and from what the journal knows of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::error::{CliError, Result};
use crate::cli::values;
use crate::jobs::config::tree::{Table, Value};
use crate::jobs::journal::Run;
use crate::ops::backup::{Limits, StreamOptions, UsualLength};

/// So many of the last good ones are compared with.
const GOOD_ONES: usize = 7;
/// Of fewer good ones nothing is concluded.
const GOOD_ONES_LEAST: usize = 3;

/// The median length of the last good ones of each source and member, as the journal tells it.
pub(in crate::cli) fn usual_lengths(runs: &[Run]) -> UsualLength {
    let mut lengths: HashMap<String, Vec<u64>> = HashMap::new();
    for source in runs.iter().flat_map(|run| &run.sources).filter(|source| source.outcome == "complete") {
        lengths.entry(source.source.clone()).or_default().push(source.bytes);
    }
    let medians: HashMap<String, u64> = lengths
        .into_iter()
        .filter(|(_, all)| all.len() >= GOOD_ONES_LEAST)
        .map(|(source, all)| {
            let mut last = all[all.len().saturating_sub(GOOD_ONES)..].to_vec();
            last.sort_unstable();
            (source, last[last.len() / 2])
        })
        .collect();
    Arc::new(move |path| medians.get(path).copied())
}

/// What a source must keep to.
pub(in crate::cli) fn limits(table: &Table, usual: &UsualLength) -> Result<Limits> {
    let number = |key: &str| match table.get(key).map(|node| &node.value) {
        Some(Value::Integer(number)) => Some(*number as f64),
        Some(Value::Number(number)) => Some(*number),
        _ => None,
    };
    let timeout = table.text("timeout").map(values::duration_ms).transpose().map_err(CliError::Usage)?;
    Ok(Limits {
        timeout: timeout.map(|ms| Duration::from_millis(ms.unsigned_abs())),
        retries: number("retries").unwrap_or_default() as u32,
        usual: Some(Arc::clone(usual)),
        min_ratio: number("min_ratio"),
        max_ratio: number("max_ratio"),
    })
}

/// How a stream of a source is saved.
pub(in crate::cli) fn stream_options(table: &Table, usual: &UsualLength) -> Result<StreamOptions> {
    Ok(StreamOptions {
        allow_empty: matches!(table.get("allow_empty").map(|node| &node.value), Some(Value::Bool(true))),
        trailer: table.text("trailer").map(str::to_owned),
        min_len: table.text("min_size").map(values::size).transpose().map_err(CliError::Usage)?,
        limits: limits(table, usual)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::journal::RunSource;

    #[test]
    fn the_median_of_the_last_good_ones_is_usual() {
        let run = |source: &str, outcome: &str, bytes: u64| Run {
            run: String::new(),
            job: String::new(),
            job_type: String::new(),
            begun_ms: 0,
            slot_ms: None,
            alone: Vec::new(),
            ended_ms: None,
            outcome: None,
            error: None,
            sources: vec![RunSource {
                source: source.to_owned(),
                outcome: outcome.to_owned(),
                snapshot: None,
                error: None,
                bytes,
                bytes_stored: 0,
                done_ms: None,
            }],
            unfinished: Vec::new(),
        };
        let mut runs = vec![run("a", "complete", 1), run("b", "complete", 5), run("b", "complete", 5)];
        runs.extend((10..17).map(|bytes| run("a", "complete", bytes)));
        runs.push(run("a", "failed", 1000));
        let usual = usual_lengths(&runs);
        assert_eq!((usual("a"), usual("b"), usual("c")), (Some(13), None, None));
    }
}
