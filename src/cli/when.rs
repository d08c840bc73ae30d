//! Times for people, relative to now.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

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
