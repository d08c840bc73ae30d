//! What an error of the API server says.

use std::fmt;

/// A failed call. kube's own rendering includes the whole status object in Rust's debug form.
#[must_use]
pub fn short(error: &kube::Error) -> impl fmt::Display {
    Short(error)
}

/// Whether a write lost against another one: its resourceVersion is outdated, or the object that it
/// creates exists already.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

struct Short<'e>(&'e kube::Error);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            kube::Error::Api(status) => write!(f, "{} ({})", status.message, status.code),
            other => other.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn the_words_and_not_the_object() {
        let status = kube::core::Status::failure("sdkclients \"x\" not found", "NotFound");
        let error = kube::Error::Api(Box::new(status.with_code(404)));
        assert_eq!(short(&error).to_string(), "sdkclients \"x\" not found (404)");
        assert!(!short(&kube::Error::TlsRequired).to_string().is_empty());
    }
}
