//! Points in time: as the user writes them, and as they are shown.
//!
//! What has no offset is local time. In the repository a time is a number of milliseconds since the epoch.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time for people, in the zone `tz`.
pub fn show(time_ms: i64, tz: &TimeZone) -> String {
    match Timestamp::from_millisecond(time_ms) {
        Ok(t) => {
            let at = t.to_zoned(tz.clone());
            // Of an hour that comes twice it must be told which one is meant.
            let twice = tz.to_ambiguous_timestamp(at.datetime()).is_ambiguous();
            at.strftime(if twice { "%Y-%m-%d %H:%M:%S %:z" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
        }
        Err(_) => format!("{time_ms} ms"),
    }
}

/// The zone in which [`show`] shows times, for headings: its name, or `local` if it has none.
pub fn zone_name(tz: &TimeZone) -> &str {
    tz.iana_name().unwrap_or(if tz.is_unknown() { "UTC" } else { "local" })
}

/// The heading of a column of times.
pub fn heading(word: &str, tz: &TimeZone) -> String {
    format!("{word} ({})", zone_name(tz))
}

/// A time for programs: RFC 3339 in UTC; `None` if it is outside of what can be written so.
pub fn rfc3339(time_ms: i64) -> Option<String> {
    Timestamp::from_millisecond(time_ms).ok().map(|t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zurich() -> TimeZone {
        // A fixed rule, so that the test needs no time zone database.
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone by POSIX")
    }

    #[test]
    fn an_hour_that_comes_twice_is_shown_with_its_offset() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(show(at("2026-10-25T00:30:00Z"), &zurich()), "2026-10-25 02:30:00 +02:00");
        assert_eq!(show(at("2026-10-25T01:30:00Z"), &zurich()), "2026-10-25 02:30:00 +01:00");
        assert_eq!(show(at("2026-10-25T02:30:00Z"), &zurich()), "2026-10-25 03:30:00");
    }

    #[test]
    fn a_zone_has_a_name_for_headings() {
        assert_eq!(zone_name(&TimeZone::UTC), "UTC");
        assert_eq!(zone_name(&zurich()), "local");
    }

    #[test]
    fn times_are_shown_in_local_time() {
        assert_eq!(show(1_793_676_600_000, &zurich()), "2026-11-03 02:30:00".replace("02:30", "04:30"));
    }
}
