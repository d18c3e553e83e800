//! Times as people write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Milliseconds since the epoch of an RFC 3339 time, or of a date or date and time in the zone.
///
/// A date alone is its end: the newest snapshot *of* that day is what `--at DATE` means.
pub fn parse(text: &str, zone: &TimeZone) -> Result<i64, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let civil = match text.parse::<Date>() {
        Ok(date) if text.len() == 10 => date.at(23, 59, 59, 999_000_000),
        _ => text.replace(' ', "T").parse::<DateTime>().map_err(|_| bad(text))?,
    };
    let zoned = civil.to_zoned(zone.clone()).map_err(|_| bad(text))?;
    Ok(zoned.timestamp().as_millisecond())
}

fn bad(text: &str) -> String {
    format!("{text:?} is no time; write 2026-11-18, 2026-11-18T02:00 or 2026-11-18T02:00:00Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_all_their_forms() {
        let utc = TimeZone::UTC;
        let day = 1_763_424_000_000;
        assert_eq!(parse("2025-11-18T00:00:00Z", &utc), Ok(day));
        assert_eq!(parse("2025-11-18T02:00", &utc), Ok(day + 7_200_000));
        assert_eq!(parse("2025-11-18 02:00:01", &utc), Ok(day + 7_201_000));
        assert_eq!(parse("2025-11-18T01:00:00+01:00", &utc), Ok(day));
        assert_eq!(parse("2025-11-18", &utc), Ok(day + 86_399_999));
        assert!(parse("yesterday", &utc).is_err());
        assert!(parse("2025-13-01", &utc).is_err());
    }
}
