//! Judges what was read of an installation.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::core::CustomResourceExt as _;

use super::fresh;
use super::installation::Installation;
use super::outcome::{Check, Grade};
use super::schema;
use crate::cli::read::{Listed, Readiness};
use crate::cli::when;
use crate::crd::{self, Kind, for_each_kind};
use crate::names;

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How many names a message lists.
const MAX_NAMES: usize = 5;

/// All checks, in the order in which to mend what is broken.
pub fn judge(installation: &Installation, now: Timestamp) -> Vec<Check> {
    let mut checks = vec![
        definitions(installation),
        deployments(installation),
        version(installation),
        leader(installation, now),
        validators(installation, now),
        policies(installation),
        webhook(installation),
    ];
    checks.extend(installation.objects.iter().map(|(kind, objects)| states(*kind, objects)));
    checks
}

macro_rules! our_definitions {
    ($($kind:ident),*) => {
        /// The definitions of this version, by name.
        fn our_definitions() -> Vec<(String, serde_json::Value)> {
            let definitions = [$(crd::$kind::crd()),*];
            let value = |definition| serde_json::to_value(definition).unwrap_or_default();
            definitions.iter().map(|it| (it.name_any(), value(it))).collect()
        }
    };
}
for_each_kind!(our_definitions);

fn definitions(installation: &Installation) -> Check {
    const NAME: &str = "custom resources";
    const INSTALL: &str = "Install or upgrade the chart, or apply the CRDs: `anon-operator crds | kubectl apply --server-side -f -`.";
    let plural = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let ours = our_definitions();
    let missing: Vec<_> = ours.iter().map(|it| plural(&it.0)).collect();
    let missing: Vec<_> =
        missing.into_iter().filter(|name| !installation.served.contains(name)).collect();
    if !missing.is_empty() {
        let message = format!("the API server does not serve {}", missing.join(", "));
        return Check::not_ok(NAME, Grade::Fail, message, INSTALL);
    }
    let count = ours.len();
    let Listed::Items(installed) = &installation.definitions else {
        let message = format!("{count} kinds are served; you may not read their definitions");
        return Check::ok(NAME, message);
    };
    let (mut lacking, mut unknown) = (Vec::new(), Vec::new());
    for (name, definition) in &ours {
        let installed = installed.iter().find(|it| it.name_any() == *name);
        let installed = serde_json::to_value(installed).unwrap_or_default();
        let differences = schema::compare(definition, &installed);
        let named = |field: &String| format!("{}.{field}", plural(name));
        lacking.extend(differences.missing.iter().map(named));
        unknown.extend(differences.unknown.iter().map(named));
    }
    if !lacking.is_empty() {
        let message = format!("older than kubectl-anon {VERSION}: no {}", some(&lacking));
        return Check::not_ok(
            NAME,
            Grade::Fail,
            message,
            format!("{INSTALL} Helm alone does not upgrade CRDs that it did not install."),
        );
    }
    if !unknown.is_empty() {
        let message = format!("newer than kubectl-anon {VERSION}: {}", some(&unknown));
        return Check::not_ok(NAME, Grade::Warn, message, "Update kubectl-anon.");
    }
    Check::ok(NAME, format!("{count} kinds of version {VERSION}"))
}

fn deployments(installation: &Installation) -> Check {
    const NAME: &str = "deployments";
    let namespace = &installation.namespace;
    let Listed::Items(deployments) = &installation.deployments else {
        return Check::skip(NAME, &format!("deployments in {namespace}"));
    };
    if deployments.is_empty() {
        let message = format!("there is no Deployment of the chart in namespace {namespace}");
        return Check::not_ok(
            NAME,
            Grade::Warn,
            message,
            "Install the chart; or select the namespace with --operator-namespace, if it has another one.",
        );
    }
    let replicas = |deployment: &Deployment| {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let status = deployment.status.as_ref();
        let current =
            status.is_some_and(|it| it.observed_generation >= deployment.metadata.generation);
        let updated = status.and_then(|it| it.updated_replicas).filter(|_| current);
        let ready = status.and_then(|it| it.ready_replicas).unwrap_or_default();
        (ready.min(updated.unwrap_or_default()), wanted)
    };
    let describe = |deployment: &Deployment| {
        let (ready, wanted) = replicas(deployment);
        format!("{} {ready}/{wanted}", deployment.name_any())
    };
    let behind = deployments.iter().filter(|it| replicas(it).0 < replicas(it).1);
    let behind: Vec<_> = behind.map(describe).collect();
    if behind.is_empty() {
        let all: Vec<_> = deployments.iter().map(describe).collect();
        return Check::ok(NAME, format!("ready: {}", some(&all)));
    }
    Check::not_ok(
        NAME,
        Grade::Fail,
        format!("not ready: {}", some(&behind)),
        format!(
            "`kubectl -n {namespace} get pods` and `kubectl -n {namespace} describe deployments` show why Pods do not start or are not ready."
        ),
    )
}

fn version(installation: &Installation) -> Check {
    const NAME: &str = "version";
    let Listed::Items(deployments) = &installation.deployments else {
        return Check::skip(NAME, "deployments");
    };
    let versions = deployments.iter().filter_map(|it| it.labels().get("app.kubernetes.io/version"));
    let mut others: Vec<_> = versions.filter(|version| *version != VERSION).cloned().collect();
    others.dedup();
    if others.is_empty() {
        return Check::ok(
            NAME,
            format!("kubectl-anon {VERSION}, and no operator of another version"),
        );
    }
    let message = format!("kubectl-anon {VERSION}, operator {}", others.join(", "));
    Check::not_ok(
        NAME,
        Grade::Warn,
        message,
        "Use the version of kubectl-anon that belongs to the operator; docs/compatibility.md says which versions work together.",
    )
}

fn leader(installation: &Installation, now: Timestamp) -> Check {
    const NAME: &str = "leader";
    let namespace = &installation.namespace;
    let Listed::Items(leases) = &installation.leases else {
        return Check::skip(NAME, &format!("leases in {namespace}"));
    };
    let remedy = format!(
        "Objects are not reconciled and keys are not rotated. Check the Pods with the role controller: `kubectl -n {namespace} get pods`, and their logs."
    );
    let Some(lease) = leases.iter().find(|lease| lease.name_any() == names::LEADER_LEASE) else {
        let message = format!("there is no Lease {} in namespace {namespace}", names::LEADER_LEASE);
        return Check::not_ok(NAME, Grade::Fail, message, remedy);
    };
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
    match (holder.filter(|holder| !holder.is_empty()), Renewal::of(lease, now)) {
        (Some(holder), renewal) if renewal.fresh => {
            Check::ok(NAME, format!("{holder}, renewed {}", renewal.text))
        }
        (Some(holder), renewal) => {
            let message = format!("{holder} renewed its Lease {}", renewal.text);
            Check::not_ok(NAME, Grade::Fail, message, remedy)
        }
        (None, _) => Check::not_ok(NAME, Grade::Fail, "no replica is the leader", remedy),
    }
}

fn validators(installation: &Installation, now: Timestamp) -> Check {
    const NAME: &str = "validators";
    let namespace = &installation.namespace;
    let Listed::Items(leases) = &installation.leases else {
        return Check::skip(NAME, &format!("leases in {namespace}"));
    };
    let named = |lease: &&Lease| lease.name_any().starts_with(names::VALIDATOR_LEASE);
    let (alive, silent): (Vec<_>, Vec<_>) =
        leases.iter().filter(named).partition(|lease| Renewal::of(lease, now).fresh);
    if alive.is_empty() {
        return Check::not_ok(
            NAME,
            Grade::Fail,
            "no replica that validates has a current Lease",
            format!(
                "Tokens and API keys are not validated. Check the Pods with the role validator: `kubectl -n {namespace} get pods`, and their logs."
            ),
        );
    }
    if silent.is_empty() {
        return Check::ok(NAME, format!("{} with a current Lease", alive.len()));
    }
    let silent: Vec<_> = silent.iter().map(|lease| lease.name_any()).collect();
    Check::not_ok(
        NAME,
        Grade::Warn,
        format!(
            "{} with a current Lease, {} without: {}",
            alive.len(),
            silent.len(),
            some(&silent)
        ),
        format!(
            "A replica that does not renew its Lease stops answering. Rotations and Revocations wait for it until the Lease has expired. If its Pod no longer exists, delete the Lease: `kubectl -n {namespace} delete lease NAME`."
        ),
    )
}

/// When a Lease was renewed.
struct Renewal {
    fresh: bool,
    text: String,
}

impl Renewal {
    fn of(lease: &Lease, now: Timestamp) -> Self {
        let spec = lease.spec.as_ref();
        let Some(renewed) = spec.and_then(|spec| spec.renew_time.as_ref()) else {
            return Self { fresh: false, text: "never".to_owned() };
        };
        let lasts = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
        let age = now.duration_since(renewed.0);
        let fresh = age.unsigned_abs() <= fresh(lasts) || age.is_negative();
        Self { fresh, text: when::relative(now, renewed.0) }
    }
}

fn policies(installation: &Installation) -> Check {
    const NAME: &str = "admission policies";
    match &installation.policies {
        Listed::Forbidden => Check::skip(NAME, "validatingadmissionpolicies"),
        Listed::Items(policies) if policies.is_empty() => Check::not_ok(
            NAME,
            Grade::Warn,
            "the chart's ValidatingAdmissionPolicies are not installed",
            "Without them, anyone who can write a status can add a key to it. Install the chart with its policies.",
        ),
        Listed::Items(policies) => Check::ok(NAME, format!("{} installed", policies.len())),
    }
}

fn webhook(installation: &Installation) -> Check {
    const NAME: &str = "admission webhook";
    let Listed::Items(configurations) = &installation.webhooks else {
        return Check::skip(NAME, "validatingwebhookconfigurations");
    };
    if configurations.is_empty() {
        return Check::ok(NAME, "not enabled");
    }
    let webhooks = configurations.iter().flat_map(|it| it.webhooks.iter().flatten());
    let lacks = |ca: &Option<k8s_openapi::ByteString>| ca.as_ref().is_none_or(|ca| ca.0.is_empty());
    if webhooks.into_iter().any(|webhook| lacks(&webhook.client_config.ca_bundle)) {
        return Check::not_ok(
            NAME,
            Grade::Fail,
            "the configuration has no caBundle, so the API server cannot ask the webhook",
            "The leader, or cert-manager, writes it: check the leader's log. Until then, duplicates are reported in status only.",
        );
    }
    Check::ok(NAME, "enabled, with a CA")
}

fn states(kind: Kind, objects: &Listed<(String, Readiness)>) -> Check {
    let name = match kind {
        Kind::Organization => "organizations",
        Kind::Member => "members",
        Kind::UserPool => "userpools",
        Kind::SdkClient => "sdkclients",
        Kind::Revocation => "revocations",
    };
    let Listed::Items(objects) = objects else { return Check::skip(name, name) };
    let unready: Vec<_> = objects
        .iter()
        .filter(|(_, readiness)| !readiness.is_ready())
        .map(|(name, readiness)| format!("{name} ({})", readiness.reason))
        .collect();
    let ready = objects.len() - unready.len();
    let message = format!("{ready} of {} ready", objects.len());
    if unready.is_empty() {
        return Check::ok(name, message);
    }
    Check::not_ok(
        name,
        Grade::Warn,
        format!("{message}; not ready: {}", some(&unready)),
        "`kubectl anon status -n NAMESPACE` shows why, and what to do.",
    )
}

/// The first few of a list.
fn some(names: &[String]) -> String {
    let shown = names.get(..MAX_NAMES).unwrap_or(names).join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
