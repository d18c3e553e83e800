//! Which snapshots of one group go: a pure function of their times and states, the policy, and the time.
//!
//! Two manners, which are not mixed:
//!
//! * *keep* rules, as restic and borg have them: what no rule keeps goes;
//! * *expiry*, as Elasticsearch and OpenSearch have it: what is older than `expire_after` goes unless it is among the
//!   newest `min_count` successful ones; what is beyond the newest `max_count` successful ones goes at any age.
//!
//! Only *successful* snapshots (complete, or with warnings) fill a rule's count. A partial one stays until a successful
//! one is newer than it: until then it may be all there is. One of which data is lost (*damaged*) fills no count either;
//! it stays if the rule would keep it were it whole, because the rest of it can be restored, and what is lost may be found
//! again. The newest successful one of a group, and whatever is newer, never goes by policy. Held snapshots never go. A snapshot that stands for a time to come stays, and counts for
//! nothing: it is never the newest, or one wrong clock would push every good night out.

use std::collections::BTreeSet;
use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use crate::format::record::Outcome;
use crate::primitives::ids::SnapshotId;
use crate::repository::snapshots::FUTURE_MS;

/// A calendar period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// Hours of the clock.
    Hourly,
    /// Days.
    Daily,
    /// Weeks, Monday to Sunday (ISO 8601).
    Weekly,
    /// Months.
    Monthly,
    /// Quarters of a year.
    Quarterly,
    /// Years.
    Yearly,
}

impl Period {
    /// All of them, shortest first.
    pub const ALL: [Period; 6] =
        [Period::Hourly, Period::Daily, Period::Weekly, Period::Monthly, Period::Quarterly, Period::Yearly];

    /// Numbers that are equal for two moments of one period, and differ for others.
    fn of(self, at: &Zoned) -> (i64, i64) {
        let (date, year) = (at.date(), i64::from(at.year()));
        match self {
            // As a clock on the wall shows it; an hour that comes twice is two.
            Period::Hourly => {
                let hour = (year * 366 + i64::from(date.day_of_year())) * 24 + i64::from(at.hour());
                (hour, i64::from(at.offset().seconds()))
            }
            Period::Daily => (year, i64::from(date.day_of_year())),
            Period::Weekly => {
                let week = date.iso_week_date();
                (i64::from(week.year()), i64::from(week.week()))
            }
            Period::Monthly => (year, i64::from(date.month())),
            Period::Quarterly => (year, i64::from((date.month() - 1) / 3)),
            Period::Yearly => (year, 0),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Period::Hourly => "hourly",
            Period::Daily => "daily",
            Period::Weekly => "weekly",
            Period::Monthly => "monthly",
            Period::Quarterly => "quarterly",
            Period::Yearly => "yearly",
        })
    }
}

/// One rule by which snapshots stay.
#[derive(Debug, Clone)]
pub enum Keep {
    /// The newest so many.
    Last(u32),
    /// The newest of each of so many periods that have any.
    Every(Period, u32),
    /// All that are no older than this before the group's newest.
    Within(Span),
    /// The newest of each period, as far back as this before the group's newest.
    EveryWithin(Period, Span),
    /// The newest of each interval of this many milliseconds, as far back as this before the group's newest.
    Interval(i64, Span),
    /// Those with all of these tags.
    Tags(Vec<String>),
    /// Those whose id begins so.
    Id(String),
}

/// What goes and what stays.
#[derive(Debug, Clone)]
pub enum Policy {
    /// Stays what any of these rules keeps.
    Keep(Vec<Keep>),
    /// Goes what is old or too much.
    Expire {
        /// Older than this goes.
        after: Option<Span>,
        /// So many of the newest successful ones stay however old they are; at least one does.
        min_count: u32,
        /// Successful ones beyond the newest so many go however young they are.
        max_count: Option<u32>,
    },
}

/// A snapshot, as far as a policy looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: SnapshotId,
    /// Other snapshots that stay or go with it: the rest of its set.
    pub others: Vec<SnapshotId>,
    /// The time that counts, in milliseconds since the epoch.
    pub time_ms: i64,
    /// How complete it is.
    pub outcome: Outcome,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it is held.
    pub held: bool,
    /// Whether data of it is lost.
    pub damaged: bool,
}

impl Candidate {
    /// Whether all of it was saved, and is still there.
    fn successful(&self) -> bool {
        self.was_successful() && !self.damaged
    }

    /// Whether all of it was saved.
    fn was_successful(&self) -> bool {
        matches!(self.outcome, Outcome::Complete | Outcome::Warnings)
    }
}

/// Which candidates fill the counts of rules.
type Counts = fn(&Candidate) -> bool;

/// What becomes of one snapshot, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: SnapshotId,
    /// Whether it stays.
    pub keep: bool,
    /// Each reason in a few words.
    pub reasons: Vec<String>,
}

/// The policy would mean nothing, or everything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// No rule at all, or none that keeps anything.
    #[error("the policy would keep nothing")]
    Empty,
    /// More is to be kept than may be.
    #[error("min-count {min} is more than max-count {max}")]
    Counts {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A time beyond the calendar.
    #[error("the time {0} ms, or a span before it, lies outside of the calendar")]
    Calendar(i64),
}

/// Decides for one group, whatever its order; the decisions come newest first.
pub fn decide(
    group: &[Candidate],
    policy: &Policy,
    now_ms: i64,
    zone: &TimeZone,
) -> Result<Vec<Decision>, PolicyError> {
    check(policy)?;
    let mut sorted: Vec<&Candidate> = group.iter().collect();
    sorted.sort_by_key(|c| std::cmp::Reverse((c.time_ms, c.id)));
    let to_come = sorted.iter().take_while(|c| c.time_ms > now_ms.saturating_add(FUTURE_MS)).count();
    let future: Vec<Decision> = sorted.drain(..to_come).map(of_the_future).collect();
    let (mut reasons, mut why_not) = by_policy(&sorted, policy, now_ms, zone, Candidate::successful)?;
    if sorted.iter().any(|c| c.damaged) {
        // As if they were not; the counts of the others are filled without them.
        let (as_whole, why_not_whole) = by_policy(&sorted, policy, now_ms, zone, Candidate::was_successful)?;
        for (at, of_damaged) in as_whole.into_iter().enumerate().filter(|(at, _)| sorted[*at].damaged) {
            (reasons[at], why_not[at]) = (of_damaged, why_not_whole[at]);
        }
    }
    // Whatever the rules say: the last good one, and what came after it.
    let newest = sorted.iter().position(|c| c.successful()).unwrap_or(sorted.len());
    for (at, candidate) in sorted.iter().enumerate() {
        if at < newest {
            reasons[at].push("nothing newer is successful".to_owned());
        } else if at == newest {
            reasons[at].push("newest of its group".to_owned());
        }
        if candidate.held {
            reasons[at].push("held".to_owned());
        }
        if candidate.damaged && !reasons[at].is_empty() {
            reasons[at].push("damaged: it fills no count".to_owned());
        }
    }
    let decision = |((c, reasons), why_not): ((&Candidate, Vec<String>), &str)| {
        let keep = !reasons.is_empty();
        let why_not = if c.was_successful() { why_not } else { "not successful, and a newer one is" };
        Decision { id: c.id, keep, reasons: if keep { reasons } else { vec![why_not.to_owned()] } }
    };
    Ok(future.into_iter().chain(sorted.into_iter().zip(reasons).zip(why_not).map(decision)).collect())
}

/// Why the policy keeps each candidate, and why it does not if it does not.
fn by_policy(
    sorted: &[&Candidate],
    policy: &Policy,
    now_ms: i64,
    zone: &TimeZone,
    counts: Counts,
) -> Result<(Vec<Vec<String>>, Vec<&'static str>), PolicyError> {
    let mut reasons: Vec<Vec<String>> = vec![Vec::new(); sorted.len()];
    let mut why_not = vec!["no rule keeps it"; sorted.len()];
    match policy {
        Policy::Keep(rules) => {
            for rule in rules {
                keep(sorted, rule, zone, counts, &mut reasons)?;
            }
        }
        Policy::Expire { after, min_count, max_count } => {
            let since = after.as_ref().map(|span| before(now_ms, span, zone)).transpose()?;
            expire(sorted, since, (*min_count, *max_count), counts, &mut reasons, &mut why_not);
        }
    }
    Ok((reasons, why_not))
}

fn of_the_future(candidate: &Candidate) -> Decision {
    Decision { id: candidate.id, keep: true, reasons: vec!["its time is in the future".to_owned()] }
}

fn check(policy: &Policy) -> Result<(), PolicyError> {
    match policy {
        Policy::Keep(rules) if rules.iter().all(keeps_nothing) => Err(PolicyError::Empty),
        Policy::Expire { after: Some(span), max_count: None, .. } if span.is_zero() => Err(PolicyError::Empty),
        Policy::Expire { after: None, max_count: None, .. } => Err(PolicyError::Empty),
        Policy::Expire { min_count: min, max_count: Some(max), .. } if min > max => {
            Err(PolicyError::Counts { min: *min, max: *max })
        }
        _ => Ok(()),
    }
}

/// Whether a rule keeps nothing whatever there is: an empty variable in a script, most likely.
fn keeps_nothing(rule: &Keep) -> bool {
    match rule {
        Keep::Last(count) | Keep::Every(_, count) => *count == 0,
        Keep::Within(span) | Keep::EveryWithin(_, span) | Keep::Interval(_, span) => span.is_zero(),
        Keep::Tags(tags) => tags.is_empty(),
        Keep::Id(id) => id.is_empty(),
    }
}

fn zoned(time_ms: i64, zone: &TimeZone) -> Result<Zoned, PolicyError> {
    let at = Timestamp::from_millisecond(time_ms).map_err(|_| PolicyError::Calendar(time_ms))?;
    Ok(at.to_zoned(zone.clone()))
}

/// The moment so long before `time_ms`, by the calendar.
fn before(time_ms: i64, span: &Span, zone: &TimeZone) -> Result<i64, PolicyError> {
    let at = zoned(time_ms, zone)?.checked_sub(*span).map_err(|_| PolicyError::Calendar(time_ms))?;
    Ok(at.timestamp().as_millisecond())
}

fn keep(
    sorted: &[&Candidate],
    rule: &Keep,
    zone: &TimeZone,
    counts: Counts,
    reasons: &mut [Vec<String>],
) -> Result<(), PolicyError> {
    let successful = || sorted.iter().enumerate().filter(|(_, c)| counts(c));
    let newest_ms = successful().next().map(|(_, c)| c.time_ms);
    let since = |span: &Span| newest_ms.map(|ms| before(ms, span, zone)).transpose();
    match rule {
        Keep::Last(count) => {
            successful().take(*count as usize).for_each(|(at, _)| reasons[at].push("last".to_owned()));
        }
        Keep::Every(period, count) => {
            let mut seen = BTreeSet::new();
            for (at, candidate) in successful() {
                if seen.len() < *count as usize && seen.insert(period.of(&zoned(candidate.time_ms, zone)?)) {
                    reasons[at].push(period.to_string());
                }
            }
        }
        Keep::Within(span) => {
            let Some(since) = since(span)? else { return Ok(()) };
            let young = successful().filter(|(_, c)| c.time_ms >= since);
            young.for_each(|(at, _)| reasons[at].push("within".to_owned()));
        }
        Keep::EveryWithin(period, span) => {
            let Some(since) = since(span)? else { return Ok(()) };
            let mut seen = BTreeSet::new();
            for (at, candidate) in successful().filter(|(_, c)| c.time_ms >= since) {
                if seen.insert(period.of(&zoned(candidate.time_ms, zone)?)) {
                    reasons[at].push(format!("{period} within"));
                }
            }
        }
        Keep::Interval(every_ms, span) => {
            let Some(since) = since(span)? else { return Ok(()) };
            let mut seen = BTreeSet::new();
            for (at, candidate) in successful().filter(|(_, c)| c.time_ms >= since) {
                if seen.insert(interval(&zoned(candidate.time_ms, zone)?, *every_ms)) {
                    reasons[at].push("interval".to_owned());
                }
            }
        }
        Keep::Tags(tags) => {
            let all = |c: &&Candidate| tags.iter().all(|t| c.tags.contains(t));
            let tagged = sorted.iter().enumerate().filter(|(_, c)| all(c));
            tagged.for_each(|(at, _)| reasons[at].push(format!("tag {}", tags.join(","))));
        }
        Keep::Id(prefix) => {
            let begins = |id: &SnapshotId| id.to_string().starts_with(prefix);
            let named = sorted.iter().enumerate().filter(|(_, c)| begins(&c.id) || c.others.iter().any(begins));
            named.for_each(|(at, _)| reasons[at].push("id".to_owned()));
        }
    }
    Ok(())
}

/// Numbers that are equal for two moments of one interval. Intervals are counted from midnight, as a clock on the wall
/// shows it; if they are shorter than a day, an hour that comes twice is two.
fn interval(at: &Zoned, every_ms: i64) -> (i64, i64) {
    const DAY_MS: i64 = 86_400_000;
    let offset_s = i64::from(at.offset().seconds());
    let local_ms = at.timestamp().as_millisecond() + offset_s * 1000;
    (local_ms.div_euclid(every_ms.max(1)), if every_ms < DAY_MS { offset_s } else { 0 })
}

/// What is older than `since` goes, and what is beyond the newest `max_count`; `why_not` says which of both.
fn expire(
    sorted: &[&Candidate],
    since: Option<i64>,
    (min_count, max_count): (u32, Option<u32>),
    counts: Counts,
    reasons: &mut [Vec<String>],
    why_not: &mut [&str],
) {
    let mut rank = 0;
    for (at, candidate) in sorted.iter().enumerate() {
        let young = since.is_none_or(|since| candidate.time_ms >= since);
        why_not[at] = "expired";
        if !counts(candidate) {
            // They fill no count, and go with age alone.
            if young {
                reasons[at].push("not expired".to_owned());
            }
            continue;
        }
        rank += 1;
        if max_count.is_some_and(|max| rank > max) {
            why_not[at] = "beyond max-count";
        } else if young {
            reasons[at].push("not expired".to_owned());
        } else if rank <= min_count {
            reasons[at].push("min-count".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;
    use jiff::{Span, ToSpan};

    use super::*;

    const UTC: TimeZone = TimeZone::UTC;

    fn id(n: usize) -> SnapshotId {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&(n as u64).to_be_bytes());
        SnapshotId(out)
    }

    fn at(text: jiff::civil::DateTime) -> i64 {
        text.to_zoned(UTC).unwrap().timestamp().as_millisecond()
    }

    fn candidate(n: usize, time_ms: i64) -> Candidate {
        let (outcome, held, damaged) = (Outcome::Complete, false, false);
        Candidate { id: id(n), others: vec![], time_ms, outcome, tags: vec![], held, damaged }
    }

    /// One a night, number 0 the oldest, at two in the morning from 1 January 2026 on.
    fn nights(count: usize) -> Vec<Candidate> {
        (0..count).map(|n| candidate(n, at(datetime(2026, 1, 1, 2, 0, 0, 0)) + n as i64 * 86_400_000)).collect()
    }

    fn kept(group: &[Candidate], policy: &Policy, now_ms: i64) -> Vec<u64> {
        let decisions = decide(group, policy, now_ms, &UTC).unwrap();
        let number = |id: SnapshotId| u64::from_be_bytes(id.0[..8].try_into().unwrap());
        let mut kept: Vec<u64> = decisions.iter().filter(|d| d.keep).map(|d| number(d.id)).collect();
        kept.sort();
        kept
    }

    fn keeps(group: &[Candidate], rules: Vec<Keep>) -> Vec<u64> {
        kept(group, &Policy::Keep(rules), at(datetime(2027, 1, 1, 0, 0, 0, 0)))
    }

    #[test]
    fn periods_keep_the_newest_of_each() {
        let group = nights(70);
        assert_eq!(keeps(&group, vec![Keep::Last(3)]), [67, 68, 69]);
        assert_eq!(keeps(&group, vec![Keep::Every(Period::Daily, 2)]), [68, 69]);
        // 11 March 2026 is a Wednesday: the Sundays before it are 8 March and 1 March.
        assert_eq!(keeps(&group, vec![Keep::Every(Period::Weekly, 3)]), [59, 66, 69]);
        assert_eq!(keeps(&group, vec![Keep::Every(Period::Monthly, 12)]), [30, 58, 69]);
        assert_eq!(keeps(&group, vec![Keep::Every(Period::Quarterly, 4)]), [69]);
        let both = vec![Keep::Every(Period::Daily, 2), Keep::Every(Period::Monthly, 2)];
        assert_eq!(keeps(&group, both), [58, 68, 69]);
    }

    #[test]
    fn spans_count_from_the_newest_and_not_from_now() {
        let group = nights(70);
        assert_eq!(keeps(&group, vec![Keep::Within(2.days())]), [67, 68, 69]);
        assert_eq!(keeps(&group, vec![Keep::EveryWithin(Period::Weekly, 15.days())]), [59, 66, 69]);
        assert_eq!(keeps(&group, vec![Keep::Within(1.month())]).len(), 29);
    }

    #[test]
    fn hours_that_come_twice_are_two_and_days_are_those_of_the_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let first = datetime(2026, 10, 25, 0, 30, 0, 0).to_zoned(UTC).unwrap().timestamp().as_millisecond();
        let group = [candidate(0, first), candidate(1, first + 3_600_000)];
        let hourly = Policy::Keep(vec![Keep::Every(Period::Hourly, 9)]);
        assert!(decide(&group, &hourly, i64::MAX, &zone).unwrap().iter().all(|d| d.keep));
        // Half past eleven and half past midnight in UTC are one day in Berlin.
        let late = datetime(2026, 6, 1, 22, 30, 0, 0).to_zoned(UTC).unwrap().timestamp().as_millisecond();
        let group = [candidate(0, late), candidate(1, late + 7_200_000)];
        let daily = Policy::Keep(vec![Keep::Every(Period::Daily, 9)]);
        assert_eq!(decide(&group, &daily, i64::MAX, &zone).unwrap().iter().filter(|d| d.keep).count(), 1);
        assert_eq!(decide(&group, &daily, i64::MAX, &UTC).unwrap().iter().filter(|d| d.keep).count(), 2);
    }

    #[test]
    fn what_is_not_successful_fills_no_count_and_stays_only_while_nothing_better_is_newer() {
        let mut group = nights(6);
        group[5].outcome = Outcome::Partial;
        group[3].outcome = Outcome::Partial;
        group[2].outcome = Outcome::Warnings;
        assert_eq!(keeps(&group, vec![Keep::Last(2)]), [2, 4, 5]);
        let only_partial: Vec<Candidate> =
            nights(3).into_iter().map(|c| Candidate { outcome: Outcome::Partial, ..c }).collect();
        assert_eq!(keeps(&only_partial, vec![Keep::Last(1)]), [0, 1, 2]);
    }

    /// A pack was lost that many nights share: good nights were pushed out by damaged ones. One good night came, and the
    /// damaged ones, of which nearly all can be restored, must not go at once.
    #[test]
    fn a_damaged_one_fills_no_count_and_stays_as_if_it_were_whole() {
        let mut group = nights(6);
        (group[4].damaged, group[5].damaged) = (true, true);
        assert_eq!(keeps(&group, vec![Keep::Last(2)]), [2, 3, 4, 5]);
        (group[4].damaged, group[3].damaged, group[1].damaged) = (true, true, true);
        group[5].damaged = false;
        assert_eq!(keeps(&group, vec![Keep::Last(2)]), [2, 4, 5]);
        assert_eq!(keeps(&group, vec![Keep::Every(Period::Daily, 3)]), [0, 2, 3, 4, 5]);
        let expire = Policy::Expire { after: Some(1.day()), min_count: 2, max_count: Some(2) };
        let later = group[5].time_ms + 30 * 86_400_000;
        assert_eq!(kept(&group, &expire, later), [2, 4, 5]);
        let decisions = decide(&group, &expire, later, &UTC).unwrap();
        assert_eq!(decisions[1].reasons, ["min-count", "damaged: it fills no count"]);
        assert_eq!(decisions[2].reasons, ["beyond max-count"]);
    }

    /// A machine's clock stood in 2037, or somebody mistyped a year: `--keep-within 14d` counted from there, and all true
    /// nights went (a review of restic's PR 3416 saw it coming).
    #[test]
    fn a_snapshot_of_the_future_stays_and_counts_for_nothing() {
        let mut group = nights(11);
        let now = group[10].time_ms + 3_600_000;
        group[7].time_ms = now + 11 * 365 * 86_400_000;
        let rules = |rule| kept(&group, &Policy::Keep(vec![rule]), now);
        assert_eq!(rules(Keep::Within(3.days())), [7, 8, 9, 10]);
        assert_eq!(rules(Keep::Last(1)), [7, 10]);
        assert_eq!(rules(Keep::Every(Period::Yearly, 5)), [7, 10]);
        let expire = Policy::Expire { after: Some(2.days()), min_count: 1, max_count: None };
        assert_eq!(kept(&group, &expire, now), [7, 9, 10]);
        // Clocks differ a little.
        group[7].time_ms = now + 60_000;
        assert_eq!(kept(&group, &Policy::Keep(vec![Keep::Last(1)]), now), [7]);
    }

    /// An empty variable in a script, or a zero: all nights but one went.
    #[test]
    fn a_policy_that_keeps_nothing_is_refused() {
        let nothing = [
            vec![Keep::Last(0)],
            vec![Keep::Every(Period::Daily, 0), Keep::Within(Span::new())],
            vec![Keep::Id(String::new())],
            vec![Keep::Tags(vec![])],
        ];
        for rules in nothing {
            assert_eq!(decide(&nights(3), &Policy::Keep(rules), i64::MAX, &UTC), Err(PolicyError::Empty));
        }
        assert_eq!(keeps(&nights(3), vec![Keep::Last(0), Keep::Every(Period::Daily, 1)]), [2]);
        let expire = Policy::Expire { after: Some(Span::new()), min_count: 1, max_count: None };
        assert_eq!(decide(&nights(3), &expire, i64::MAX, &UTC), Err(PolicyError::Empty));
    }

    #[test]
    fn held_tagged_and_named_ones_stay() {
        let mut group = nights(6);
        group[0].held = true;
        group[1].tags = vec!["a".to_owned(), "b".to_owned()];
        group[2].tags = vec!["a".to_owned()];
        let rules = vec![Keep::Tags(vec!["a".to_owned(), "b".to_owned()]), Keep::Id(id(3).to_string())];
        assert_eq!(keeps(&group, rules), [0, 1, 3, 5]);
    }

    /// DH-7: as snapshot policies of Elasticsearch and OpenSearch decide.
    #[test]
    fn expiry_protects_the_least_and_cuts_at_the_most() {
        let group = nights(40);
        let now = group[39].time_ms + 1000;
        let expire = |after: Option<Span>, min_count, max_count| Policy::Expire { after, min_count, max_count };
        assert_eq!(kept(&group, &expire(Some(15.days()), 5, Some(30)), now).len(), 15);
        // Long after, all are expired: the newest five stay.
        let later = now + 365 * 86_400_000;
        assert_eq!(kept(&group, &expire(Some(15.days()), 5, Some(30)), later), [35, 36, 37, 38, 39]);
        assert_eq!(kept(&group, &expire(None, 0, Some(3)), now), [37, 38, 39]);
        // Without a least count the newest one stays all the same.
        assert_eq!(kept(&group, &expire(Some(1.day()), 0, None), later), [39]);
        // Failed and partial ones fill neither count, and go with age.
        let mut group = nights(6);
        group[4].outcome = Outcome::Partial;
        group[2].outcome = Outcome::Failed;
        let now = group[5].time_ms + 1000;
        assert_eq!(kept(&group, &expire(Some(30.days()), 0, Some(2)), now), [2, 3, 4, 5]);
        assert_eq!(kept(&group, &expire(Some(1.day()), 2, None), now), [3, 5]);
    }

    #[test]
    fn a_policy_that_would_keep_nothing_is_an_error() {
        let error = |policy| decide(&nights(3), &policy, 0, &UTC).unwrap_err();
        assert_eq!(error(Policy::Keep(vec![])), PolicyError::Empty);
        assert_eq!(error(Policy::Expire { after: None, min_count: 5, max_count: None }), PolicyError::Empty);
        let counts = Policy::Expire { after: None, min_count: 5, max_count: Some(2) };
        assert_eq!(error(counts), PolicyError::Counts { min: 5, max: 2 });
        assert_eq!(decide(&[], &Policy::Keep(vec![Keep::Last(1)]), 0, &UTC), Ok(vec![]));
    }
}
