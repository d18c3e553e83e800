//! Metrics in the text format of Prometheus, for the textfile collector of node_exporter.

use std::fmt::Write;

use crate::jobs::audit::{State, Status};

/// One metric of all sources.
struct Metric {
    name: &'static str,
    help: &'static str,
    value: fn(&Status) -> Option<f64>,
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

const METRICS: [Metric; 7] = [
    Metric {
        name: "strongroom_last_success_timestamp_seconds",
        help: "When the newest good copy was begun; 0 if there is none.",
        value: |status| Some(status.success_ms.map_or(0.0, seconds)),
    },
    Metric {
        name: "strongroom_last_start_timestamp_seconds",
        help: "When the last attempt began; 0 if there is none.",
        value: |status| Some(status.begun_ms.map_or(0.0, seconds)),
    },
    Metric {
        name: "strongroom_last_duration_seconds",
        help: "How long the last attempt took.",
        value: |status| status.duration_ms.map(seconds),
    },
    Metric {
        name: "strongroom_last_status",
        help: "0 all is well, 1 a warning, 2 something is wrong.",
        value: |status| Some(f64::from(status.level as u8)),
    },
    Metric {
        name: "strongroom_overdue",
        help: "1 if nothing was saved when it was due.",
        value: |status| {
            let is_never = status.state == State::Never && status.missed_ms.is_some();
            Some(f64::from(u8::from(status.state == State::Overdue || is_never)))
        },
    },
    Metric {
        name: "strongroom_bytes",
        help: "Bytes of the newest good copy.",
        value: |status| status.bytes.map(|bytes| bytes as f64),
    },
    Metric {
        name: "strongroom_bytes_usual",
        help: "The median length of the last good copies.",
        value: |status| status.usual_bytes.map(|bytes| bytes as f64),
    },
];

/// The metrics of these sources. A source that was never saved has a last success of 0: an alarm on the age goes off for
/// it, too.
pub fn metrics(statuses: &[Status], now_ms: i64) -> String {
    let mut text = String::new();
    for Metric { name, help, value } in METRICS {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for status in statuses {
            if let Some(value) = value(status) {
                let [host, job, source] = [&status.host, &status.job, &status.source].map(|text| label(text));
                let _ = writeln!(text, "{name}{{host=\"{host}\",job=\"{job}\",source=\"{source}\"}} {value}");
            }
        }
    }
    let name = "strongroom_report_timestamp_seconds";
    let _ = writeln!(text, "# HELP {name} When these metrics were written.\n# TYPE {name} gauge");
    let _ = writeln!(text, "{name} {}", seconds(now_ms));
    text
}

/// The value of a label, as the format quotes it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::audit::testing::status;

    /// MYDB-12: a source that never succeeded is 0, and is not absent.
    #[test]
    fn a_source_that_never_succeeded_is_zero() {
        let never =
            Status { begun_ms: None, duration_ms: None, missed_ms: Some(2), ..status("b", "shop/\"x\"", State::Never) };
        let text = metrics(&[status("a", "shop/db", State::Good), never], 7_500);
        for line in [
            "strongroom_last_success_timestamp_seconds{host=\"a\",job=\"shop\",source=\"shop/db\"} 0.001",
            "strongroom_last_success_timestamp_seconds{host=\"b\",job=\"shop\",source=\"shop/\\\"x\\\"\"} 0",
            "strongroom_last_status{host=\"a\",job=\"shop\",source=\"shop/db\"} 0",
            "strongroom_last_status{host=\"b\",job=\"shop\",source=\"shop/\\\"x\\\"\"} 2",
            "strongroom_overdue{host=\"b\",job=\"shop\",source=\"shop/\\\"x\\\"\"} 1",
            "strongroom_last_duration_seconds{host=\"a\",job=\"shop\",source=\"shop/db\"} 2",
            "strongroom_report_timestamp_seconds 7.5",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("strongroom_bytes{host=\"b\""), "{text}");
    }
}
