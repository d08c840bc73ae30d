//! From the objects of a namespace to what is shown of them, for people and programs alike.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use serde::Serialize;

use super::Namespace;
use crate::cli::keys::{self, Key};
use crate::cli::read::{Listed, Object, Readiness, target_of};
use crate::cli::target::{Target, name_of, singular};
use crate::crd::{HasStatus, Kind, Member, SdkClient, UserPool};

/// How many warnings are shown.
const MAX_WARNINGS: usize = 10;

/// An organization.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The namespace.
    pub namespace: String,
    /// The Organization object, if there is one.
    pub organization: Option<ObjectView>,
    /// The pools.
    pub user_pools: Vec<PoolView>,
    /// The clients.
    pub sdk_clients: Vec<ClientView>,
    /// The members.
    pub members: Vec<MemberView>,
    /// The Revocations.
    pub revocations: Vec<ObjectView>,
    /// The last warnings, newest first.
    pub warnings: Vec<Warning>,
    /// The resources that the caller may not list.
    pub not_permitted: Vec<&'static str>,
}

/// What is shown of every object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectView {
    /// `kind/name`.
    pub name: String,
    /// Ready, reason, message and remedy.
    #[serde(flatten)]
    pub readiness: Readiness,
    /// Whether the spec suspends it.
    pub suspended: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// A pool and its keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    /// As of every object.
    #[serde(flatten)]
    pub object: ObjectView,
    /// hosted, provided, jwks, oidc or inline.
    #[serde(rename = "type")]
    pub type_: &'static str,
    /// Where its key set is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// A client and its keys.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientView {
    /// As of every object.
    #[serde(flatten)]
    pub object: ObjectView,
    /// Webapp or Service.
    #[serde(rename = "type")]
    pub type_: &'static str,
    /// The role of a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// The clientId.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The pool of a webapp, such as `userpool/users`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_pool: Option<String>,
    /// The API keys of a service.
    pub keys: Vec<Key>,
    /// The Secret with its API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretView>,
}

/// A Secret that an API key is delivered into.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// Whether it exists; unset if the caller may not read Secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

/// A member.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// As of every object.
    #[serde(flatten)]
    pub object: ObjectView,
    /// Its role.
    pub role: Option<&'static str>,
}

/// A warning of the operator.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// When it was reported last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// The object, as `kind/name`.
    pub object: String,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

impl Status {
    /// Composes what was read.
    pub(super) fn of(read: &Namespace) -> Self {
        let client = |client: &Object<SdkClient>| ClientView::of(client, &read.secrets);
        let forbidden = [
            ("organizations", read.organizations.is_forbidden()),
            ("userpools", read.pools.is_forbidden()),
            ("sdkclients", read.clients.is_forbidden()),
            ("members", read.members.is_forbidden()),
            ("revocations", read.revocations.is_forbidden()),
            ("secrets", read.secrets.is_forbidden()),
            ("events", read.events.is_forbidden()),
        ];
        Self {
            namespace: read.name.clone(),
            organization: read.organizations.items().first().map(ObjectView::of),
            user_pools: read.pools.items().iter().map(PoolView::of).collect(),
            sdk_clients: read.clients.items().iter().map(client).collect(),
            members: read.members.items().iter().map(MemberView::of).collect(),
            revocations: read.revocations.items().iter().map(ObjectView::of).collect(),
            warnings: warnings(read.events.items()),
            not_permitted: forbidden.into_iter().filter(|it| it.1).map(|it| it.0).collect(),
        }
    }

    /// Only an object, with its pool or its clients. `None` if it does not exist.
    pub fn only(mut self, subject: &Target) -> Option<Self> {
        let name = subject.to_string();
        let is = |object: &ObjectView| object.name == name;
        // A webapp is shown below its pool, and a pool with its webapps.
        let shown = self.sdk_clients.iter().filter(|client| is(&client.object));
        let pools: Vec<_> = shown.filter_map(|client| client.user_pool.clone()).collect();
        self.organization = self.organization.filter(|object| is(object));
        self.user_pools.retain(|pool| is(&pool.object) || pools.contains(&pool.object.name));
        self.sdk_clients
            .retain(|client| is(&client.object) || client.user_pool.as_ref() == Some(&name));
        self.members.retain(|member| is(&member.object));
        self.revocations.retain(is);
        self.warnings.retain(|warning| warning.object == name);
        let shown = self.objects().any(is);
        shown.then_some(self)
    }

    /// Every object that is shown.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectView> {
        let pools = self.user_pools.iter().map(|pool| &pool.object);
        let clients = self.sdk_clients.iter().map(|client| &client.object);
        let members = self.members.iter().map(|member| &member.object);
        let organization = self.organization.iter();
        organization.chain(pools).chain(clients).chain(members).chain(&self.revocations)
    }

    /// The number of objects that are not ready.
    pub fn unready(&self) -> usize {
        self.objects().filter(|object| !object.readiness.is_ready()).count()
    }
}

impl ObjectView {
    fn of<K: HasStatus>(object: &Object<K>) -> Self {
        Self {
            name: target_of(object),
            readiness: Readiness::of(object),
            suspended: object.0.as_ref().is_ok_and(HasStatus::is_suspended),
            deleting: object.meta().deletion_timestamp.is_some(),
        }
    }
}

impl PoolView {
    fn of(pool: &Object<UserPool>) -> Self {
        let object = ObjectView::of(pool);
        let Ok(pool) = &pool.0 else {
            return Self { object, type_: "unreadable", jwks_uri: None, keys: Vec::new() };
        };
        let spec = &pool.spec;
        let types = [
            ("hosted", spec.hosted.is_some()),
            ("provided", spec.provided.is_some()),
            ("jwks", spec.jwks.is_some()),
            ("oidc", spec.oidc.is_some()),
            ("inline", spec.inline.is_some()),
        ];
        Self {
            object,
            type_: types.into_iter().find(|it| it.1).map_or("unknown", |it| it.0),
            jwks_uri: pool.status.as_ref().and_then(|status| status.jwks_uri.clone()),
            keys: keys::of_pool(pool),
        }
    }
}

impl ClientView {
    fn of(client: &Object<SdkClient>, secrets: &Listed<String>) -> Self {
        let object = ObjectView::of(client);
        let Ok(client) = &client.0 else {
            let (role, client_id, user_pool) = (None, None, None);
            let (type_, keys) = ("unreadable", Vec::new());
            return Self { object, type_, role, client_id, user_pool, keys, secret: None };
        };
        let status = client.status.as_ref();
        let delivered = status.and_then(|status| status.secret_name.as_deref());
        let secret = delivered.or_else(|| client.delivery_secret()).map(|name| SecretView {
            name: name.to_owned(),
            exists: (!secrets.is_forbidden())
                .then(|| secrets.items().iter().any(|existing| existing == name)),
        });
        let pool = client.spec.webapp.as_ref().map(|webapp| &webapp.user_pool_ref.name);
        Self {
            object,
            type_: if client.spec.webapp.is_some() { "Webapp" } else { "Service" },
            role: client.spec.service.as_ref().map(|service| service.role.as_str()),
            client_id: status.and_then(|status| status.client_id.clone()),
            user_pool: pool.map(|pool| name_of(Kind::UserPool, pool)),
            keys: keys::of_client(client),
            secret,
        }
    }
}

impl MemberView {
    fn of(member: &Object<Member>) -> Self {
        let role = member.0.as_ref().ok().map(|member| member.spec.role.as_str());
        Self { object: ObjectView::of(member), role }
    }
}

/// The last warnings, newest first. What is repeated is shown once.
fn warnings(events: &[Event]) -> Vec<Warning> {
    let time = |event: &Event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.clone());
        let micro = series.or_else(|| event.event_time.clone()).map(|time| Time(time.0));
        event.last_timestamp.clone().or(micro)
    };
    let warning = |event: &Event| {
        let about = &event.involved_object;
        let kind = about.kind.as_deref().unwrap_or_default();
        let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
        let kind = known.map_or_else(|| kind.to_ascii_lowercase(), singular);
        Warning {
            time: time(event),
            object: format!("{kind}/{}", about.name.as_deref().unwrap_or_default()),
            reason: event.reason.clone().unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
        }
    };
    let mut warnings: Vec<_> = events.iter().map(warning).collect();
    let epoch = Timestamp::UNIX_EPOCH;
    warnings.sort_by_key(|it| std::cmp::Reverse(it.time.as_ref().map_or(epoch, |time| time.0)));
    let mut shown: Vec<Warning> = Vec::new();
    for warning in warnings {
        let same = |it: &Warning| (&it.object, &it.message) == (&warning.object, &warning.message);
        if shown.len() < MAX_WARNINGS && !shown.iter().any(same) {
            shown.push(warning);
        }
    }
    shown
}
