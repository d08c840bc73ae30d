//! Detects objects managed by GitOps tools or Helm, which would undo a change that is made elsewhere.

use kube::{Resource, ResourceExt as _};

/// Labels and annotations by which the tools mark their objects, with the value if only that
/// identifies the tool.
const MARKS: &[(&str, Option<&str>, &str)] = &[
    ("argocd.argoproj.io/tracking-id", None, "Argo CD"),
    ("argocd.argoproj.io/instance", None, "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", None, "Flux"),
    ("helm.toolkit.fluxcd.io/name", None, "Flux"),
    ("meta.helm.sh/release-name", None, "Helm"),
    ("app.kubernetes.io/managed-by", Some("Helm"), "Helm"),
];

/// Field managers of the tools. Argo CD can be configured to track objects by a label of any name.
const MANAGERS: &[(&str, &str)] = &[
    ("argocd-controller", "Argo CD"),
    ("kustomize-controller", "Flux"),
    ("helm-controller", "Flux"),
    ("helm", "Helm"),
];

/// Whether a label or annotation is the mark of a tool.
pub fn is_mark(name: &str, value: Option<&str>) -> bool {
    MARKS.iter().any(|mark| mark.0 == name && mark.1.is_none_or(|only| Some(only) == value))
}

/// The tool that manages the object, if any. Its metadata must contain the managers, as
/// [`super::tolerant::WithManagers`] retains them.
pub fn tool<K: Resource>(object: &K) -> Option<&'static str> {
    let (labels, annotations) = (object.labels(), object.annotations());
    let marked = |(mark, value, _): &&(&str, Option<&str>, &str)| {
        let found = labels.get(*mark).or_else(|| annotations.get(*mark));
        found.is_some_and(|found| value.is_none_or(|value| value == found))
    };
    let by_mark = MARKS.iter().find(marked).map(|mark| mark.2);
    by_mark.or_else(|| {
        // Writing a status does not make a tool the manager of the object.
        let fields = object.managed_fields().iter().filter(|it| it.subresource.is_none());
        let mut managers = fields.filter_map(|it| it.manager.as_deref());
        managers.find_map(|manager| MANAGERS.iter().find(|it| it.0 == manager).map(|it| it.1))
    })
}
