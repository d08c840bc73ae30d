//! Password hashes in the operator's namespace, and limits on the use of the hash function.
//!
//! Each password has an id and a Secret named after it, which is created and deleted but never
//! changed. The Member refers to the id (see [`validate::password_id`]), so a password changes with
//! one write of the Member, and a crash before or after that write leaves the old or the new
//! password in force. A Secret that no Member refers to is removed by garbage collection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, PartialObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::{OnceCell, Semaphore};
use tracing::error;

use crate::crd;
use crate::domain::ids::{ObjectName, PasswordId};
use crate::domain::member::Member;
use crate::domain::password::{Password, PasswordHash, Scratch};
use crate::kube_ext::api::{ReadExt as _, delete};
use crate::kube_ext::password_secret;
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::server::ApiError;
use crate::server::org::hash_workers::HashWorkers;
use crate::validate;

/// The maximum number of members that a login tries. It always computes this many hashes.
pub const CANDIDATES: usize = 3;
/// The maximum number of requests that hash concurrently. Each takes 19 MiB and a core; the other
/// cores are left to validation.
const CONCURRENT: usize = 2;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// A member who has a password.
pub struct Stored {
    /// The member, as read from the API server.
    pub member: Member,
    /// The id of the password.
    pub id: PasswordId,
    /// The hash of the password.
    pub hash: PasswordHash,
}

/// Reads, writes and checks password hashes.
pub struct Passwords {
    client: Client,
    operator_namespace: String,
    workers: HashWorkers,
    turns: Arc<Semaphore>,
    /// Compared if there is no member.
    decoy: OnceCell<Arc<PasswordHash>>,
}

impl Passwords {
    /// Stores the hashes in this namespace.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn new(client: Client, operator_namespace: &str) -> io::Result<Self> {
        Ok(Self {
            workers: HashWorkers::start(CONCURRENT)?,
            client,
            operator_namespace: operator_namespace.to_owned(),
            turns: Arc::new(Semaphore::new(CONCURRENT)),
            decoy: OnceCell::new(),
        })
    }

    /// Reads a member and the hash of its password from the API server. `None` if either does not
    /// exist or cannot be parsed. The index is not used because it may be behind, and a session
    /// begins with what is read here.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn read(&self, name: &ObjectName) -> kube::Result<Option<Stored>> {
        let members: Api<Tolerant<crd::Member>> =
            Api::namespaced(self.client.clone(), &name.namespace);
        // A member that cannot be parsed must not block others with the same e-mail address.
        let found = members.get_opt(&name.name).await?.and_then(|found| found.0.ok());
        let living = found.filter(|found| found.metadata.deletion_timestamp.is_none());
        let Some(member) = living.and_then(|found| validate::member(&found).ok()) else {
            return Ok(None);
        };
        let Some(id) = member.password_id else { return Ok(None) };
        let secret = self.stored(&member, id).await?;
        let hash = secret.as_ref().and_then(password_secret::hash);
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

    /// Whether each of the hashes is of this password. The work is always the same: a decoy
    /// replaces a missing hash, extra work compensates for a cheaper one, and none is skipped.
    ///
    /// # Errors
    /// Too many requests are hashing.
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

    /// Hashes a new password.
    ///
    /// # Errors
    /// Too many requests are hashing, or hashing failed.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, ApiError> {
        let hash = self.work(move |_| PasswordHash::of(&password)).await?;
        hash.map_err(|_| ApiError::internal())
    }

    /// Stores the hash of a password under an id that the Member does not refer to yet, or that
    /// nobody else can have used. `false` if a hash is already stored under this id.
    ///
    /// # Errors
    /// The API server did not accept the write.
    pub async fn create(
        &self,
        member: &Member,
        id: PasswordId,
        hash: &PasswordHash,
    ) -> kube::Result<bool> {
        let Some(name) = self.secret_name(member, id).await? else { return Ok(false) };
        let secret = password_secret::new(member, name, names::MADE_BY_API, hash);
        match self.secrets().create(&PostParams::default(), &Tolerant::new(secret)).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            created => created.map(|_| true),
        }
    }

    /// Whether the password stored under this id is this one.
    ///
    /// # Errors
    /// Too many requests are hashing, or the API server did not answer.
    pub async fn is(&self, member: &Member, id: PasswordId, text: &str) -> Result<bool, ApiError> {
        let stored = self.stored(member, id).await;
        let stored = stored.map_err(|error| super::resources::refused(&error))?;
        let Some(hash) = stored.as_ref().and_then(password_secret::hash) else { return Ok(false) };
        let password = Password::typed(text);
        self.work(move |scratch| hash.matches(&password, scratch)).await
    }

    /// Stores this password under `id`, unless it is stored there already. `false` if another one
    /// is stored there.
    ///
    /// # Errors
    /// Too many requests are hashing, or the API server did not accept the write.
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

    /// Deletes the hash of a password that the member no longer has. Garbage collection would do so
    /// later.
    ///
    /// # Errors
    /// The API server did not delete it.
    pub async fn remove(&self, member: &Member, id: PasswordId) -> kube::Result<()> {
        let Some(name) = self.secret_name(member, id).await? else { return Ok(()) };
        match delete(&self.secrets(), &name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    /// Runs `job` on a thread for hashing when it is its turn. The turn lasts as long as the job,
    /// even if the request no longer waits for it.
    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Scratch) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn =
            tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| ApiError::unavailable("too many concurrent logins; try again"))?;
        let done = self.workers.run(move |scratch| {
            let result = job(scratch);
            drop(turn);
            result
        });
        done.await.ok_or_else(|| {
            error!("failed to hash a password");
            ApiError::internal()
        })
    }

    fn secrets(&self) -> Api<Tolerant<Secret>> {
        Api::namespaced(self.client.clone(), &self.operator_namespace)
    }

    /// The uid is read each time: a namespace that was deleted and re-created has new passwords.
    async fn secret_name(&self, member: &Member, id: PasswordId) -> kube::Result<Option<String>> {
        let namespaces: Api<Tolerant<PartialObjectMeta<Namespace>>> = Api::all(self.client.clone());
        let namespace = namespaces.get_opt(&member.name.namespace).await?;
        let uid = namespace.and_then(|namespace| namespace.uid());
        Ok(uid.map(|uid| names::password_secret(&uid, &member.name.name, id)))
    }
}
