//! Shared and exclusive use of the cluster: operators are cluster-wide, so a test that starts its
//! own needs the cluster to itself.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use tokio::sync::{Mutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::Operator;
use super::cluster::{admin, operator_namespace};

static TURN: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);
static SHARED: Mutex<Option<Arc<Operator>>> = Mutex::const_new(None);

/// The operator that tests share. The first of these tests starts it.
pub struct Shared {
    operator: Arc<Operator>,
    _turn: OwnedRwLockReadGuard<()>,
}

impl Deref for Shared {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.operator
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the shared log ---\n{}", self.operator.log_tail());
        }
    }
}

/// The flags that enable everything that is off by default.
const FLAGS: [&str; 2] = ["--allow-sign-up", "--link-url=https://link.example.test/link"];

/// Waits until the cluster can be used together with other tests. Returns the shared operator.
pub async fn shared() -> Shared {
    let turn = Arc::clone(&TURN).read_owned().await;
    let mut running = SHARED.lock().await;
    if running.is_none() {
        // An earlier run may have ended without releasing the Lease.
        free_lease().await;
        forget_validators().await;
        *running = Some(Arc::new(Operator::start(&FLAGS).await));
    }
    let operator = running.as_ref().map(Arc::clone).unwrap();
    Shared { operator, _turn: turn }
}

/// Exclusive use of the cluster.
pub struct Alone {
    _turn: OwnedRwLockWriteGuard<()>,
}

/// Waits for exclusive use of the cluster. No operator is running then.
pub async fn alone() -> Alone {
    let turn = Arc::clone(&TURN).write_owned().await;
    if let Some(operator) = SHARED.lock().await.take() {
        Arc::into_inner(operator).expect("its users are gone").stop().await;
    }
    free_lease().await;
    forget_validators().await;
    Alone { _turn: turn }
}

/// Deletes the Leases of validators. Otherwise, operators that were killed would be included as
/// validators for an hour; here they are known to be dead.
async fn forget_validators() {
    let leases: Api<Lease> = Api::namespaced(admin().await, &operator_namespace());
    for lease in leases.list_metadata(&ListParams::default()).await.unwrap() {
        if lease.name_any().starts_with("anon-validator-") {
            leases.delete(&lease.name_any(), &DeleteParams::default()).await.unwrap();
        }
    }
}

/// Deletes the leader's Lease, whose holder is known to be dead, so that the next operator does not
/// have to wait for it.
pub async fn free_lease() {
    let leases: Api<Lease> = Api::namespaced(admin().await, &operator_namespace());
    let gone = leases.delete("anon-operator-leader", &DeleteParams::default()).await;
    assert!(gone.map_or_else(|error| error.to_string().contains("not found"), |_| true));
}
