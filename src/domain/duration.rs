//! Durations as specs and flags write them, and arithmetic on them.

use jiff::{SignedDuration, Timestamp};

/// Parses a duration of hours, minutes and seconds, such as `4380h` or `1h30m`.
#[must_use]
pub fn parse(text: &str) -> Option<SignedDuration> {
    // jiff alone would also accept days, signs and fractions, which the CEL rules refuse.
    let units_only = text.bytes().all(|byte| byte.is_ascii_digit() || b"hms".contains(&byte));
    units_only.then(|| text.parse().ok()).flatten()
}

/// `time` plus `duration`, saturating at the latest timestamp.
#[must_use]
pub fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// `interval` shortened by up to a tenth that depends on `id`, so that a thousand objects created
/// together do not rotate together.
#[must_use]
pub fn spread(interval: SignedDuration, id: &str) -> SignedDuration {
    let seconds = interval.as_secs();
    let share = i64::from(crc32fast::hash(id.as_bytes()) % 1000);
    SignedDuration::from_secs(seconds.saturating_sub(seconds / 10 * share / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_minutes_seconds() {
        assert_eq!(parse("4380h"), Some(SignedDuration::from_hours(4380)));
        assert_eq!(parse("1h30m"), Some(SignedDuration::from_mins(90)));
        for bad in ["", "h", "1", "-1h", "1d", "1.5h", "30m1h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
