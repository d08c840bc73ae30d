//! Times for people, relative to now.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::domain::duration;

/// `5m ago`, `in 3d`, or `now`.
pub fn relative(now: Timestamp, time: Timestamp) -> String {
    let distance = time.duration_since(now);
    let text = rough(distance.abs());
    match distance.signum() {
        0 => "now".to_owned(),
        1 => format!("in {text}"),
        _ => format!("{text} ago"),
    }
}

/// Parses a time, `now`, or a duration of hours, minutes and seconds before now.
pub fn past(text: &str, now: Timestamp) -> Option<Timestamp> {
    if text == "now" {
        return Some(now);
    }
    match duration::parse(text) {
        Some(ago) => now.checked_sub(ago).ok(),
        None => text.parse().ok(),
    }
}

/// The age as kubectl prints it: `5m`, `3d`. Empty for an unknown time.
pub fn age(now: Timestamp, time: Option<&Time>) -> String {
    time.map_or_else(String::new, |Time(time)| rough(now.duration_since(*time)))
}

/// A duration in its largest unit: `45s`, `5m`, `3h`, `2d`.
pub fn rough(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_past() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let seconds = |text| past(text, now).map(Timestamp::as_second);
        assert_eq!(seconds("now"), Some(1_800_000_000));
        assert_eq!(seconds("2h"), Some(1_800_000_000 - 7200));
        assert_eq!(seconds("2027-01-15T08:00:01Z"), Some(1_800_000_001));
        for bad in ["", "yesterday", "-2h", "2027-01-15"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn rough_times() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |seconds: i64| now + SignedDuration::from_secs(seconds);
        for (seconds, text) in [
            (0, "now"),
            (-1, "1s ago"),
            (119, "in 119s"),
            (-300, "5m ago"),
            (7200, "in 2h"),
            (200_000, "in 2d"),
        ] {
            assert_eq!(relative(now, at(seconds)), text);
        }
        assert_eq!(age(now, Some(&Time(at(-200_000)))), "2d");
        assert_eq!(age(now, None), "");
    }
}
