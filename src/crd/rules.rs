//! CEL rules that several fields share.
//!
//! What users write is checked by a rule and not by an OpenAPI `pattern`: a rule has a message in
//! words, while the API server answers a value that violates a pattern with the regular expression.
//! Both match with RE2, so both accept the same values.

use kube::core::Rule;
use serde_json::{Value, json};

use crate::domain::constraint::{LOGO_URL, NO_CONTROL_CHARACTERS};

/// The one pattern that cannot be a rule: it limits the fraction of a time to the nine digits
/// (nanoseconds) that the operator can read. CEL sees the time parsed, without the further digits.
pub const READABLE_FRACTION: &str = "^[^.]+([.][0-9]{1,9}([^0-9].*)?)?$";

/// A DNS subdomain (RFC 1123), which is what Kubernetes accepts as the name of an object.
const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// What Kubernetes accepts as a key of a Secret's data.
const SECRET_KEY: &str = r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$";

const DURATION: &str =
    "^([0-9]{1,6}h([0-9]{1,6}m)?([0-9]{1,6}s)?|[0-9]{1,6}m([0-9]{1,6}s)?|[0-9]{1,6}s)$";

/// A string that matches `pattern`, which must not contain `'`.
pub fn matches(pattern: &str, message: impl AsRef<str>) -> Rule {
    member_matches("self", pattern, message)
}

/// Like [`matches()`], for a rule of the object around the string.
pub fn member_matches(member: &str, pattern: &str, message: impl AsRef<str>) -> Rule {
    // A backslash in a CEL string has to be escaped.
    let pattern = pattern.replace('\\', r"\\");
    Rule::new(format!("{member}.matches('{pattern}')")).message(message.as_ref())
}

/// The schema of the strings in a list. The `inner` attribute of schemars has no place for a rule;
/// a rule on the list itself would not tell which of its elements is wrong.
pub fn items(max_length: usize, rule: &Rule) -> Value {
    json!({"type": "string", "maxLength": max_length, "x-kubernetes-validations": [rule]})
}

/// The name of an object, such as `example`.
pub fn object_name(example: &str) -> Rule {
    matches(
        OBJECT_NAME,
        format!(
            "must be the name of an object, such as `{example}`: a DNS subdomain (RFC 1123) of lower-case letters, digits, `-` and `.` that starts and ends with a letter or digit"
        ),
    )
}

/// A key of a Secret's data, such as `example`.
pub fn secret_key(example: &str) -> Rule {
    matches(
        SECRET_KEY,
        format!(
            "must be a key of a Secret's data, such as `{example}`: letters, digits, `-`, `_` and `.`; it must not be `.` or start with `..`"
        ),
    )
}

/// The URL of a logo.
pub fn logo_url() -> Rule {
    matches(
        LOGO_URL,
        "must be an http or https URL without spaces, such as `https://acme.example/logo.svg`",
    )
}

/// Text for people.
pub fn no_control_characters() -> Rule {
    matches(NO_CONTROL_CHARACTERS, "must not contain control characters, such as line breaks")
}

/// The id of an API key.
pub fn key_id() -> Rule {
    matches(
        "^[0-9a-f]{16}$",
        "must be the id of an API key: 16 lower-case hexadecimal digits, such as `6cfb9ed0778cd7e8`",
    )
}

/// A duration, such as `example`.
pub fn duration(example: &str) -> Rule {
    matches(
        DURATION,
        format!(
            "must be a duration in hours, minutes and seconds, such as `{example}` or `1h30m`; there is no unit for days"
        ),
    )
}

/// A rule that computes with durations. It holds while one of `fields` is malformed, because the
/// rule of that field reports that already; this one would add an error about type conversion.
pub fn comparing_durations(fields: &[&str], rule: &str) -> Rule {
    let malformed: Vec<_> = fields.iter().map(|field| is_malformed_duration(field)).collect();
    Rule::new(format!("{} || ({rule})", malformed.join(" || ")))
}

/// The CEL expression that says so; `field` and the objects around it may be absent.
fn is_malformed_duration(field: &str) -> String {
    let parts: Vec<_> = field.split('.').collect();
    let paths = (2..=parts.len()).filter_map(|end| parts.get(..end));
    let present: Vec<_> = paths.map(|path| format!("has({})", path.join("."))).collect();
    format!("({} && !{field}.matches('{DURATION}'))", present.join(" && "))
}

/// A time at which something ends. `format: date-time` alone accepts values that are not RFC 3339
/// times, and times after the last one that the operator can read, such as the
/// `9999-12-31T23:59:59Z` by which some mean "never". An object with such a time could not be read
/// at all.
pub fn expiry_time() -> Rule {
    time_rule(
        "must be an RFC 3339 time before 9999-12-30, such as `2030-01-31T12:00:00Z`; to set no end, leave the field out",
    )
}

/// A time of an event or a limit; see [`expiry_time`].
pub fn readable_time() -> Rule {
    time_rule("must be an RFC 3339 time before 9999-12-30, such as `2030-01-31T12:00:00Z`")
}

fn time_rule(message: &str) -> Rule {
    Rule::new("self < timestamp('9999-12-30T00:00:00Z')").message(message)
}
