//! Password hashes in the operator's namespace, and the hash function on a short leash.
//!
//! Each password has an id, and a Secret of its own by that name, created and deleted but never
//! changed. The Member names the id (see [`validate::password_id`]), so a password changes with one
//! write of the Member, and a crash before or after it leaves the old one or the new one in force.
//! A Secret that no Member names is removed by the sweep.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, ObjectMeta, PartialObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::{OnceCell, Semaphore};
use tracing::error;

use crate::crd;
use crate::domain::ids::{ObjectName, PasswordId};
use crate::domain::password::{Password, PasswordHash, Scratch};
use crate::domain::staff::Member;
use crate::kube_ext::api::{ReadExt as _, delete};
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::server::ApiError;
use crate::server::org::hashers::Hashers;
use crate::validate;

/// How many members are compared at a login: always this many hashes are computed.
pub const CANDIDATES: usize = 3;
/// How many requests hash at the same time. Each takes 19 MiB and a core; the validator beside it
/// keeps the others.
const CONCURRENT: usize = 2;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// A member who has a password.
pub struct Stored {
    /// As the API server has it.
    pub member: Member,
    /// Which password it is.
    pub id: PasswordId,
    /// Its hash.
    pub hash: PasswordHash,
}

/// Reads, writes and checks password hashes.
pub struct Passwords {
    client: Client,
    operator_namespace: String,
    hashers: Hashers,
    turns: Arc<Semaphore>,
    /// What is compared where there is no member.
    decoy: OnceCell<Arc<PasswordHash>>,
}

impl Passwords {
    /// For hashes in this namespace.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn new(client: Client, operator_namespace: &str) -> io::Result<Self> {
        Ok(Self {
            hashers: Hashers::start(CONCURRENT)?,
            client,
            operator_namespace: operator_namespace.to_owned(),
            turns: Arc::new(Semaphore::new(CONCURRENT)),
            decoy: OnceCell::new(),
        })
    }

    /// A member as the API server has it now, and the hash of its password, if there is one that can
    /// be read. Not as the index has it: that may be behind, and what is decided on here is what a
    /// session begins with.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn read(&self, name: &ObjectName) -> kube::Result<Option<Stored>> {
        let members: Api<Tolerant<crd::Member>> =
            Api::namespaced(self.client.clone(), &name.namespace);
        // One that cannot be read has no password; others of the same e-mail address go on.
        let found = members.get_opt(&name.name).await?.and_then(|found| found.0.ok());
        let living = found.filter(|found| found.metadata.deletion_timestamp.is_none());
        let Some(member) = living.and_then(|found| validate::member(&found).ok()) else {
            return Ok(None);
        };
        let Some(id) = member.password_id else { return Ok(None) };
        let secret = self.stored(&member, id).await?;
        let hash = secret.and_then(hash_in);
        Ok(hash.map(|hash| Stored { member, id, hash }))
    }

    async fn stored(&self, member: &Member, id: PasswordId) -> kube::Result<Option<Secret>> {
        let Some(name) = self.secret_name(member, id).await? else { return Ok(None) };
        let secret = self.secrets().find(&name).await?;
        let is_its = |secret: &Secret| {
            secret.labels().get(names::ID).is_some_and(|id| *id == member.id.to_string())
        };
        Ok(secret.filter(is_its))
    }

    /// Whether each of the hashes is of this password. The same work whatever there is: a decoy
    /// stands in for a hash that is not there, a cheaper one is made up for, and none is skipped.
    ///
    /// # Errors
    /// Too many others are at it.
    pub async fn check(
        &self,
        password: Password,
        hashes: [Option<PasswordHash>; CANDIDATES],
    ) -> Result<[bool; CANDIDATES], ApiError> {
        let decoy = self.decoy.get_or_try_init(|| async {
            let random = uuid::Uuid::new_v4().to_string();
            self.work(move |_| PasswordHash::of(&Password::typed(&random)).map(Arc::new))
                .await?
                .map_err(|_| ApiError::internal())
        });
        let decoy = Arc::clone(decoy.await?);
        self.work(move |scratch| {
            hashes.map(|hash| {
                let matches = hash.as_ref().unwrap_or(&decoy).check(&password, scratch);
                matches && hash.is_some()
            })
        })
        .await
    }

    /// Hashes a password that somebody has chosen.
    ///
    /// # Errors
    /// Too many others are at it, or it failed.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, ApiError> {
        let hash = self.work(move |_| PasswordHash::of(&password)).await?;
        hash.map_err(|_| ApiError::internal())
    }

    /// Stores the hash of a password, under an id that the Member does not name yet, or that nobody
    /// else can have taken. Whether it did: not if there is one under that id.
    ///
    /// # Errors
    /// The API server did not take it.
    pub async fn create(
        &self,
        member: &Member,
        id: PasswordId,
        hash: &PasswordHash,
    ) -> kube::Result<bool> {
        let Some(name) = self.secret_name(member, id).await? else { return Ok(false) };
        let secret = desired(member, name, hash);
        match self.secrets().create(&PostParams::default(), &Tolerant::new(secret)).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            created => created.map(|_| true),
        }
    }

    /// Whether the password stored under this id is this one.
    ///
    /// # Errors
    /// Too many others are at it, or the API server did not answer.
    pub async fn is(&self, member: &Member, id: PasswordId, text: &str) -> Result<bool, ApiError> {
        let stored = self.stored(member, id).await;
        let stored = stored.map_err(|error| super::resources::refused(&error))?;
        let Some(hash) = stored.and_then(hash_in) else { return Ok(false) };
        let password = Password::typed(text);
        self.work(move |scratch| hash.matches(&password, scratch)).await
    }

    /// Stores a password of this text under `id`, or finds it there. `false` if what is there is
    /// another one.
    ///
    /// # Errors
    /// Too many others are at it, or the API server did not take it.
    pub async fn claim(
        &self,
        member: &Member,
        id: PasswordId,
        text: &str,
    ) -> Result<bool, ApiError> {
        let refused = |error| super::resources::refused(&error);
        if self.stored(member, id).await.map_err(refused)?.is_none() {
            let hash = self.hash(Password::typed(text)).await?;
            if self.create(member, id, &hash).await.map_err(refused)? {
                return Ok(true);
            }
        }
        self.is(member, id, text).await
    }

    /// Removes the hash of a password that is no longer one of the member. The sweep would, later.
    ///
    /// # Errors
    /// The API server did not do it.
    pub async fn remove(&self, member: &Member, id: PasswordId) -> kube::Result<()> {
        let Some(name) = self.secret_name(member, id).await? else { return Ok(()) };
        match delete(&self.secrets(), &name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// Runs `job` off the async threads when it is its turn. The turn lasts as long as the job,
    /// also when nobody waits for it any more.
    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| ApiError::unavailable("too many logins at the same time; try again"))?;
        let done = self.hashers.run(move |scratch| {
            let result = job(scratch);
            drop(turn);
            result
        });
        done.await.ok_or_else(|| {
            error!("hashing a password did not end well");
            ApiError::internal()
        })
    }

    fn secrets(&self) -> Api<Tolerant<Secret>> {
        Api::namespaced(self.client.clone(), &self.operator_namespace)
    }

    /// The uid is read afresh: a namespace that was deleted and created again has new passwords.
    async fn secret_name(&self, member: &Member, id: PasswordId) -> kube::Result<Option<String>> {
        let namespaces: Api<Tolerant<PartialObjectMeta<Namespace>>> = Api::all(self.client.clone());
        let namespace = namespaces.get_opt(&member.name.namespace).await?;
        let uid = namespace.and_then(|namespace| namespace.uid());
        Ok(uid.map(|uid| names::password_secret(&uid, &member.name.name, id)))
    }
}

fn hash_in(secret: Secret) -> Option<PasswordHash> {
    let ByteString(bytes) = secret.data?.remove(names::PASSWORD_HASH)?;
    let bytes = zeroize::Zeroizing::new(bytes);
    PasswordHash::parse(std::str::from_utf8(&bytes).ok()?)
}

fn desired(member: &Member, name: String, hash: &PasswordHash) -> Secret {
    let data = ByteString(hash.expose().as_bytes().to_vec());
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(names::labels(names::PASSWORD, &member.id)),
            annotations: Some(names::password_annotations(&member.name, names::MADE_BY_API)),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some([(names::PASSWORD_HASH.to_owned(), data)].into()),
        ..Secret::default()
    }
}
