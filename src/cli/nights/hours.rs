//! A job for some hours of some days beside a daily and a weekly one, from Friday to Monday.

use super::{Machine, assert_lines, plain};
use crate::cli::exit::Exit;

const JOBS: &str = r#"
[jobs.commcare]
schedule = "mon-sat 00:00"
sources = { blobs = { kind = "path", paths = ["FOLDER/blobs"] } }
[jobs.commcare-hourly]
like = "commcare"
type = "Hourly"
schedule = "cron 15 */3 * * 1-6"
[jobs.commcare-weekly]
like = "commcare"
type = "Weekly"
schedule = "weekly sun 00:00"
"#;

/// CC-5, CC-8, CC-19: nothing hourly or daily is due on Sunday, when the clock goes back, and nothing weekly on other days.
#[test]
fn jobs_are_due_at_the_hours_and_days_of_their_schedules_only() {
    let machine = Machine::new("2026-10-30 22:00", JOBS);
    machine.write("blobs/a", "a");
    assert!(machine.on_until("2026-11-02 08:00").is_empty());
    let runs = plain(&machine.expect(Exit::Done, &["runs"]), &machine.folder);
    let runs: Vec<String> = runs.lines().skip(1).map(|line| line[4..].replace("  complete  0.00 s", "")).collect();
    assert_lines(
        &runs.join("\n"),
        "
2026-10-31 00:00:00  commcare  Daily  commcare/blobs
2026-10-31 00:15:00  commcare-hourly  Hourly  commcare/blobs
2026-10-31 03:15:00  commcare-hourly  Hourly  commcare/blobs
2026-10-31 06:15:00  commcare-hourly  Hourly  commcare/blobs
2026-10-31 09:15:00  commcare-hourly  Hourly  commcare/blobs
2026-10-31 12:15:00  commcare-hourly  Hourly  commcare/blobs
2026-10-31 15:15:00  commcare-hourly  Hourly  commcare/blobs
2026-10-31 18:15:00  commcare-hourly  Hourly  commcare/blobs
2026-10-31 21:15:00  commcare-hourly  Hourly  commcare/blobs
2026-11-01 00:00:00  commcare-weekly  Weekly  commcare/blobs
2026-11-02 00:00:00  commcare  Daily  commcare/blobs
2026-11-02 00:15:00  commcare-hourly  Hourly  commcare/blobs
2026-11-02 03:15:00  commcare-hourly  Hourly  commcare/blobs
2026-11-02 06:15:00  commcare-hourly  Hourly  commcare/blobs",
    );
    let text = machine.expect(Exit::Done, &["forget", "--keep-hourly", "4", "--dry-run"]);
    assert_lines(
        &plain(&text, &machine.folder),
        "
host db1, job commcare, type Daily
  ID  TIME (America/Los_Angeles)  REASON
  keep  ID  2026-11-02 00:00:00  hourly, newest of its group
  keep  ID  2026-10-31 00:00:00  hourly
host db1, job commcare-hourly, type Hourly
  ID  TIME (America/Los_Angeles)  REASON
  keep  ID  2026-11-02 06:15:00  hourly, newest of its group
  keep  ID  2026-11-02 03:15:00  hourly
  keep  ID  2026-11-02 00:15:00  hourly
  keep  ID  2026-10-31 21:15:00  hourly
  forget  ID  2026-10-31 18:15:00  no rule keeps it
  forget  ID  2026-10-31 15:15:00  no rule keeps it
  forget  ID  2026-10-31 12:15:00  no rule keeps it
  forget  ID  2026-10-31 09:15:00  no rule keeps it
  forget  ID  2026-10-31 06:15:00  no rule keeps it
  forget  ID  2026-10-31 03:15:00  no rule keeps it
  forget  ID  2026-10-31 00:15:00  no rule keeps it
host db1, job commcare-weekly, type Weekly
  ID  TIME (America/Los_Angeles)  REASON
  keep  ID  2026-11-01 00:00:00  hourly, newest of its group
would keep 7 snapshots and forget 7 snapshots, in 3 groups",
    );
}
