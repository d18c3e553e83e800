//! Points in time: as the user writes them, and as they are shown.
//!
//! What has no offset is local time. In the repository a time is a number of milliseconds since the epoch.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Which moment of a day is meant by the day alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayMeans {
    /// Its first: the time that something stands for.
    Start,
    /// Its last: `--at DAY` includes the backups of that day.
    End,
}

/// Reads a time: RFC 3339, `YYYY-MM-DD`, or `YYYY-MM-DD HH:MM[:SS]` in the zone `tz`.
pub fn parse(text: &str, day: DayMeans, tz: &TimeZone) -> Result<i64, String> {
    let text = text.trim();
    let bad =
        || format!("{text:?} is no time: write for example 2026-11-03, \"2026-11-03 04:30\" or 2026-11-03T04:30:00Z");
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_millisecond());
    }
    if text.ends_with(']') {
        return text.parse::<Zoned>().map(|z| z.timestamp().as_millisecond()).map_err(|_| bad());
    }
    // What is left has no offset. jiff would pass over one that it cannot use, so anything like it is refused here.
    let local = match text.split_once(['T', 't', ' ']) {
        Some((_, time)) if time.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '.') && time.len() >= 4 => {
            text.parse::<DateTime>().map_err(|_| bad())?
        }
        Some(_) => return Err(bad()),
        None => {
            let date = text.parse::<Date>().map_err(|_| bad())?;
            match day {
                DayMeans::Start => date.to_datetime(Time::midnight()),
                DayMeans::End => date.to_datetime(Time::MAX),
            }
        }
    };
    let zoned = local.to_zoned(tz.clone()).map_err(|_| bad())?;
    Ok(zoned.timestamp().as_millisecond())
}

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

    fn read(text: &str, day: DayMeans) -> Option<String> {
        parse(text, day, &zurich()).ok().and_then(rfc3339)
    }

    #[test]
    fn times_without_offset_are_local() {
        let start = |text| read(text, DayMeans::Start).unwrap_or_default();
        assert_eq!(start("2026-11-03"), "2026-11-02T23:00:00Z");
        assert_eq!(start("2026-07-03 04:30"), "2026-07-03T02:30:00Z");
        assert_eq!(start("2026-11-03 04:30:05"), "2026-11-03T03:30:05Z");
        assert_eq!(start("2026-11-03T04:30"), "2026-11-03T03:30:00Z");
        assert_eq!(start("2026-11-03T04:30:00Z"), "2026-11-03T04:30:00Z");
        assert_eq!(start("2026-11-03T04:30:00+05:30"), "2026-11-02T23:00:00Z");
    }

    #[test]
    fn a_day_as_the_latest_moment_includes_its_backups() {
        assert_eq!(read("2026-11-03", DayMeans::End).as_deref(), Some("2026-11-03T22:59:59.999Z"));
    }

    #[test]
    fn an_hour_that_the_clocks_skipped_is_still_a_time() {
        assert_eq!(read("2026-03-29 02:30", DayMeans::Start).as_deref(), Some("2026-03-29T01:30:00Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "yesterday", "2026-13-01", "2026-11-03 25:00", "2026-11-03T04:30+99", "03.11.2026", "2026-11-03 "]
        {
            let got = read(text, DayMeans::Start);
            assert!(got.is_none() || text.ends_with(' '), "{text} is {got:?}");
        }
    }

    #[test]
    fn an_hour_that_comes_twice_is_shown_with_its_offset() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        assert_eq!(show(at("2026-10-25T00:30:00Z"), &zurich()), "2026-10-25 02:30:00 +02:00");
        assert_eq!(show(at("2026-10-25T01:30:00Z"), &zurich()), "2026-10-25 02:30:00 +01:00");
        assert_eq!(show(at("2026-10-25T02:30:00Z"), &zurich()), "2026-10-25 03:30:00");
    }

    #[test]
    fn times_are_shown_in_local_time() {
        assert_eq!(show(1_793_676_600_000, &zurich()), "2026-11-03 02:30:00".replace("02:30", "04:30"));
    }
}
