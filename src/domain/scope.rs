//! The namespaces that the operator watches.

/// The whole cluster, or a list of namespaces, in which an account needs Roles and no ClusterRole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Vec<String>);

impl Scope {
    /// The whole cluster.
    pub const CLUSTER: Self = Self(Vec::new());

    /// These namespaces; without any, the whole cluster.
    #[must_use]
    pub fn new(mut namespaces: Vec<String>) -> Self {
        namespaces.sort();
        namespaces.dedup();
        Self(namespaces)
    }

    /// The namespaces; empty for the whole cluster.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.0
    }

    /// Whether objects in this namespace are watched.
    #[must_use]
    pub fn contains(&self, namespace: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|other| other == namespace)
    }

    /// What is listed and watched separately: the cluster, which is `None`, or each namespace.
    #[must_use]
    pub fn parts(&self) -> Vec<Option<&str>> {
        if self.0.is_empty() {
            return vec![None];
        }
        self.0.iter().map(|namespace| Some(namespace.as_str())).collect()
    }

    /// The part that contains a namespace. Only for one that [`Self::contains`].
    #[must_use]
    pub fn part_of<'n>(&self, namespace: &'n str) -> Option<&'n str> {
        (!self.0.is_empty()).then_some(namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_cluster_or_each_namespace() {
        assert_eq!(Scope::CLUSTER.parts(), [None]);
        assert!(Scope::CLUSTER.contains("any"));
        let scope = Scope::new(vec!["b".into(), "a".into(), "b".into()]);
        assert_eq!(scope.parts(), [Some("a"), Some("b")]);
        assert!(scope.contains("a") && !scope.contains("c"));
        assert_eq!((Scope::CLUSTER.part_of("a"), scope.part_of("a")), (None, Some("a")));
    }
}
