use jiff::tz::{AmbiguousOffset, TimeZoneDatabase};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(expression: &str, zone: &str) -> ScheduleRule {
    ScheduleRule::Cron { expression: expression.to_owned(), time_zone: Some(zone.to_owned()) }
}

fn every(period: Duration, anchor: Option<Timestamp>) -> ScheduleRule {
    ScheduleRule::Every { period, anchor }
}

/// The first ticks after a moment are exactly these.
fn check(rule: &ScheduleRule, after: &str, expected: &[&str]) {
    let ticks = Ticks::new(rule, None, None).unwrap();
    let found: Vec<String> =
        ticks.after(at(after)).take(expected.len()).map(|tick| tick.to_string()).collect();
    assert_eq!(found, expected, "{rule:?} after {after}");
}

fn refused(rule: &ScheduleRule) -> Error {
    let error = Ticks::new(rule, None, None).unwrap_err();
    assert_eq!(error.code(), &codes::BAD_SCHEDULE, "{rule:?}");
    error
}

// proves R-441
#[test]
fn an_expression_names_wall_clock_times() {
    let cases: [(&str, &[&str]); 14] = [
        ("0 3 * * *", &["2026-01-02T03:00:00Z", "2026-01-03T03:00:00Z"]),
        ("30 0 3 * * *", &["2026-01-02T03:00:30Z", "2026-01-03T03:00:30Z"]),
        ("*/20 * * * *", &["2026-01-01T12:20:00Z", "2026-01-01T12:40:00Z", "2026-01-01T13:00:00Z"]),
        ("5/20 9-10 * * *", &["2026-01-02T09:05:00Z", "2026-01-02T09:25:00Z", "2026-01-02T09:45:00Z"]),
        ("0 0 1,15 * *", &["2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z"]),
        ("0 0 L * *", &["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"]),
        ("0 0 29 FEB *", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("0 9 * * mon-fri", &["2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z"]),
        ("0 9 * * 7", &["2026-01-04T09:00:00Z", "2026-01-11T09:00:00Z"]),
        ("0 9 * * FRI-SUN", &["2026-01-02T09:00:00Z", "2026-01-03T09:00:00Z", "2026-01-04T09:00:00Z"]),
        // Both sorts of day are given: either will do.
        ("0 0 13 * FRI", &["2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"]),
        // One of them is open: both must fit.
        ("0 0 */2 * MON", &["2026-01-05T00:00:00Z", "2026-01-19T00:00:00Z"]),
        ("* * * * * *", &["2026-01-01T12:00:01Z", "2026-01-01T12:00:02Z"]),
        ("@weekly", &["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),
    ];
    for (expression, expected) in cases {
        check(&cron(expression, "UTC"), "2026-01-01T12:00:00Z", expected);
    }
}

// proves R-442
#[test]
fn a_time_the_clocks_skip_ticks_after_the_gap() {
    // Berlin goes from 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
    let after = "2026-03-28T12:00:00Z";
    check(&cron("30 2 * * *", "Europe/Berlin"), after, &["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    check(&cron("*/15 2 * * *", "Europe/Berlin"), after, &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
    // In the gap and at its end it is one tick.
    check(&cron("0 2,3 * * *", "Europe/Berlin"), after, &["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
    // A rule that names every hour loses nothing.
    check(
        &cron("5 * * * *", "Europe/Berlin"),
        "2026-03-29T00:00:00Z",
        &["2026-03-29T00:05:00Z", "2026-03-29T01:05:00Z"],
    );
    // A gap at midnight, of half an hour, and of a whole day.
    check(&cron("0 0 * * *", "Asia/Beirut"), "2026-03-28T12:00:00Z", &["2026-03-28T22:00:00Z"]);
    check(&cron("15 2 * * *", "Australia/Lord_Howe"), "2026-10-03T12:00:00Z", &["2026-10-03T15:30:00Z"]);
    check(
        &cron("0 9 * * *", "Pacific/Apia"),
        "2011-12-29T20:00:00Z",
        &["2011-12-30T10:00:00Z", "2011-12-30T19:00:00Z"],
    );
}

// proves R-443
#[test]
fn a_time_that_comes_twice_ticks_once_unless_the_rule_repeats() {
    // Berlin goes from 03:00 back to 02:00 on 25 October 2026, at 01:00 UTC.
    let after = "2026-10-24T22:00:00Z";
    check(&cron("30 2 * * *", "Europe/Berlin"), after, &["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    check(&cron("0 2,3 * * *", "Europe/Berlin"), after, &["2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"]);
    let twice =
        &["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"];
    check(&cron("*/30 2 * * *", "Europe/Berlin"), after, twice);
    check(&cron("0,30 2 * * *", "Europe/Berlin"), after, twice);
    check(
        &cron("30 * * * *", "Europe/Berlin"),
        "2026-10-25T00:00:00Z",
        &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"],
    );
}

// proves R-444
#[test]
fn an_interval_ticks_at_its_anchor_and_its_multiples() {
    let hour = Duration::from_secs(3_600);
    check(&every(hour, None), "2026-01-01T12:30:00Z", &["2026-01-01T13:00:00Z", "2026-01-01T14:00:00Z"]);
    let anchor = Some(at("2030-01-01T00:17:00Z"));
    check(&every(hour, anchor), "2026-01-01T12:17:00Z", &["2026-01-01T13:17:00Z"]);
    check(&every(hour, anchor), "2026-01-01T12:16:59.999999Z", &["2026-01-01T12:17:00Z"]);
}

// proves R-445
#[test]
fn no_tick_is_before_the_start_or_at_the_end() {
    let rule = cron("0 * * * *", "UTC");
    let (start, end) = (at("2026-01-01T10:00:00Z"), at("2026-01-01T12:00:00Z"));
    let ticks = Ticks::new(&rule, Some(start), Some(end)).unwrap();
    let all: Vec<_> = ticks.after(Timestamp::default()).collect();
    assert_eq!(all, [start, at("2026-01-01T11:00:00Z")]);
}

// proves R-446
#[test]
fn what_cannot_be_read_or_never_ticks_is_refused() {
    for bad in [
        "",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "*/60 * * * *",
        "5-3 * * * *",
        "1,,2 * * * *",
        "1- * * * *",
        "-1 * * * *",
        "+1 * * * *",
        "a * * * *",
        "* * * JANUARY *",
        "0x1 * * * *",
        "1.5 * * * *",
        "* * ? * *",
        "@reboot",
        "@every 5m",
        "* * * * MON#1",
        "001 * * * *",
        "٣ * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
    ] {
        refused(&cron(bad, "UTC"));
    }
    refused(&cron(&"0,".repeat(200), "UTC"));
    let unknown = refused(&cron("0 3 * * *", "Europe/Berln"));
    assert_eq!(unknown.remedy(), Some("did you mean `Europe/Berlin`?"));
    refused(&every(Duration::ZERO, None));
    refused(&every(Duration::from_millis(99), None));
    refused(&every(Duration::MAX, None));
    let (early, late) = (at("2026-01-01T10:00:00Z"), at("2026-01-01T10:30:00Z"));
    let hourly = cron("0 * * * *", "UTC");
    assert!(Ticks::new(&hourly, Some(late), Some(early)).is_err(), "the end is before the start");
    assert!(
        Ticks::new(&hourly, Some(early + Duration::from_micros(1)), Some(late)).is_err(),
        "no tick between"
    );
}

// proves R-446
#[test]
fn the_search_ends_at_both_ends_of_time() {
    let ticks = Ticks::new(&cron("0 0 29 2 *", "Europe/Berlin"), None, None).unwrap();
    for moment in [i64::MIN, -1, 0, Timestamp::MAX.as_micros(), i64::MAX] {
        let next = ticks.next(Timestamp::from_micros(moment));
        assert!(next.is_none_or(|tick| tick.as_micros() > moment && tick < Timestamp::MAX), "{moment}");
    }
    let rare = Ticks::new(&every(Duration::from_secs(1), Some(Timestamp::MAX)), None, None).unwrap();
    assert_eq!(rare.next(Timestamp::MAX), None);
    assert_eq!(rare.next(Timestamp::from_micros(i64::MIN)), Some(Timestamp::default()));
}

// proves R-447
#[test]
fn a_tick_has_one_id_and_one_delay() {
    let (name, tick) = (ScheduleName::new("nightly").unwrap(), at("2026-01-02T03:00:00Z"));
    assert_eq!(job_id(&name, tick).unwrap().as_str(), "83d6e181-75a3-8332-8249-15f8a0af2114");
    let jitter = Duration::from_secs(600);
    assert_eq!(delay(&name, tick, jitter), Duration::from_micros(225_326_010));
    assert_eq!(delay(&name, tick, Duration::ZERO), Duration::ZERO);
    let delays: Vec<_> = (0..1_000).map(|day| delay(&name, tick + jitter * day, jitter)).collect();
    assert!(delays.iter().all(|delay| *delay < jitter));
    let mean = delays.iter().sum::<Duration>() / 1_000;
    assert!(mean > jitter * 2 / 5 && mean < jitter * 3 / 5, "spread over the whole span: {mean:?}");
}

/// What a rule says by looking at every minute, the slow way.
struct Scan {
    fields: [Vec<i8>; 5],
    either_day: bool,
    zone: jiff::tz::TimeZone,
}

impl Scan {
    fn names(&self, time: jiff::civil::DateTime) -> bool {
        let [minutes, hours, days, months, weekdays] = &self.fields;
        let day = days.contains(&time.day());
        let weekday = weekdays.contains(&time.weekday().to_sunday_zero_offset());
        minutes.contains(&time.minute())
            && hours.contains(&time.hour())
            && months.contains(&time.month())
            && if self.either_day { day || weekday } else { day && weekday }
    }

    fn ticks_at(&self, minute: i64) -> bool {
        let moment = jiff::Timestamp::from_second(minute * 60).unwrap();
        let now = self.zone.to_datetime(moment);
        let before = self.zone.to_datetime(jiff::Timestamp::from_second(minute * 60 - 60).unwrap());
        let [minutes, hours, ..] = &self.fields;
        let every_hour = hours.len() == 24;
        let again = match self.zone.to_ambiguous_timestamp(now).offset() {
            AmbiguousOffset::Fold { after, .. } => self.zone.to_offset(moment) == after,
            _ => false,
        };
        if self.names(now) && (!again || every_hour || minutes.len() > 1) {
            return true;
        }
        let mut skipped = before;
        while !every_hour && skipped < now {
            skipped = skipped.checked_add(jiff::SignedDuration::from_mins(1)).unwrap();
            if skipped < now && self.names(skipped) {
                return true;
            }
        }
        false
    }
}

fn values(low: i8, high: i8) -> impl Strategy<Value = Vec<i8>> {
    prop_oneof![
        Just((low..=high).collect::<Vec<i8>>()),
        proptest::collection::btree_set(low..=high, 1..4).prop_map(|set| set.into_iter().collect()),
    ]
}

fn text(values: &[i8], low: i8, high: i8) -> String {
    if values.len() == usize::try_from(high - low + 1).unwrap() {
        return "*".to_owned();
    }
    values.iter().map(i8::to_string).collect::<Vec<_>>().join(",")
}

/// Zones, and the minute since 1970 at which their clocks change.
const ZONES: [(&str, i64); 9] = [
    ("Europe/Berlin", 29_579_100),
    ("Europe/Berlin", 29_881_500),
    ("America/New_York", 29_549_220),
    ("America/New_York", 29_891_880),
    ("Australia/Lord_Howe", 29_850_690),
    ("Australia/Lord_Howe", 29_588_580),
    ("Asia/Beirut", 29_578_920),
    ("Pacific/Apia", 22_087_320),
    ("UTC", 29_579_100),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    // proves
    #[test]
    fn ticks_are_those_of_a_scan_of_every_minute(
        (zone, change) in proptest::sample::select(ZONES.to_vec()),
        minutes in values(0, 59),
        hours in values(0, 23),
        days in values(1, 31),
        weekdays in values(0, 6),
        early in 0_i64..2_880,
    ) {
        let fields = [
            text(&minutes, 0, 59), text(&hours, 0, 23), text(&days, 1, 31), "*".to_owned(), text(&weekdays, 0, 6),
        ];
        let either_day = fields[2] != "*" && fields[4] != "*";
        let expression = fields.join(" ");
        let ticks = Ticks::new(&cron(&expression, zone), None, None).unwrap();
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        let scan = Scan { fields: [minutes, hours, days, (1..=12).collect(), weekdays], either_day, zone };
        let (from, until) = (change - early, change + 2_880);
        let expected: Vec<i64> = (from..until).filter(|minute| scan.ticks_at(*minute)).collect();
        let found: Vec<i64> = ticks
            .after(Timestamp::from_micros(from * 60_000_000 - 1))
            .map(|tick| tick.as_micros() / 60_000_000)
            .take_while(|minute| *minute < until)
            .collect();
        prop_assert_eq!(found, expected, "{}", expression);
    }

    // proves R-446
    #[test]
    fn the_next_tick_is_later_and_nothing_lies_between(
        (zone, change) in proptest::sample::select(ZONES.to_vec()),
        expression in "(\\*|[0-5]?[0-9]|\\*/[1-9]) (\\*|1?[0-9]|\\*/[1-9]) (\\*|L|[1-9]|2[0-8]) \\* (\\*|[0-7])",
        seconds in -200_000_i64..200_000,
        later in 0_i64..100_000,
    ) {
        let ticks = Ticks::new(&cron(&expression, zone), None, None).unwrap();
        let after = Timestamp::from_micros((change * 60 + seconds) * 1_000_000 + 17);
        let next = ticks.next(after).unwrap();
        prop_assert!(next > after);
        let between = (after + Duration::from_secs(later.unsigned_abs())).min(next);
        if between < next {
            prop_assert_eq!(ticks.next(between), Some(next));
        }
        prop_assert!(ticks.next(next).unwrap() > next);
    }

    // proves R-446
    #[test]
    fn no_text_makes_the_parser_panic(expression in "\\PC{0,40}", fields in "[0-9*/,@LA-Z -]{0,30}") {
        let _read = Ticks::new(&cron(&expression, "UTC"), None, None);
        let _read = Ticks::new(&cron(&fields, "UTC"), None, None);
    }
}
