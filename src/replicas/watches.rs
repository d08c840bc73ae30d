//! The watches that fill an index: one of each kind, in each part of the scope.

use crate::crd::Kind;
use crate::domain::scope::Scope;

/// The watches, in a fixed order.
#[derive(Clone, Debug)]
pub struct Watches {
    scope: Scope,
}

impl Watches {
    /// Those of a scope.
    #[must_use]
    pub const fn new(scope: Scope) -> Self {
        Self { scope }
    }

    /// What they cover.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// All of them: kind and part.
    pub fn all(&self) -> impl Iterator<Item = (Kind, Option<&str>)> {
        let parts = self.scope.parts();
        Kind::ALL
            .into_iter()
            .flat_map(move |kind| parts.clone().into_iter().map(move |part| (kind, part)))
    }

    /// The position of a watch.
    #[must_use]
    pub fn position(&self, kind: Kind, part: Option<&str>) -> Option<usize> {
        self.all().position(|watch| watch == (kind, part))
    }
}

/// The name of a watch in a report: `UserPool`, or `UserPool/<namespace>`.
#[must_use]
pub fn name(kind: Kind, part: Option<&str>) -> String {
    match part {
        Some(namespace) => format!("{}/{namespace}", kind.as_str()),
        None => kind.as_str().to_owned(),
    }
}
