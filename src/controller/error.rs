//! Errors of a reconciliation. Every error is retried with backoff; a problem that a retry cannot
//! solve is a condition and not an error.

use thiserror::Error;

use crate::kube_ext::error::{is_conflict, is_gone, short};
use crate::names;

/// A failed reconciliation.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server refused the request or did not answer.
    #[error("could not {action}: {}", short(.source))]
    Api {
        /// The attempted action, such as "create Secret".
        action: &'static str,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// Someone else has written in the meantime: the next attempt reads again.
    #[error("could not {action}: it changed in between")]
    Conflict {
        /// The attempted action.
        action: &'static str,
    },
    /// An object from the API server lacks a field that the API server always sets.
    #[error("{what} is missing from the API server's response")]
    Incomplete {
        /// The missing field.
        what: &'static str,
    },
    /// A signing key could not be generated or encoded.
    #[error(transparent)]
    Signing(#[from] crate::domain::signing::SigningError),
    /// An API key could not be generated.
    #[error(transparent)]
    Random(#[from] crate::domain::credential::RandomFailed),
    /// A value to store could not be encoded.
    #[error("could not encode {what}: {source}")]
    Encode {
        /// The value.
        what: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The keys that authenticate the records of delivery Secrets are unreadable.
    #[error(
        "Secret `{}` of the operator's namespace must have a 32-byte key in `current`, and either no key or another 32-byte key in `previous`",
        names::RECORD_KEYS_SECRET
    )]
    RecordKeys,
    /// The certificate of the admission webhook could not be issued.
    #[error("could not issue a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A blocking computation panicked or was cancelled.
    #[error("failed to generate a key: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// For [`Result::map_err`] around API calls.
    pub fn api(action: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| {
            if is_conflict(&source) {
                Self::Conflict { action }
            } else {
                Self::Api { action, source: Box::new(source) }
            }
        }
    }

    /// The API server's message if it refused the request for a reason that a person has to
    /// resolve: a quota, a policy, a missing permission. Retries continue, but only a change
    /// outside the object will help.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        if matches!(self, Self::RecordKeys) {
            return Some(self.to_string());
        }
        let Self::Api { action, source } = self else { return None };
        match source.as_ref() {
            kube::Error::Api(status) if matches!(status.code, 400..=499) && status.code != 429 => {
                Some(format!("the API server refused to {action}: {}", status.message))
            }
            kube::Error::BuildRequest(error) => Some(format!("cannot {action}: {error}")),
            _ => None,
        }
    }

    /// Whether the object or its namespace no longer exists or is being deleted.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Api { source, .. } if is_gone(source))
    }

    /// Metric label.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) if status.code == 403 => "forbidden",
                kube::Error::Api(_) => "api",
                _ => "transport",
            },
            Self::Incomplete { .. } => "incomplete",
            Self::RecordKeys => "record_keys",
            Self::Signing(_)
            | Self::Random(_)
            | Self::Encode { .. }
            | Self::Certificate(_)
            | Self::Task(_) => "internal",
        }
    }
}
