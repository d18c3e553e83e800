//! A slow and obvious forget: a calendar that counts days one by one, and rules that look at one snapshot after another.

use strongroom::format::record::Outcome;
use strongroom::ops::forget::policy::{Candidate, Period};
use strongroom::primitives::ids::SnapshotId;

const DAY_MS: i64 = 86_400_000;

/// Further ahead than this is the future.
const FUTURE_MS: i64 = 600_000;

/// What a clock and a calendar on the wall show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Face {
    /// Days since 1 January 1970.
    day: i64,
    ms_of_day: i64,
    /// By how much the clock is ahead of UTC, in seconds.
    offset_s: i64,
}

/// A span of the calendar; hours are those of a stop watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Length {
    pub years: i64,
    pub months: i64,
    pub weeks: i64,
    pub days: i64,
    pub hours: i64,
}

/// A keep rule.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    Last(u32),
    Every(Period, u32),
    Within(Length),
    EveryWithin(Period, Length),
    Tags(&'static [&'static str]),
}

/// What the wall shows at a moment.
pub(crate) type Wall<'a> = &'a dyn Fn(i64) -> Face;

fn days_in_year(year: i64) -> i64 {
    if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => days_in_year(year) - 337,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of the month; the days are counted off year by year and month by month.
fn date(mut day: i64) -> (i64, i64, i64) {
    let (mut year, mut month) = (1970, 1);
    while day < 0 {
        year -= 1;
        day += days_in_year(year);
    }
    while day >= days_in_year(year) {
        day -= days_in_year(year);
        year += 1;
    }
    while day >= days_in_month(year, month) {
        day -= days_in_month(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

/// The day of a date: tried one after the other.
fn day_of(wanted: (i64, i64, i64)) -> i64 {
    let start = (wanted.0 - 1970) * 365 + (wanted.1 - 1) * 28;
    (start..).find(|day| date(*day) == wanted).expect("it comes")
}

impl Face {
    /// What is shown at a moment by a clock that is so far ahead of UTC.
    pub(crate) fn of(at_ms: i64, offset_s: i64) -> Self {
        let local_ms = at_ms + offset_s * 1000;
        Self { day: local_ms.div_euclid(DAY_MS), ms_of_day: local_ms.rem_euclid(DAY_MS), offset_s }
    }

    /// What the period is called.
    fn label(self, period: Period) -> String {
        let (year, month, day) = date(self.day);
        match period {
            // An hour that comes twice is two.
            Period::Hourly => {
                format!("{year}-{month}-{day} {} ahead by {}", self.ms_of_day / (DAY_MS / 24), self.offset_s)
            }
            Period::Daily => format!("{year}-{month}-{day}"),
            // A week is called after its Monday; 1 January 1970 was a Thursday.
            Period::Weekly => format!("Monday {}", self.day - (self.day + 3).rem_euclid(7)),
            Period::Monthly => format!("{year}-{month}"),
            Period::Quarterly => match month {
                1..=3 => format!("{year} winter"),
                4..=6 => format!("{year} spring"),
                7..=9 => format!("{year} summer"),
                _ => format!("{year} autumn"),
            },
            Period::Yearly => format!("{year}"),
        }
    }

    /// The same time of day, so many years, months and days earlier; the 31st becomes the last of a shorter month.
    fn earlier(self, length: Length) -> Self {
        let (mut year, mut month, mut day) = date(self.day);
        year -= length.years;
        for _ in 0..length.months {
            (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
        }
        day = day.min(days_in_month(year, month));
        Self { day: day_of((year, month, day)) - 7 * length.weeks - length.days, ..self }
    }
}

/// The moment so long before another.
fn before(at_ms: i64, length: Length, wall: Wall) -> i64 {
    let hours_ms = length.hours * (DAY_MS / 24);
    if (Length { hours: 0, ..length }) == Length::default() {
        return at_ms - hours_ms;
    }
    let face = wall(at_ms).earlier(length);
    // As if the wall were in Greenwich; the true moment is within a day or two.
    let greenwich_ms = face.day * DAY_MS + face.ms_of_day;
    let mut offsets: Vec<i64> = (-60..60).map(|hour| wall(greenwich_ms + hour * (DAY_MS / 24)).offset_s).collect();
    // The one that was ahead first is the earlier moment.
    let first = offsets[0];
    offsets.sort_unstable_by_key(|offset| -offset);
    let moment = |offset: &i64| greenwich_ms - offset * 1000;
    let shows = |at: &i64| (wall(*at).day, wall(*at).ms_of_day) == (face.day, face.ms_of_day);
    // A time that the clocks skipped is read on the clock that was not changed yet.
    let at_ms = offsets.iter().map(moment).find(shows).unwrap_or(greenwich_ms - first * 1000);
    at_ms - hours_ms
}

fn is_successful(c: &Candidate) -> bool {
    c.outcome == Outcome::Complete || c.outcome == Outcome::Warnings
}

/// Whether a snapshot comes after another in time.
fn is_newer(a: &Candidate, b: &Candidate) -> bool {
    (a.time_ms, a.id) > (b.time_ms, b.id)
}

/// How many of the group are successful and newer than this one, and let through by `of_kind`.
fn newer(group: &[&Candidate], than: &Candidate, of_kind: &dyn Fn(&Candidate) -> bool) -> usize {
    group.iter().filter(|c| is_successful(c) && is_newer(c, than) && of_kind(c)).count()
}

fn rule_keeps(group: &[&Candidate], c: &Candidate, rule: &Rule, wall: Wall) -> bool {
    let any = |_: &Candidate| true;
    let label = |c: &Candidate, period| wall(c.time_ms).label(period);
    let newest = || group.iter().filter(|c| is_successful(c)).map(|c| c.time_ms).max();
    let young = |length| newest().is_some_and(|newest_ms| c.time_ms >= before(newest_ms, length, wall));
    let first_of = |period| newer(group, c, &|other| label(other, period) == label(c, period)) == 0;
    match rule {
        Rule::Tags(tags) => tags.iter().all(|tag| c.tags.iter().any(|t| t == tag)),
        _ if !is_successful(c) => false,
        Rule::Last(count) => newer(group, c, &any) < *count as usize,
        Rule::Within(length) => young(*length),
        Rule::EveryWithin(period, length) => young(*length) && first_of(*period),
        Rule::Every(period, count) => {
            let later = group.iter().filter(|other| is_successful(other) && is_newer(other, c));
            let mut periods: Vec<String> = later.map(|other| label(other, *period)).collect();
            periods.sort();
            periods.dedup();
            first_of(*period) && periods.len() < *count as usize
        }
    }
}

/// Whether a snapshot stays whatever the policy is; `present` are those that are not of the future.
fn never_goes(present: &[&Candidate], c: &Candidate) -> bool {
    c.held || newer(present, c, &|_| true) == 0
}

fn stays(group: &[Candidate], now_ms: i64, by_policy: &dyn Fn(&[&Candidate], &Candidate) -> bool) -> Vec<SnapshotId> {
    let of_future = |c: &Candidate| c.time_ms > now_ms + FUTURE_MS;
    let present: Vec<&Candidate> = group.iter().filter(|c| !of_future(c)).collect();
    let stays = |c: &&Candidate| of_future(c) || never_goes(&present, c) || by_policy(&present, c);
    group.iter().filter(stays).map(|c| c.id).collect()
}

/// What the rules keep.
pub(crate) fn kept(group: &[Candidate], rules: &[Rule], now_ms: i64, wall: Wall) -> Vec<SnapshotId> {
    stays(group, now_ms, &|present, c| rules.iter().any(|rule| rule_keeps(present, c, rule, wall)))
}

/// What has not expired.
pub(crate) fn unexpired(
    group: &[Candidate],
    after: Length,
    (min, max): (u32, Option<u32>),
    now_ms: i64,
    wall: Wall,
) -> Vec<SnapshotId> {
    let since_ms = before(now_ms, after, wall);
    stays(group, now_ms, &|present, c| {
        let (young, rank) = (c.time_ms >= since_ms, newer(present, c, &|_| true));
        if !is_successful(c) {
            return young;
        }
        max.is_none_or(|max| rank < max as usize) && (young || rank < min as usize)
    })
}
