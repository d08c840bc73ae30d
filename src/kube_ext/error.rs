//! What an error of the API server says.

use std::fmt;
use std::fmt::Write as _;

use axum::http::Uri;
use tower::BoxError;
use tower::util::MapErrLayer;

/// The cause of a refused write into a namespace that is being deleted.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

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

/// Whether the call failed because the object or its namespace no longer exists, or because the
/// namespace is being deleted.
#[must_use]
pub fn is_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_not_found() || causes.into_iter().any(|it| it.reason == NAMESPACE_TERMINATING)
}

/// A layer that names the server in errors of connections to it. They contain neither its address
/// nor, in their own text, the cause.
pub fn naming(server: &Uri) -> MapErrLayer<impl Fn(BoxError) -> BoxError + Clone + use<>> {
    let server = server.to_string();
    MapErrLayer::new(move |error: BoxError| {
        // Not an error of the connection.
        if error.is::<kube::Error>() {
            return error;
        }
        let mut text = format!("{server}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        text.into()
    })
}

struct Short<'e>(&'e kube::Error);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            kube::Error::Api(status) => write!(f, "{} ({})", status.message, status.code),
            kube::Error::Service(error) => error.fmt(f),
            other => other.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use kube::core::Status;
    use serde_json::json;
    use tower::{Layer as _, ServiceExt as _, service_fn};

    use super::*;

    #[test]
    fn a_namespace_that_is_being_deleted_is_gone() {
        let refused = |cause: Option<&str>| {
            let causes: Vec<_> = cause.iter().map(|it| json!({"reason": it})).collect();
            let status = json!({"code": 403, "message": "no", "details": {"causes": causes}});
            kube::Error::Api(serde_json::from_value(status).unwrap())
        };
        assert!(is_gone(&refused(Some("NamespaceTerminating"))));
        assert!(!is_gone(&refused(Some("Other"))) && !is_gone(&refused(None)));
        let missing = Status::failure("no", "NotFound").with_code(404);
        assert!(is_gone(&kube::Error::Api(Box::new(missing))));
        assert!(!is_gone(&kube::Error::TlsRequired));
    }

    #[tokio::test]
    async fn a_failed_connection_names_the_server_and_the_cause() {
        let failing = service_fn(async |()| {
            let cause = io::Error::other("connection refused");
            Err::<(), BoxError>(io::Error::other(cause).into())
        });
        let server = "https://10.0.0.1:6443/".parse().unwrap();
        let error = naming(&server).layer(failing).oneshot(()).await.unwrap_err();
        let said = short(&kube::Error::Service(error)).to_string();
        assert!(said.starts_with("https://10.0.0.1:6443/: "), "{said}");
        assert!(said.ends_with("connection refused"), "{said}");
    }

    #[test]
    fn the_words_and_not_the_object() {
        let status = Status::failure("sdkclients \"x\" not found", "NotFound");
        let error = kube::Error::Api(Box::new(status.with_code(404)));
        assert_eq!(short(&error).to_string(), "sdkclients \"x\" not found (404)");
        assert!(!short(&kube::Error::TlsRequired).to_string().is_empty());
    }
}
