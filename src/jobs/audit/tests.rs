use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::*;

const HOUR: i64 = 3_600_000;

fn zone() -> TimeZone {
    TimeZone::get("America/Los_Angeles").unwrap()
}

/// A time of the wall clock in Los Angeles.
fn at(text: &str) -> i64 {
    let civil: DateTime = text.parse().unwrap();
    civil.to_zoned(zone()).unwrap().timestamp().as_millisecond()
}

fn expected(job: &str, schedule: &str) -> Expected {
    Expected {
        host: "pg1".to_owned(),
        job: job.to_owned(),
        job_type: "Daily".to_owned(),
        source: "commcare/postgresql".to_owned(),
        kind: "postgres".to_owned(),
        schedule: Some(schedule.parse().unwrap()),
        schedule_text: Some(schedule.to_owned()),
        zone: zone(),
        jitter_ms: 0,
        grace_ms: 2 * HOUR,
        timeout_ms: Some(6 * HOUR),
        since_ms: None,
    }
}

fn attempt(job: &str, job_type: &str, begun: &str, ending: Ending) -> Attempt {
    Attempt {
        host: "pg1".to_owned(),
        job: Some(job.to_owned()),
        job_type: Some(job_type.to_owned()),
        alone: false,
        source: "commcare/postgresql".to_owned(),
        begun_ms: at(begun),
        ended_ms: (ending != Ending::Running).then(|| at(begun) + HOUR),
        ending,
        error: (!ending.is_good()).then(|| "why".to_owned()),
        snapshot: None,
        bytes: 100,
        bytes_stored: 10,
    }
}

fn daily(begun: &str, ending: Ending) -> Attempt {
    attempt("commcare", "Daily", begun, ending)
}

fn state(expected: &Expected, attempts: &[Attempt], now: &str) -> (State, Level) {
    let statuses = audit(std::slice::from_ref(expected), attempts, at(now));
    (statuses[0].state, statuses[0].level)
}

/// CC-5: the check that this replaces alarmed every Sunday, because the daily job rests then and the weekly one runs.
#[test]
fn a_weekly_copy_satisfies_the_daily_job_that_rests_on_sundays() {
    let daily_job = expected("commcare", "mon-sat 00:00");
    let weekly_job = Expected { job_type: "Weekly".to_owned(), ..expected("commcare-weekly", "weekly sun 00:00") };
    // 2026-11-08 is a Sunday.
    let mut attempts = vec![daily("2026-11-07T00:00", Ending::Complete)];
    for now in ["2026-11-07T12:00", "2026-11-08T12:00", "2026-11-09T01:59"] {
        assert_eq!(state(&daily_job, &attempts, now), (State::Good, Level::Good), "{now}");
    }
    assert_eq!(state(&daily_job, &attempts, "2026-11-09T02:00"), (State::Overdue, Level::Critical));
    // For the weekly job, the copy of Saturday is older than its slot.
    assert_eq!(state(&weekly_job, &attempts, "2026-11-08T02:00"), (State::Overdue, Level::Critical));
    attempts.push(attempt("commcare-weekly", "Weekly", "2026-11-08T00:00", Ending::Complete));
    for now in ["2026-11-08T12:00", "2026-11-09T01:59", "2026-11-14T23:00", "2026-11-15T01:59"] {
        assert_eq!(state(&weekly_job, &attempts, now), (State::Good, Level::Good), "{now}");
    }
    // The daily one after it serves the weekly one too, from its own slot on.
    attempts.push(daily("2026-11-16T00:00", Ending::Complete));
    assert_eq!(state(&weekly_job, &attempts, "2026-11-16T12:00"), (State::Good, Level::Good));
}

#[test]
fn a_job_from_monday_to_friday_is_not_late_at_the_weekend() {
    let job = expected("commcare", "mon-fri 06:15");
    let attempts = [daily("2026-11-06T06:15", Ending::Complete)];
    for now in ["2026-11-06T09:00", "2026-11-07T23:00", "2026-11-08T23:00", "2026-11-09T08:14"] {
        assert_eq!(state(&job, &attempts, now), (State::Good, Level::Good), "{now}");
    }
    assert_eq!(state(&job, &attempts, "2026-11-09T08:15").0, State::Overdue);
}

/// A missed night stays missed until something is saved, also while the grace of the next one goes on.
#[test]
fn what_was_missed_stays_overdue_until_it_is_saved() {
    let job = expected("commcare", "daily 02:00");
    let mut attempts = vec![daily("2026-11-03T02:00", Ending::Complete)];
    assert_eq!(state(&job, &attempts, "2026-11-04T03:59").0, State::Good);
    assert_eq!(state(&job, &attempts, "2026-11-04T04:00").0, State::Overdue);
    assert_eq!(state(&job, &attempts, "2026-11-05T02:30").0, State::Overdue);
    // It is made up at noon.
    attempts.push(daily("2026-11-05T12:00", Ending::Warnings));
    assert_eq!(state(&job, &attempts, "2026-11-06T03:00"), (State::Warnings, Level::Warning));
    let status = &audit(&[job], &attempts, at("2026-11-06T03:00"))[0];
    assert_eq!(status.due_by_ms, Some(at("2026-11-06T04:00")));
    assert_eq!((status.success_ms, status.duration_ms), (Some(at("2026-11-05T12:00")), Some(HOUR)));
}

/// The clock goes back an hour on 2026-11-01 at 02:00: the slot at 01:30 comes once.
#[test]
fn the_end_of_daylight_saving_is_no_alarm() {
    let job = expected("commcare", "daily 01:30");
    let attempts = [daily("2026-10-31T01:30", Ending::Complete), daily("2026-11-01T01:30", Ending::Complete)];
    for now in ["2026-11-01T01:45", "2026-11-01T03:30", "2026-11-01T12:00", "2026-11-02T03:29"] {
        assert_eq!(state(&job, &attempts, now).0, State::Good, "{now}");
    }
}

#[test]
fn the_last_attempt_says_what_is_wrong_until_its_night_is_over() {
    let job = expected("commcare", "daily 02:00");
    for (ending, is) in [
        (Ending::Failed, State::Failed),
        (Ending::Partial, State::Partial),
        (Ending::Crashed, State::Crashed),
        (Ending::Running, State::Running),
    ] {
        let mut attempts = vec![daily("2026-11-03T02:00", Ending::Complete), daily("2026-11-04T02:00", ending)];
        assert_eq!(state(&job, &attempts, "2026-11-04T02:10").0, is);
        // Nothing came after it: the machine is silent.
        assert_eq!(state(&job, &attempts, "2026-11-05T04:00").0, State::Overdue);
        attempts.push(daily("2026-11-04T03:00", Ending::Complete));
        assert_eq!(state(&job, &attempts, "2026-11-04T05:00"), (State::Good, Level::Good));
    }
}

#[test]
fn a_run_goes_on_until_its_time_outs_and_is_overdue_then() {
    let job = expected("commcare", "daily 02:00");
    let attempts = [daily("2026-11-03T02:00", Ending::Complete), daily("2026-11-04T02:00", Ending::Running)];
    assert_eq!(state(&job, &attempts, "2026-11-04T08:00"), (State::Running, Level::Good));
    assert_eq!(state(&job, &attempts, "2026-11-04T08:01"), (State::Overdue, Level::Critical));
    // Without time-outs it goes on until the next night is over: the machine may be dead.
    let patient = Expected { timeout_ms: None, ..job };
    assert_eq!(state(&patient, &attempts, "2026-11-05T03:59").0, State::Running);
    assert_eq!(state(&patient, &attempts, "2026-11-05T04:00"), (State::Overdue, Level::Critical));
}

/// MYDB-16: what a user runs beside the nightly job hides no failure and makes none; a good copy of his counts.
#[test]
fn runs_of_users_hide_nothing_and_raise_no_alarm() {
    let job = expected("commcare", "daily 02:00");
    let user = |begun: &str, ending| attempt("commcare", "User", begun, ending);
    let good = daily("2026-11-04T02:00", Ending::Complete);
    let failed = daily("2026-11-04T02:00", Ending::Failed);
    let now = "2026-11-04T12:00";
    assert_eq!(state(&job, &[good, user("2026-11-04T09:00", Ending::Failed)], now).0, State::Good);
    assert_eq!(state(&job, &[failed.clone(), user("2026-11-04T01:00", Ending::Complete)], now).0, State::Failed);
    assert_eq!(state(&job, &[failed, user("2026-11-04T09:00", Ending::Complete)], now).0, State::Good);
}

/// A source that never succeeded is an alarm, and no absence; but not before its first night is over.
#[test]
fn a_source_that_was_never_saved_is_an_alarm_after_its_first_slot() {
    let job = expected("commcare", "daily 02:00");
    assert_eq!(state(&job, &[], "2026-11-04T12:00"), (State::Never, Level::Critical));
    let new = Expected { since_ms: Some(at("2026-11-04T10:00")), ..job.clone() };
    assert_eq!(state(&new, &[], "2026-11-05T03:59"), (State::Never, Level::Warning));
    assert_eq!(state(&new, &[], "2026-11-05T04:00"), (State::Never, Level::Critical));
    let failed = [daily("2026-11-05T02:00", Ending::Failed)];
    assert_eq!(state(&new, &failed, "2026-11-05T02:30"), (State::Failed, Level::Critical));
    let manual = expected("commcare", "manual");
    assert_eq!(state(&manual, &[], "2026-11-05T04:00"), (State::Never, Level::Good));
    let manual_failed = [daily("2026-11-05T02:00", Ending::Failed)];
    assert_eq!(state(&manual, &manual_failed, "2027-11-05T04:00"), (State::Failed, Level::Critical));
}

/// A configuration that is written anew every hour must not hide that nothing was saved.
#[test]
fn a_changed_configuration_excuses_only_what_was_never_tried() {
    let job = Expected { since_ms: Some(at("2026-11-05T03:30")), ..expected("commcare", "daily 02:00") };
    for ending in [Ending::Complete, Ending::Failed] {
        let old = [daily("2026-11-03T02:00", ending)];
        assert_eq!(state(&job, &old, "2026-11-05T04:00"), (State::Overdue, Level::Critical));
    }
}

#[test]
fn what_has_no_schedule_and_what_has_no_configuration_is_named() {
    let mut job = expected("commcare", "daily 02:00");
    (job.schedule, job.schedule_text) = (None, None);
    assert_eq!(state(&job, &[], "2026-11-05T04:00"), (State::Unscheduled, Level::Warning));
    let saved = [daily("2026-11-05T02:00", Ending::Complete)];
    assert_eq!(state(&job, &saved, "2026-11-05T04:00"), (State::Unscheduled, Level::Warning));
    let elsewhere = Expected { host: "pg2".to_owned(), ..job };
    let statuses = audit(&[elsewhere], &saved, at("2026-11-05T04:00"));
    let told: Vec<(&str, State, Level)> = statuses.iter().map(|s| (s.host.as_str(), s.state, s.level)).collect();
    assert_eq!(
        told,
        [("pg2", State::Unscheduled, Level::Warning), ("pg1", State::Unconfigured, Level::Good)],
        "the same source on another machine is another source"
    );
}

#[test]
fn the_median_of_the_last_good_ones_is_usual() {
    let job = expected("commcare", "daily 02:00");
    let days = ["2026-11-01T02:30", "2026-11-02T02:30", "2026-11-03T02:30", "2026-11-04T02:30"];
    let of = |n: usize| -> Vec<Attempt> {
        let with = |(day, bytes): (&&str, u64)| Attempt { bytes, ..daily(day, Ending::Complete) };
        days.iter().zip([7, 100, 90, 110]).take(n).map(with).collect()
    };
    let usual =
        |attempts: &[Attempt]| audit(std::slice::from_ref(&job), attempts, at("2026-11-04T03:00"))[0].usual_bytes;
    assert_eq!(usual(&of(2)), None);
    assert_eq!(usual(&of(3)), Some(90));
    assert_eq!(usual(&of(4)), Some(100));
}

#[test]
fn jitter_and_grace_are_added_to_the_slot() {
    let job = Expected { jitter_ms: HOUR / 4, ..expected("commcare", "daily 02:00") };
    let attempts = [daily("2026-11-03T02:10", Ending::Complete)];
    assert_eq!(state(&job, &attempts, "2026-11-04T04:14").0, State::Good);
    assert_eq!(state(&job, &attempts, "2026-11-04T04:15").0, State::Overdue);
    let status = &audit(&[job], &attempts, at("2026-11-04T03:00"))[0];
    assert_eq!(status.due_by_ms, Some(at("2026-11-04T04:15")));
    assert!(Timestamp::from_millisecond(status.due_by_ms.unwrap()).is_ok());
}
