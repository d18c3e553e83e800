//! Keep rules against a slow oracle that knows nothing of calendars but the offset of a zone at each moment.
//!
//! The oracle counts days one by one, finds the start of a span by trying every offset, and looks at one snapshot after
//! the other. It shares no code with the policy, and none with the calendar of the library that the policy uses.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use strongroom::format::record::Outcome;
use strongroom::ops::forget::policy::{Candidate, Keep, Period, Policy, decide};
use strongroom::primitives::ids::SnapshotId;

use crate::oracle::{Face, Length, Rule};

const HOUR_MS: i64 = 3_600_000;

/// Zones, and moments around which their clocks were changed (or might have been).
const ZONES: [(&str, &[&str]); 12] = [
    ("UTC", &["2026-12-31T23:00:00Z", "2024-02-29T12:00:00Z"]),
    ("Europe/Berlin", &["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2020-12-31T22:30:00Z"]),
    // Midnight itself is skipped, and comes twice.
    ("America/Sao_Paulo", &["2018-11-04T03:00:00Z", "2018-02-18T02:00:00Z"]),
    // A quarter of an hour off; since 1986, by a jump of a quarter of an hour.
    ("Asia/Kathmandu", &["1985-12-31T18:30:00Z", "2026-06-30T18:15:00Z"]),
    // Half an hour of summer.
    ("Australia/Lord_Howe", &["2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z"]),
    // 30 December 2011 never was.
    ("Pacific/Apia", &["2011-12-30T10:00:00Z", "2012-03-31T14:00:00Z"]),
    ("America/St_Johns", &["2006-10-29T02:31:00Z", "2026-03-08T05:30:00Z"]),
    ("Asia/Kolkata", &["2026-03-31T18:30:00Z"]),
    // Two hours of summer.
    ("Antarctica/Troll", &["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"]),
    // Winter is the exception, during Ramadan.
    ("Africa/Casablanca", &["2026-02-15T02:00:00Z", "2026-03-22T02:00:00Z"]),
    ("America/Caracas", &["2007-12-09T07:00:00Z", "2016-05-01T07:00:00Z"]),
    ("Pacific/Kiritimati", &["1994-12-31T10:00:00Z", "2026-12-31T10:00:00Z"]),
];

/// A fixed sequence of numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as i64).rem_euclid(end)
    }

    fn one_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }

    /// Snapshots around a moment: of an hour or of many years, some not successful, held, tagged or of the future.
    fn group(&mut self, centre_ms: i64, plain: bool) -> Vec<Candidate> {
        let spread_ms = [6, 80, 1_000, 30_000, 90_000][self.below(5) as usize] * HOUR_MS;
        let steps_ms = [1, 60_000, HOUR_MS / 4][self.below(3) as usize];
        let count = self.below(30) + 1;
        let candidate = |n: i64| {
            let time_ms = centre_ms + (self.below(spread_ms) - spread_ms / 2) / steps_ms * steps_ms;
            let outcomes = [Outcome::Warnings, Outcome::Partial, Outcome::Failed, Outcome::Crashed];
            let outcome = if plain { 9 } else { self.below(10) as usize };
            let tags = ["a", "b"].into_iter().filter(|_| !plain && self.one_in(3)).map(str::to_owned).collect();
            Candidate {
                id: SnapshotId([n as u8 * 7; SnapshotId::LEN]),
                others: vec![],
                time_ms,
                outcome: outcomes.get(outcome).copied().unwrap_or(Outcome::Complete),
                tags,
                held: !plain && self.one_in(12),
                damaged: false,
            }
        };
        (0..count).map(candidate).collect()
    }

    fn length(&mut self) -> Length {
        let mut part = |most: i64| if self.one_in(3) { self.below(most) } else { 0 };
        let length = Length { years: part(3), months: part(14), weeks: part(5), days: part(40), hours: part(80) };
        if length == Length::default() { Length { days: 3, ..length } } else { length }
    }

    fn rule(&mut self) -> Rule {
        let (period, count) = (Period::ALL[self.below(6) as usize], self.below(7) as u32 + 1);
        match self.below(8) {
            0 => Rule::Last(count),
            1 => Rule::Within(self.length()),
            2 | 3 => Rule::EveryWithin(period, self.length()),
            4 => Rule::Tags([&["a"][..], &["b"], &["a", "b"]][self.below(3) as usize]),
            _ => Rule::Every(period, count),
        }
    }
}

fn span(length: Length) -> Span {
    let Length { years, months, weeks, days, hours } = length;
    Span::new().years(years).months(months).weeks(weeks).days(days).hours(hours)
}

fn keep(rule: &Rule) -> Keep {
    match rule {
        Rule::Last(count) => Keep::Last(*count),
        Rule::Every(period, count) => Keep::Every(*period, *count),
        Rule::Within(length) => Keep::Within(span(*length)),
        Rule::EveryWithin(period, length) => Keep::EveryWithin(*period, span(*length)),
        Rule::Tags(tags) => Keep::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect()),
    }
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).expect("the time zone database is installed (tzdata)")
}

fn offset_s(zone: &TimeZone, at_ms: i64) -> i64 {
    let at = Timestamp::from_millisecond(at_ms).expect("a time of this age");
    i64::from(zone.to_offset(at).seconds())
}

/// What the policy keeps, in the order of the group.
fn kept(group: &[Candidate], policy: &Policy, now_ms: i64, zone: &TimeZone) -> Vec<SnapshotId> {
    let decisions = decide(group, policy, now_ms, zone).expect("the policy makes sense");
    assert_eq!(decisions.len(), group.len());
    let stays = |c: &&Candidate| decisions.iter().any(|d| d.id == c.id && d.keep);
    group.iter().filter(stays).map(|c| c.id).collect()
}

/// Calls `check` with groups around the changes of each zone's clock.
fn in_all_zones(seed: u64, plain: bool, mut check: impl FnMut(&str, &TimeZone, &[Candidate], i64, &mut Numbers)) {
    let mut numbers = Numbers(seed);
    for (name, moments) in ZONES {
        let zone = zone(name);
        for round in 0..80 {
            let centre: Timestamp = moments[round % moments.len()].parse().expect("a time");
            let group = numbers.group(centre.as_millisecond(), plain);
            let newest_ms = group.iter().map(|c| c.time_ms).max().expect("it has one");
            // Now is a little later; or some of them stand for a time to come.
            let now_ms = if plain || numbers.one_in(2) { newest_ms + 1 } else { centre.as_millisecond() };
            check(name, &zone, &group, now_ms, &mut numbers);
        }
    }
}

/// Hours were those of UTC, and others at offsets such as +05:45. Each rule alone, on successful snapshots only.
#[test]
fn each_keep_rule_is_that_of_a_wall_clock_in_any_zone() {
    in_all_zones(11, true, |name, zone, group, now_ms, numbers| {
        let face = |at_ms| Face::of(at_ms, offset_s(zone, at_ms));
        let mut rules = vec![Rule::Last(numbers.below(9) as u32 + 1), Rule::Within(numbers.length())];
        for period in Period::ALL {
            rules.push(Rule::Every(period, numbers.below(7) as u32 + 1));
            rules.push(Rule::EveryWithin(period, numbers.length()));
        }
        for rule in rules {
            let slowly = crate::oracle::kept(group, std::slice::from_ref(&rule), now_ms, &face);
            let policy = Policy::Keep(vec![keep(&rule)]);
            assert_eq!(kept(group, &policy, now_ms, zone), slowly, "{name}, {rule:?}, {group:#?}");
        }
    });
}

/// Several rules, and snapshots that are partial, failed, held, tagged, or of a time to come.
#[test]
fn rules_together_keep_what_each_keeps_and_what_never_goes() {
    in_all_zones(12, false, |name, zone, group, now_ms, numbers| {
        let face = |at_ms| Face::of(at_ms, offset_s(zone, at_ms));
        let rules: Vec<Rule> = (0..numbers.below(4) + 1).map(|_| numbers.rule()).collect();
        let slowly = crate::oracle::kept(group, &rules, now_ms, &face);
        let policy = Policy::Keep(rules.iter().map(keep).collect());
        assert_eq!(kept(group, &policy, now_ms, zone), slowly, "{name}, {rules:?}, now {now_ms}, {group:#?}");
    });
}

/// DH-7: expiry counts back from now, by the same wall clock.
#[test]
fn expiry_is_that_of_a_wall_clock_in_any_zone() {
    in_all_zones(13, false, |name, zone, group, now_ms, numbers| {
        let face = |at_ms| Face::of(at_ms, offset_s(zone, at_ms));
        let (after, min) = (numbers.length(), numbers.below(4) as u32);
        let max = numbers.one_in(2).then(|| min + numbers.below(9) as u32);
        let slowly = crate::oracle::unexpired(group, after, (min, max), now_ms, &face);
        let policy = Policy::Expire { after: Some(span(after)), min_count: min, max_count: max };
        assert_eq!(
            kept(group, &policy, now_ms, zone),
            slowly,
            "{name}, {after:?} {min} {max:?}, now {now_ms}, {group:#?}"
        );
    });
}
