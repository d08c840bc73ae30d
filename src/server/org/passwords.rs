//! Password hashes in the operator's namespace, and the hash function on a short leash.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::{OnceCell, Semaphore};
use tracing::error;

use crate::domain::password::{Password, PasswordHash};
use crate::domain::staff::Member;
use crate::names;
use crate::server::ApiError;

/// How many members are compared at a login: always this many hashes are computed.
pub const CANDIDATES: usize = 3;
/// How many requests hash at the same time. Each takes 19 MiB, at the most 64, and a core; the
/// validator beside it keeps the others.
const CONCURRENT: usize = 2;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads, writes and checks password hashes.
pub struct Passwords {
    client: Client,
    operator_namespace: String,
    turns: Arc<Semaphore>,
    /// What is compared where there is no member.
    decoy: OnceCell<Arc<PasswordHash>>,
}

impl Passwords {
    /// For hashes in this namespace.
    #[must_use]
    pub fn new(client: Client, operator_namespace: &str) -> Self {
        Self {
            client,
            operator_namespace: operator_namespace.to_owned(),
            turns: Arc::new(Semaphore::new(CONCURRENT)),
            decoy: OnceCell::new(),
        }
    }

    /// The hash of a member's password, if there is one that can be read.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn read(&self, member: &Member) -> kube::Result<Option<PasswordHash>> {
        let Some(name) = self.secret_name(member).await? else { return Ok(None) };
        let secret = self.secrets().get_opt(&name).await?;
        let ours = secret.filter(|secret| {
            secret.labels().get(names::ID).is_some_and(|id| *id == member.id.to_string())
        });
        let hash = ours.and_then(|secret| {
            let ByteString(bytes) = secret.data?.remove(names::PASSWORD_HASH)?;
            let bytes = zeroize::Zeroizing::new(bytes);
            PasswordHash::parse(std::str::from_utf8(&bytes).ok()?)
        });
        Ok(hash)
    }

    /// Whether each of the hashes is of this password. The same work whatever there is: a decoy
    /// stands in for a hash that is not there, and none is skipped.
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
            self.work(move || PasswordHash::of(&Password::typed(&random)).map(Arc::new))
                .await?
                .map_err(|_| ApiError::internal())
        });
        let decoy = Arc::clone(decoy.await?);
        self.work(move || {
            hashes.map(|hash| {
                let matches = hash.as_ref().unwrap_or(&decoy).matches(&password);
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
        let hash = self.work(move || PasswordHash::of(&password)).await?;
        hash.map_err(|_| ApiError::internal())
    }

    /// Stores the hash of a password that was sent to the API. What was there before goes.
    ///
    /// # Errors
    /// The API server did not take it.
    pub async fn write(&self, member: &Member, hash: &PasswordHash) -> kube::Result<()> {
        let Some(name) = self.secret_name(member).await? else { return Ok(()) };
        let data = ByteString(hash.expose().as_bytes().to_vec());
        let mut secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(names::labels(names::PASSWORD, &member.id)),
                annotations: Some(names::password_annotations(&member.name, names::MADE_BY_API)),
                ..ObjectMeta::default()
            },
            type_: Some("Opaque".to_owned()),
            data: Some([(names::PASSWORD_HASH.to_owned(), data)].into()),
            ..Secret::default()
        };
        let secrets = self.secrets();
        match secrets.create(&PostParams::default(), &secret).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            created => return created.map(drop),
        }
        secret.metadata.resource_version = secrets.get(&name).await?.resource_version();
        secrets.replace(&name, &PostParams::default(), &secret).await.map(drop)
    }

    /// Removes the hash of a member's password.
    ///
    /// # Errors
    /// The API server did not do it.
    pub async fn remove(&self, member: &Member) -> kube::Result<()> {
        let Some(name) = self.secret_name(member).await? else { return Ok(()) };
        match self.secrets().delete(&name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if !status.is_not_found() => {
                Err(kube::Error::Api(status))
            }
            Ok(_) | Err(kube::Error::Api(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Runs `job` off the async threads when it is its turn. The turn lasts as long as the job,
    /// also when nobody waits for it any more.
    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| ApiError::unavailable("too many logins at the same time; try again"))?;
        let done = tokio::task::spawn_blocking(move || {
            let result = job();
            drop(turn);
            result
        });
        done.await.map_err(|error| {
            error!(%error, "hashing a password did not end well");
            ApiError::internal()
        })
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.operator_namespace)
    }

    /// The uid is read afresh: a namespace that was deleted and created again has new passwords.
    async fn secret_name(&self, member: &Member) -> kube::Result<Option<String>> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = namespaces.get_metadata_opt(&member.name.namespace).await?;
        let uid = namespace.and_then(|namespace| namespace.uid());
        Ok(uid.map(|uid| names::password_secret(&uid, &member.name.name)))
    }
}
