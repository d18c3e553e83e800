//! Asking commands of the configuration: for the sources of a job, and for what is to be recorded with its set.

use std::ffi::OsString;

use crate::cli::error::{CliError, Result};
use crate::databases::tool::Tools;
use crate::jobs::config::tree::{Table, Value};
use crate::jobs::config::{INHERITED_BY_SOURCES, Job, Source};
use crate::jobs::list;

use super::texts::Texts;

/// Bytes of an answer that is recorded: each snapshot of the set holds it.
const RECORD_LEN_MAX: usize = 16 << 10;

/// The sources that the command of `for_each` lists now.
pub(in crate::cli) fn listed(job: &Job, texts: &Texts<'_>) -> Result<Vec<Source>> {
    let Some(table) = job.table.table("for_each") else { return Ok(Vec::new()) };
    let node = table.get("command");
    let (Some(line), Some(node)) = (table.text("command"), node) else {
        return Err(CliError::Usage(format!("job `{}`: `for_each` needs `command`", job.name)));
    };
    let fail = |why: String| CliError::Usage(format!("job `{}`: the list of `for_each`: {why}", job.name));
    let csv = ask(line, &job.table, texts, Vec::new()).map_err(fail)?;
    let with = table.table("with").cloned().unwrap_or_default();
    let below = with.over(&job.table.only(&INHERITED_BY_SOURCES));
    list::read(&csv, &below, &node.place).map_err(fail)
}

/// What a line of bash prints, run as the user that the keys say.
fn ask(
    line: &str,
    keys: &Table,
    texts: &Texts<'_>,
    env: Vec<(OsString, OsString)>,
) -> std::result::Result<Vec<u8>, String> {
    let mut variables = texts.env.file_variables();
    variables.push(("STRONGROOM_JOB".into(), texts.job.into()));
    variables.push(("STRONGROOM_HOST".into(), texts.host.into()));
    variables.extend(env);
    let tools = Tools { run_as: keys.text("run_as").map(str::to_owned), env: variables, ..Tools::default() };
    let said = tools.answer("bash", ["-o", "pipefail", "-c", line], b"");
    said.map_err(|why| why.strip_prefix("bash: ").map_or(why.clone(), str::to_owned))
}

/// The answers that are recorded with a set, of a job and of its sources; and what is wrong with the others.
pub(in crate::cli) fn records<'a>(
    job: &Job,
    sources: impl Iterator<Item = &'a Source>,
    texts: &Texts<'_>,
) -> (Vec<(String, String)>, Vec<String>) {
    let of_sources =
        sources.filter_map(|source| Some((Some(source.name.as_str()), source.table.table("record")?, &source.table)));
    let all = job.table.table("record").map(|record| (None, record, &job.table)).into_iter().chain(of_sources);
    let (mut records, mut wrong) = (Vec::new(), Vec::new());
    for (source, table, keys) in all {
        for entry in &table.0 {
            let Value::Text(line) = &entry.node.value else { continue };
            let name = source.map_or(entry.key.clone(), |source| format!("{source}.{}", entry.key));
            let env = source.map(|source| ("STRONGROOM_SOURCE".into(), source.into())).into_iter().collect();
            match ask(line, keys, texts, env).and_then(answer) {
                Ok(text) => records.push((name, text)),
                Err(why) => wrong.push(format!("record `{name}`: {why}")),
            }
        }
    }
    (records, wrong)
}

fn answer(said: Vec<u8>) -> std::result::Result<String, String> {
    let text = String::from_utf8(said).map_err(|_| "the answer is not valid UTF-8".to_owned())?;
    let text = text.trim_end();
    match text.len() {
        0 => Err("the answer is empty".to_owned()),
        len if len > RECORD_LEN_MAX => Err(format!(
            "the answer has {len} bytes, and at most {RECORD_LEN_MAX} are kept: have it print less, such as a checksum"
        )),
        _ => Ok(text.to_owned()),
    }
}
