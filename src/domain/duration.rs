//! Durations as specs and flags write them, and what is done with them.

use jiff::{SignedDuration, Timestamp};

/// Reads a duration of hours, minutes and seconds, such as `4380h` or `1h30m`.
#[must_use]
pub fn parse(text: &str) -> Option<SignedDuration> {
    // jiff alone would also take days, signs and fractions, which the CEL rules do not.
    let units_only = text.bytes().all(|byte| byte.is_ascii_digit() || b"hms".contains(&byte));
    units_only.then(|| text.parse().ok()).flatten()
}

/// A time that much later, or the end of time.
#[must_use]
pub fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// `interval` less up to a tenth that depends on `id`, so that a thousand objects that were made
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
