//! The line of a status file: `[OK]` or `[ALERT]`, as scripts of monit and the like look for it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::jobs::audit::{Level, Status};

/// The line for a source; it ends with a line feed. A warning is no alarm.
pub fn status_line(status: &Status, now_ms: i64, zone: &TimeZone) -> String {
    let at = |ms: i64| match Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
        Err(_) => format!("{ms} ms"),
    };
    let word = if status.level == Level::Critical { "[ALERT]" } else { "[OK]" };
    let success = match status.success_ms {
        Some(ms) => {
            let size = status.bytes.map(|bytes| format!(", {bytes} bytes")).unwrap_or_default();
            format!("last success {}{size}", at(ms))
        }
        None => "no success so far".to_owned(),
    };
    let usual = match (status.bytes, status.usual_bytes) {
        (Some(bytes), Some(usual)) if bytes < usual / 2 => format!(", less than half of the usual {usual} bytes"),
        _ => String::new(),
    };
    let (source, host, state) = (one_line(&status.source), one_line(&status.host), status.state.word());
    format!("{word} {state} {source} on {host}: {success}{usual}; looked at {}\n", at(now_ms))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::audit::State;
    use crate::jobs::audit::testing::status;

    /// CC-5: one line, which begins with what scripts look for.
    #[test]
    fn a_line_says_ok_or_alert() {
        let good = Status { usual_bytes: Some(3 << 20), ..status("pg1", "commcare/postgresql", State::Good) };
        assert_eq!(
            status_line(&good, 1000, &TimeZone::UTC),
            "[OK] Good commcare/postgresql on pg1: last success 1970-01-01 00:00:00 +00:00, 1048576 bytes, less than half \
             of the usual 3145728 bytes; looked at 1970-01-01 00:00:01 +00:00\n"
        );
        let never = status("pg1", "a\nb", State::Never);
        assert_eq!(
            status_line(&never, 1000, &TimeZone::UTC),
            "[ALERT] Never a?b on pg1: no success so far; looked at 1970-01-01 00:00:01 +00:00\n"
        );
        let warned = status_line(&status("pg1", "a", State::Warnings), 1000, &TimeZone::UTC);
        assert!(warned.starts_with("[OK] Warnings"), "{warned}");
    }
}
