//! When a job is due: `daily 02:00`, `mon-fri 06:15`, `weekly sat 03:00`, `every 3h`, `cron 15 */3 * * 1-6`, `manual`.
//!
//! A *slot* is a moment at which a job is due. Slots of the calendar are what a clock on the wall shows: one in an hour
//! that the clock leaves out comes an hour later, and one in an hour that comes twice comes at the first of them.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::civil::{Date, Time, Weekday};
use jiff::{SpanRelativeTo, Timestamp, ToSpan, Zoned};

/// How many days back and ahead a slot is looked for: more than from one 29 February to the next.
const DAYS_MAX: i64 = 9 * 366;

/// When a job is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// Only when somebody runs it.
    Manual,
    /// Each time that so many milliseconds have passed, counted from 1970 in UTC.
    Every(i64),
    /// At these times of some days.
    Calendar(Calendar),
}

/// Times of days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// Minutes since midnight.
    minutes: BTreeSet<u16>,
    /// Days of the week, 0 is Sunday; `None`: any.
    weekdays: Option<BTreeSet<u8>>,
    /// Days of the month; `None`: any.
    month_days: Option<BTreeSet<u8>>,
    /// Months.
    months: Option<BTreeSet<u8>>,
}

impl Calendar {
    fn holds(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset();
        let on = |set: &Option<BTreeSet<u8>>, value: i8| {
            set.as_ref().map(|set| u8::try_from(value).is_ok_and(|value| set.contains(&value)))
        };
        let day = match (on(&self.weekdays, weekday), on(&self.month_days, date.day())) {
            // As cron has it: if both are restricted, either will do.
            (Some(weekday), Some(month_day)) => weekday || month_day,
            (weekday, month_day) => weekday.unwrap_or(true) && month_day.unwrap_or(true),
        };
        day && on(&self.months, date.month()).unwrap_or(true)
    }

    /// The slots of a day, earliest first.
    fn slots(&self, date: Date, near: &Zoned) -> Vec<Zoned> {
        if !self.holds(date) {
            return Vec::new();
        }
        let time = |minute: &u16| {
            let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
            date.to_datetime(Time::new(hour, minute, 0, 0).ok()?).to_zoned(near.time_zone().clone()).ok()
        };
        let mut slots: Vec<Zoned> = self.minutes.iter().filter_map(time).collect();
        slots.sort();
        slots
    }
}

impl Schedule {
    /// The last slot that is not after `now`; in its time zone.
    pub fn latest(&self, now: &Zoned) -> Option<Zoned> {
        match self {
            Self::Manual => None,
            Self::Every(every_ms) => every(now, *every_ms, 0),
            Self::Calendar(calendar) => {
                let days = (0..DAYS_MAX).map_while(|back| now.date().checked_sub(back.days()).ok());
                days.filter_map(|date| calendar.slots(date, now).into_iter().rfind(|slot| slot <= now)).next()
            }
        }
    }

    /// The first slot after `now`; in its time zone.
    pub fn next(&self, now: &Zoned) -> Option<Zoned> {
        match self {
            Self::Manual => None,
            Self::Every(every_ms) => every(now, *every_ms, 1),
            Self::Calendar(calendar) => {
                let days = (0..DAYS_MAX).map_while(|ahead| now.date().checked_add(ahead.days()).ok());
                days.filter_map(|date| calendar.slots(date, now).into_iter().find(|slot| slot > now)).next()
            }
        }
    }
}

/// By how much the start of a job on a machine comes after its slot, in milliseconds: less than `max_ms`, each time the
/// same, and another for other machines and jobs.
pub fn jitter_ms(host: &str, job: &str, max_ms: i64) -> i64 {
    let hash = blake3::hash(format!("{host}\n{job}").as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    if max_ms > 0 { i64::from(u32::from_le_bytes([a, b, c, d])) % max_ms } else { 0 }
}

fn every(now: &Zoned, every_ms: i64, more: i64) -> Option<Zoned> {
    let slot = now.timestamp().as_millisecond().div_euclid(every_ms).checked_add(more)?.checked_mul(every_ms)?;
    Some(Timestamp::from_millisecond(slot).ok()?.to_zoned(now.time_zone().clone()))
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "invalid schedule {text:?} (examples: daily 02:00, mon-fri 06:15, weekly sat 03:00, every 3h, \
                 cron 15 */3 * * 1-6, manual)"
            )
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let any = |minutes| Calendar { minutes, weekdays: None, month_days: None, months: None };
        match words[..] {
            ["manual"] => Ok(Self::Manual),
            ["daily", time] => Ok(Self::Calendar(any(minute(time).ok_or_else(bad)?))),
            ["every", length] => {
                let span: jiff::Span = length.parse().map_err(|_| bad())?;
                let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
                let every_ms = i64::try_from(length.as_millis()).map_err(|_| bad())?;
                if every_ms >= 60_000 { Ok(Self::Every(every_ms)) } else { Err(bad()) }
            }
            ["weekly", days, time] | [days, time] => {
                let weekdays = Some(week(days).ok_or_else(bad)?);
                Ok(Self::Calendar(Calendar { weekdays, ..any(minute(time).ok_or_else(bad)?) }))
            }
            ["cron", minutes, hours, month_days, months, weekdays] => {
                let minutes = cron(minutes, 0, 59).ok_or_else(bad)?;
                let hours = cron(hours, 0, 23).ok_or_else(bad)?;
                let minutes = hours.iter().flat_map(|hour| minutes.iter().map(move |m| hour * 60 + m)).collect();
                let restricted = |field: &str, first: u16, last: u16| -> Result<Option<BTreeSet<u8>>, String> {
                    if field == "*" {
                        return Ok(None);
                    }
                    let values = cron(field, first, last).ok_or_else(bad)?;
                    // Sunday is 0 and 7.
                    Ok(Some(
                        values
                            .into_iter()
                            .filter_map(|v| u8::try_from(if last == 7 { v % 7 } else { v }).ok())
                            .collect(),
                    ))
                };
                Ok(Self::Calendar(Calendar {
                    minutes,
                    month_days: restricted(month_days, 1, 31)?,
                    months: restricted(months, 1, 12)?,
                    weekdays: restricted(weekdays, 0, 7)?,
                }))
            }
            _ => Err(bad()),
        }
    }
}

fn minute(time: &str) -> Option<BTreeSet<u16>> {
    let (hour, minute) = time.split_once(':')?;
    let is_number = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute): (u16, u16) =
        (is_number(hour).then(|| hour.parse().ok())??, is_number(minute).then(|| minute.parse().ok())??);
    (hour < 24 && minute < 60).then(|| BTreeSet::from([hour * 60 + minute]))
}

fn weekday(text: &str) -> Option<u8> {
    const DAYS: [(&str, Weekday); 7] = [
        ("sun", Weekday::Sunday),
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
    ];
    let found = DAYS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name))?;
    u8::try_from(found.1.to_sunday_zero_offset()).ok()
}

/// `sat`, `mon-fri`, `mon,wed,fri`.
fn week(text: &str) -> Option<BTreeSet<u8>> {
    let mut days = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (weekday(first)?, weekday(last)?);
        let mut day = first;
        loop {
            days.insert(day);
            if day == last {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Some(days)
}

/// A field of cron: `*`, `5`, `1-5`, `*/3`, `0-30/10`, and lists of them.
fn cron(field: &str, least: u16, most: u16) -> Option<BTreeSet<u16>> {
    let mut values = BTreeSet::new();
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, Some(1)), |(range, step)| (range, step.parse().ok()));
        let step = step.filter(|step: &usize| *step > 0)?;
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
            None => (range.parse().ok()?, if part.contains('/') { most } else { range.parse().ok()? }),
        };
        if first < least || last > most || first > last {
            return None;
        }
        values.extend((first..=last).step_by(step));
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn zurich() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone by POSIX")
    }

    fn at(text: &str) -> Zoned {
        text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zurich()).unwrap()
    }

    fn slots(schedule: &str, now: &str) -> [String; 2] {
        let (schedule, now): (Schedule, Zoned) = (schedule.parse().unwrap(), at(now));
        [schedule.latest(&now), schedule.next(&now)]
            .map(|slot| slot.map_or("-".to_owned(), |s| s.datetime().to_string()))
    }

    /// DSS-9, MYDB-9, CC-19: the schedules of the teams, each side of a moment.
    #[test]
    fn slots_are_before_and_after() {
        // 2026-12-01 is a Tuesday.
        let now = "2026-12-01 02:00";
        assert_eq!(slots("daily 02:00", now), ["2026-12-01T02:00:00", "2026-12-02T02:00:00"]);
        assert_eq!(slots("daily 02:01", now), ["2026-11-30T02:01:00", "2026-12-01T02:01:00"]);
        assert_eq!(slots("mon-fri 06:15", "2026-12-05 12:00"), ["2026-12-04T06:15:00", "2026-12-07T06:15:00"]);
        assert_eq!(slots("fri-mon 06:15", "2026-12-01 12:00"), ["2026-11-30T06:15:00", "2026-12-04T06:15:00"]);
        assert_eq!(slots("weekly sat 03:00", now), ["2026-11-28T03:00:00", "2026-12-05T03:00:00"]);
        assert_eq!(slots("every 3h", now), ["2026-12-01T01:00:00", "2026-12-01T04:00:00"]);
        assert_eq!(slots("cron 15 */3 * * 1-6", now), ["2026-12-01T00:15:00", "2026-12-01T03:15:00"]);
        assert_eq!(slots("cron 0 0 29 2 *", now), ["2024-02-29T00:00:00", "2028-02-29T00:00:00"]);
        assert_eq!(slots("cron 0 0 13 * 5", now), ["2026-11-27T00:00:00", "2026-12-04T00:00:00"]);
        assert_eq!(slots("cron 0 0 * * 7", now), ["2026-11-29T00:00:00", "2026-12-06T00:00:00"]);
        assert_eq!(slots("manual", now), ["-", "-"]);
        assert_eq!(slots("cron 0 0 31 2 *", now), ["-", "-"]);
    }

    /// The clock goes from 2 to 3 on 29 March, and from 3 back to 2 on 25 October: each day has one slot.
    #[test]
    fn each_day_has_one_slot_when_the_clock_changes() {
        assert_eq!(slots("daily 02:30", "2026-03-29 12:00"), ["2026-03-29T03:30:00", "2026-03-30T02:30:00"]);
        let schedule: Schedule = "daily 02:30".parse().unwrap();
        let (mut now, mut count) = (at("2026-10-24 12:00"), 0);
        while now < at("2026-10-26 12:00") {
            now = schedule.next(&now).unwrap();
            count += 1;
        }
        assert_eq!(count, 3);
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_examples() {
        for bad in
            ["", "daily", "daily 2:00", "daily 24:00", "xyz 02:00", "every 0h", "every", "cron 60 * * * *", "cron * *"]
        {
            assert!(bad.parse::<Schedule>().unwrap_err().contains("daily 02:00"), "{bad}");
        }
    }
}
