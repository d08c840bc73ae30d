//! Reads objects for commands that show them. One that cannot be parsed is shown as such, and a kind
//! that the caller may not read is left out.

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use super::cluster::Cluster;
use super::target::name_of;
use crate::crd::reasons::{ConditionType, ReadyReason};
use crate::crd::{CustomKind, HasStatus, condition};
use crate::kube_ext::pages::Pages;
use crate::kube_ext::tolerant::{Tolerant, WithManagers};

/// An object, or what is readable of it.
pub type Object<K> = Tolerant<K, WithManagers>;

/// The objects of a kind.
#[derive(Clone, Debug)]
pub enum Listed<T> {
    /// Those that exist.
    Items(Vec<T>),
    /// The caller may not list them.
    Forbidden,
}

impl<T> Listed<T> {
    /// The objects; none if the caller may not list them.
    pub fn items(&self) -> &[T] {
        match self {
            Self::Items(items) => items,
            Self::Forbidden => &[],
        }
    }

    /// Whether the caller may not list them.
    pub const fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden)
    }
}

impl Cluster {
    /// Lists the objects of a kind in the namespace of the command, or in all.
    ///
    /// # Errors
    /// As explained by [`Cluster::explain`]. A missing permission is none.
    pub async fn list<K>(&self, all_namespaces: bool) -> anyhow::Result<Listed<Object<K>>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<Object<K>> =
            if all_namespaces { Api::all(self.client.clone()) } else { self.api() };
        self.list_of(&api, ListParams::default()).await
    }

    /// Lists the objects of an API.
    ///
    /// # Errors
    /// As explained by [`Cluster::explain`]. A missing permission is none.
    pub async fn list_of<K>(
        &self,
        api: &Api<Object<K>>,
        parameters: ListParams,
    ) -> anyhow::Result<Listed<Object<K>>>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let mut items = Vec::new();
        let mut pages = Pages::new(api, parameters);
        loop {
            match pages.next(|object| items.push(object)).await {
                Ok(true) => {}
                Ok(false) => return Ok(Listed::Items(items)),
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    return Ok(Listed::Forbidden);
                }
                Err(error) => {
                    return Err(self.explain(format!("list {}", K::plural(&())))(error));
                }
            }
        }
    }

    /// Reads an object.
    ///
    /// # Errors
    /// As explained by [`Cluster::explain`]; or it cannot be parsed.
    pub async fn get<K: CustomKind>(&self, name: &str) -> anyhow::Result<K> {
        let read = self.api::<Object<K>>().get(name).await;
        let read = read.map_err(self.explain(format!("read {} `{name}`", K::KIND.as_str())))?;
        read.0.map_err(|unreadable| {
            anyhow::anyhow!("cannot read {}: {unreadable}", name_of(K::KIND, name))
        })
    }
}

/// Whether an object works as specified, and if not, why and what to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// `True`, `False` or `Unknown`.
    pub ready: String,
    /// The reason of the condition.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// What to do, if it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Readiness {
    /// That of an object. An object whose last change the operator has not seen is Unknown.
    pub fn of<K: HasStatus>(object: &Object<K>) -> Self {
        let object = match &object.0 {
            Ok(object) => object,
            Err(unreadable) => {
                return Self {
                    ready: "False".to_owned(),
                    reason: ReadyReason::Unreadable.as_str().to_owned(),
                    message: format!("this version of the CLI cannot read it: {unreadable}"),
                    remedy: Some("Update kubectl-anon.".to_owned()),
                };
            }
        };
        let generation = object.status().and_then(K::observed_generation);
        let observed = generation.is_none() || generation == object.meta().generation;
        match condition::find(object.current_conditions(), ConditionType::Ready.as_str()) {
            Some(ready) if observed => Self {
                ready: ready.status.clone(),
                reason: ready.reason.clone(),
                message: ready.message.clone(),
                remedy: (ready.status != "True").then(|| remedy::<K>(&ready.reason)).flatten(),
            },
            _ => Self {
                ready: "Unknown".to_owned(),
                reason: ReadyReason::Pending.as_str().to_owned(),
                message: "the operator has not reconciled the last change yet".to_owned(),
                remedy: remedy::<K>(ReadyReason::Pending.as_str()),
            },
        }
    }

    /// Whether `Ready` is `True`.
    pub fn is_ready(&self) -> bool {
        self.ready == "True"
    }
}

/// What the documentation of the reason says for this kind.
fn remedy<K: CustomKind>(reason: &str) -> Option<String> {
    let reason = ReadyReason::ALL.iter().find(|known| known.as_str() == reason)?;
    let mut places = reason.documentation().iter();
    let place = places.find(|place| {
        place.kinds.iter().any(|kind| [K::KIND.as_str(), "EveryKind"].contains(kind))
    });
    Some(without_links(place?.text))
}

/// Markdown without the targets of its links.
fn without_links(markdown: &str) -> String {
    let mut text = String::with_capacity(markdown.len());
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("](") {
        let (_, after) = after.split_once(')').unwrap_or(("", after));
        text.push_str(&before.replacen('[', "", 1));
        rest = after;
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `kind/name` of an object.
pub fn target_of<K: CustomKind>(object: &Object<K>) -> String {
    name_of(K::KIND, &object.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::UserPool;

    fn pool(status: &serde_json::Value) -> Object<UserPool> {
        let pool = json!({
            "metadata": {"name": "users", "generation": 2}, "spec": {"hosted": {}}, "status": status,
        });
        Object::parse(&pool.to_string()).unwrap()
    }

    fn condition(status: &str, reason: &str) -> serde_json::Value {
        json!([{
            "type": "Ready", "status": status, "reason": reason, "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }])
    }

    #[test]
    fn readiness_has_a_remedy_unless_ready() {
        let ready = pool(
            &json!({"observedGeneration": 2, "conditions": condition("True", "KeysPublished")}),
        );
        let ready = Readiness::of(&ready);
        assert!(ready.is_ready() && ready.remedy.is_none(), "{ready:?}");

        let status = json!({"observedGeneration": 2, "conditions": condition("False", "JwksSecretUnusable")});
        let readiness = Readiness::of(&pool(&status));
        assert!(!readiness.is_ready());
        assert!(readiness.remedy.unwrap().contains("Create the Secret"));
    }

    #[test]
    fn a_change_that_was_not_reconciled_is_pending() {
        let stale = json!({"observedGeneration": 1, "conditions": condition("True", "x")});
        for status in [stale, json!({}), json!(null)] {
            let readiness = Readiness::of(&pool(&status));
            assert_eq!(
                (readiness.ready.as_str(), readiness.reason.as_str()),
                ("Unknown", "Pending")
            );
        }
    }

    #[test]
    fn an_unreadable_object_is_shown_as_such() {
        let text = r#"{"metadata": {"name": "users"}, "spec": {"hosted": 1}}"#;
        let readiness = Readiness::of(&Object::<UserPool>::parse(text).unwrap());
        assert_eq!(readiness.reason, "Unreadable");
    }

    #[test]
    fn links_become_their_text() {
        assert_eq!(without_links("See [a b](c.md#d); [e](f)\n then."), "See a b; e then.");
    }
}
