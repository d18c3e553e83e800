//! Values as a person types them: one grammar for each kind, for options, variables and files alike.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, Zoned};

use crate::ops::prune::plan::MaxUnused;
use crate::ops::verify::Part;

/// Reads a number of bytes: `512`, `100K`, `1.5GiB`; units are binary, with or without `iB` or `B`.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("invalid size {text:?} (examples: 512K, 100M, 1.5G)");
    let text_trimmed = text.trim();
    let at = text_trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text_trimmed.len());
    let (number, unit) = text_trimmed.split_at(at);
    let unit = unit.to_ascii_lowercase();
    let letter = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match letter {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad()),
    };
    let value: f64 = number.trim().parse().map_err(|_| bad())?;
    let bytes = value * (1u64 << shift) as f64;
    if bytes.is_finite() && (0.0..9e18).contains(&bytes) { Ok(bytes as u64) } else { Err(bad()) }
}

/// Reads a number of bytes a second: a [`size`] with a unit. A bare number is refused: other tools take it for KiB.
pub fn rate(text: &str) -> Result<u64, String> {
    let bad = |why: &str| Err(format!("invalid rate {text:?}: {why} (examples: 512K, 2M)"));
    match size(text) {
        Ok(_) if text.trim().parse::<f64>().is_ok() => bad("a unit is missing; write K for KiB a second"),
        Ok(rate) if rate < 1024 => bad("the least is 1K"),
        Ok(rate) => Ok(rate),
        Err(_) => bad("expected a size a second"),
    }
}

/// Reads an interval and how far back it counts, such as `1h for 24h`: the newest of each interval is kept.
pub fn interval(text: &str) -> Result<(i64, Span), String> {
    let bad = || format!("invalid interval {text:?} (examples: \"1h for 24h\", \"1d for 15d\")");
    let (every, within) = text.split_once(" for ").ok_or_else(bad)?;
    let (every_ms, within) = (duration_ms(every.trim())?, span(within.trim())?);
    if every_ms > 0 { Ok((every_ms, within)) } else { Err(bad()) }
}

/// Reads a span such as `15d`, `1y6mo`, `36h`: years, months, weeks, days, hours. `m` alone is refused: elsewhere it
/// means minutes.
pub fn span(text: &str) -> Result<Span, String> {
    let bad = || format!("invalid time span {text:?} (examples: 36h, 15d, 8w, 6mo, 1y6mo)");
    let (mut span, mut digits, mut last) = (Span::new(), String::new(), 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == 'm' && chars.next_if_eq(&'o').is_none() {
            return Err(format!("`m` in {text:?} could be minutes or months: write `mo` for months"));
        }
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let count: i64 = digits.parse().map_err(|_| bad())?;
        let place = "ymwdh".find(c).ok_or_else(bad)? + 1;
        // Each unit once, the longer first.
        if place <= last {
            return Err(bad());
        }
        span = match c {
            'y' => span.try_years(count),
            'm' => span.try_months(count),
            'w' => span.try_weeks(count),
            'd' => span.try_days(count),
            _ => span.try_hours(count),
        }
        .map_err(|_| bad())?;
        (digits, last) = (String::new(), place);
    }
    if last == 0 || !digits.is_empty() { Err(bad()) } else { Ok(span) }
}

/// Reads a time to wait such as `0s`, `90m`, `36h`, `7d`; milliseconds.
pub fn duration_ms(text: &str) -> Result<i64, String> {
    let bad = || format!("invalid duration {text:?} (examples: 90m, 36h, 7d)");
    let span: Span = text.parse().map_err(|_| bad())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    i64::try_from(duration.as_millis()).ok().filter(|ms| *ms >= 0).ok_or_else(bad)
}

/// Reads how much may stay unused: `5%`, `2GiB`, `0` or `unlimited`.
pub fn max_unused(text: &str) -> Result<MaxUnused, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(MaxUnused::Unlimited);
    }
    match text.strip_suffix('%') {
        Some(percent) => match percent.trim().parse::<f64>() {
            Ok(part) if (0.0..100.0).contains(&part) => Ok(MaxUnused::Part(part / 100.0)),
            _ => Err(format!("invalid share {text:?} (example: 5%)")),
        },
        None => size(text).map(MaxUnused::Bytes),
    }
}

/// Reads which part to read: `5%`, `2GiB`, `3/7`.
pub fn part(text: &str) -> Result<Part, String> {
    let bad = || format!("invalid subset {text:?} (examples: 5%, 2GiB, 3/7)");
    let text = text.trim();
    if let Some(percent) = text.strip_suffix('%') {
        let share = percent.trim().parse::<f64>().map_err(|_| bad())?;
        return if share > 0.0 && share <= 100.0 { Ok(Part::Share(share / 100.0)) } else { Err(bad()) };
    }
    if let Some((n, of)) = text.split_once('/') {
        let (n, of): (u64, u64) = (n.trim().parse().map_err(|_| bad())?, of.trim().parse().map_err(|_| bad())?);
        return if (1..=of).contains(&n) { Ok(Part::Group { n, of }) } else { Err(bad()) };
    }
    match size(text) {
        Ok(bytes) if bytes > 0 => Ok(Part::Bytes(bytes)),
        _ => Err(bad()),
    }
}

/// Reads `LEAST,NOMINAL,MOST`.
pub fn sizes(text: &str) -> Result<[u32; 3], String> {
    let bad = || format!("{text:?} is not LEAST,NOMINAL,MOST");
    let sizes: Result<Vec<u32>, _> = text.split(',').map(str::parse).collect();
    let sizes: [u32; 3] = sizes.map_err(|_| bad())?.try_into().map_err(|_| bad())?;
    if sizes.iter().all(|n| (1..1 << 20).contains(n)) { Ok(sizes) } else { Err(bad()) }
}

/// A stream that is the output of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromCommand {
    /// Name of the stream.
    pub name: String,
    /// The command.
    pub command: String,
}

/// Reads `NAME=CMD`.
pub fn from_command(text: &str) -> Result<FromCommand, String> {
    match text.split_once('=') {
        // `mysqldump --opt=x` begins with no name.
        Some((name, command)) if !name.is_empty() && !name.contains([' ', '/', '\t']) && !command.trim().is_empty() => {
            Ok(FromCommand { name: name.to_owned(), command: command.to_owned() })
        }
        _ => Err("write NAME=CMD, such as shop.sql='pg_dump shop'; NAME has no space and no slash".to_owned()),
    }
}

/// Which moment of a day is meant by the day alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayMeans {
    /// Its first: the time that something stands for.
    Start,
    /// Its last: `--at DAY` includes the backups of that day.
    End,
}

/// Reads a time: RFC 3339, `YYYY-MM-DD`, or `YYYY-MM-DD HH:MM[:SS]` in the zone `tz`.
pub fn time(text: &str, day: DayMeans, tz: &TimeZone) -> Result<i64, String> {
    let text = text.trim();
    let bad = || format!("invalid time {text:?} (examples: 2026-11-03, \"2026-11-03 04:30\", 2026-11-03T04:30:00Z)");
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

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::cli::time::rfc3339;

    fn zurich() -> TimeZone {
        // A fixed rule, so that the test needs no time zone database.
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone by POSIX")
    }

    fn read(text: &str, day: DayMeans) -> Option<String> {
        time(text, day, &zurich()).ok().and_then(rfc3339)
    }

    #[test]
    fn spans_are_read_and_what_is_none_is_an_error() {
        let same = |text: &str, is: Span| assert_eq!(span(text).map(|s| s.fieldwise()), Ok(is.fieldwise()));
        same("15d", 15.days());
        same("1y6mo", 1.year().months(6));
        // On one line with `prune --grace 6m`, where it means minutes.
        assert!(span("6m").is_err_and(|e| e.contains("`mo`")));
        same("2w36h", 2.weeks().hours(36));
        for bad in ["", "15", "d", "15x", "1d1y", "1d1d", "-1d", "99999999999999999999d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn how_much_may_stay_unused_is_a_part_or_bytes() {
        assert_eq!(max_unused("5%"), Ok(MaxUnused::Part(0.05)));
        assert_eq!(max_unused("0"), Ok(MaxUnused::Bytes(0)));
        assert_eq!(max_unused("2GiB"), Ok(MaxUnused::Bytes(2 << 30)));
        assert_eq!(max_unused("unlimited"), Ok(MaxUnused::Unlimited));
        for bad in ["", "%", "-1%", "100%", "x", "NaN%"] {
            assert!(max_unused(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wait_is_read_and_what_is_none_is_an_error() {
        assert_eq!(duration_ms("0s"), Ok(0));
        assert_eq!(duration_ms("90m"), Ok(90 * 60_000));
        assert_eq!(duration_ms("7d"), Ok(7 * 24 * 3_600_000));
        for bad in ["", "7", "x", "-1h", "1 fortnight"] {
            assert!(duration_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_is_a_share_or_bytes_or_a_group() {
        assert_eq!(part("5%"), Ok(Part::Share(0.05)));
        assert_eq!(part("2GiB"), Ok(Part::Bytes(2 << 30)));
        assert_eq!(part("3/7"), Ok(Part::Group { n: 3, of: 7 }));
        for bad in ["", "0", "0%", "101%", "0/7", "8/7", "a/b", "x"] {
            assert!(part(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("100K"), Ok(100 << 10));
        assert_eq!(size("1.5GiB"), Ok(3 << 29));
        assert_eq!(size("2 mb"), Ok(2 << 20));
        for bad in ["", "K", "-1", "1x", "nan", "1e40"] {
            assert!(size(bad).is_err(), "{bad}");
        }
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
    fn a_command_without_a_name_is_refused() {
        let parse = |text| from_command(text).map(|f| (f.name, f.command));
        assert_eq!(parse("a.sql=x --y=z"), Ok(("a.sql".to_owned(), "x --y=z".to_owned())));
        for bad in ["pg_dump x", "mysqldump --opt=x", "=x", "a=", "a/b=x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_has_a_unit() {
        assert_eq!(rate("512K"), Ok(512 << 10));
        assert_eq!(rate("1.5 MiB"), Ok(3 << 19));
        assert!(rate("500").unwrap_err().contains("write K for KiB"));
        assert!(rate("12b").unwrap_err().contains("least"));
        assert!(rate("fast").unwrap_err().contains("expected a size"));
    }
}
