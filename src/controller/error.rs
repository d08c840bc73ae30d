//! What can fail in a reconciliation. Every error is retried with backoff; what retrying cannot
//! cure is not an error but a condition.

use thiserror::Error;

use crate::names;
use crate::said::Said;

/// A failed reconciliation.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server refused or did not answer.
    #[error("could not {action}: {}", Said(.source))]
    Api {
        /// What was tried, such as "create Secret".
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// Somebody else wrote in between: the next try reads again.
    #[error("could not {action}: it changed in between")]
    Conflict {
        /// What was tried.
        action: &'static str,
    },
    /// An object from the API server lacks what the API server always sets.
    #[error("{what} is missing from the API server's answer")]
    Incomplete {
        /// What is missing.
        what: &'static str,
    },
    /// A key could not be made or encoded.
    #[error(transparent)]
    Signing(#[from] crate::domain::signing::SigningError),
    /// A key could not be made.
    #[error(transparent)]
    Random(#[from] crate::domain::opaque::RandomFailed),
    /// What is to be stored could not be encoded.
    #[error("could not encode {what}: {source}")]
    Encode {
        /// What was to be stored.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: serde_json::Error,
    },
    /// The keys by which records of delivery Secrets are authenticated cannot be read.
    #[error(
        "Secret `{}` of the operator's namespace does not have a key of 32 bytes as `current`, and as `previous` another or none",
        names::RECORD_KEYS_SECRET
    )]
    RecordKeys,
    /// A task for a blocking computation did not end well.
    #[error("could not make a key: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// For [`Result::map_err`] around API calls.
    pub fn api(action: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| match &source {
            kube::Error::Api(status) if status.code == 409 => Self::Conflict { action },
            _ => Self::Api { action, source: Box::new(source) },
        }
    }

    /// What the API server said if it refused for a reason that somebody has to see: a quota, a
    /// policy, a missing right. Retries go on, but only a change of the surroundings will help.
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

    /// The class for metrics.
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
            Self::Signing(_) | Self::Random(_) | Self::Encode { .. } | Self::Task(_) => "internal",
        }
    }
}
