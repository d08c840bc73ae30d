//! Password hashes in the operator's namespace, and the hash function on a short leash.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, ObjectMeta, PartialObjectMeta, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use tokio::sync::{OnceCell, Semaphore};
use tracing::error;

use crate::domain::password::{Password, PasswordHash, Scratch};
use crate::domain::staff::Member;
use crate::kube_ext::api::{ReadExt as _, delete};
use crate::kube_ext::tolerant::Tolerant;
use crate::names;
use crate::server::ApiError;
use crate::server::org::hashers::Hashers;

/// How many members are compared at a login: always this many hashes are computed.
pub const CANDIDATES: usize = 3;
/// How many requests hash at the same time. Each takes 19 MiB, at the most 64, and a core; the
/// validator beside it keeps the others.
const CONCURRENT: usize = 2;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a write of a hash is tried that others come in the way of.
const TRIES: u32 = 5;

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

    /// The hash of a member's password, if there is one that can be read.
    ///
    /// # Errors
    /// The API server did not answer.
    pub async fn read(&self, member: &Member) -> kube::Result<Option<PasswordHash>> {
        let Some(name) = self.secret_name(member).await? else { return Ok(None) };
        let secret = self.secrets().find(&name).await?;
        let ours = secret.filter(|secret| {
            secret.labels().get(names::ID).is_some_and(|id| *id == member.id.to_string())
                && names::is_password_of(secret.annotations(), member)
        });
        Ok(ours.and_then(hash_in))
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
            self.work(move |_| PasswordHash::of(&Password::typed(&random)).map(Arc::new))
                .await?
                .map_err(|_| ApiError::internal())
        });
        let decoy = Arc::clone(decoy.await?);
        self.work(move |scratch| {
            hashes.map(|hash| {
                let matches = hash.as_ref().unwrap_or(&decoy).matches(&password, scratch);
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

    /// Stores the hash of the password of a member who does not exist yet. Returns the
    /// [`names::PASSWORD_ID`] that the member has to carry. If there is a hash, that of the same
    /// password counts; `None` if it is of another.
    ///
    /// # Errors
    /// Too many others are at it, or the API server did not take it.
    pub async fn claim(&self, member: &Member, text: &str) -> Result<Option<String>, ApiError> {
        let refused = |error| super::resources::refused(&error);
        let name = self.secret_name(member).await.map_err(refused)?;
        let name = name.ok_or_else(super::resources::unknown)?;
        let secrets = self.secrets();
        if self.stored(&name).await.map_err(refused)?.is_none() {
            let mut member = member.clone();
            let id = uuid::Uuid::new_v4().to_string();
            member.password_id = Some(id.clone());
            let hash = self.hash(Password::typed(text)).await?;
            let secret = desired(&member, &name, &hash);
            match secrets.create(&PostParams::default(), &Tolerant::new(secret)).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                created => return created.map(|_| Some(id)).map_err(refused),
            }
        }
        let stored = secrets.read(&name).await.map_err(refused)?;
        let id = stored.annotations().get(names::PASSWORD_ID).cloned();
        let Some(hash) = hash_in(stored) else { return Ok(None) };
        let password = Password::typed(text);
        let matches = self.work(move |scratch| hash.matches(&password, scratch)).await?;
        Ok(id.filter(|_| matches))
    }

    /// Stores the hash of a password that was sent to the API. What was there before goes.
    ///
    /// # Errors
    /// The API server did not take it.
    pub async fn write(&self, member: &Member, hash: &PasswordHash) -> kube::Result<()> {
        let Some(name) = self.secret_name(member).await? else { return Ok(()) };
        let mut secret = desired(member, &name, hash);
        let secrets = self.secrets();
        let (mut tries, parameters) = (1..=TRIES, PostParams::default());
        loop {
            let existing = self.stored(&name).await?;
            secret.metadata.resource_version =
                existing.as_ref().and_then(ResourceExt::resource_version);
            let written = match existing {
                None => secrets.create(&parameters, &Tolerant::new(secret.clone())).await,
                Some(_) => {
                    let replacement = Tolerant::new(secret.clone());
                    secrets.replace(&name, &parameters, &replacement).await
                }
            };
            match written {
                // Another replica, or the leader, which removes what an earlier member left.
                Err(kube::Error::Api(status))
                    if matches!(status.code, 404 | 409) && tries.next().is_some() => {}
                written => return written.map(drop),
            }
        }
    }

    /// Removes the hash of a member's password; not that of a later member of the same name.
    ///
    /// # Errors
    /// The API server did not do it.
    pub async fn remove(&self, member: &Member) -> kube::Result<()> {
        let Some(name) = self.secret_name(member).await? else { return Ok(()) };
        let stored = self.stored(&name).await?;
        let stored = stored.filter(|it| names::is_password_of(it.annotations(), member));
        let Some(stored) = stored else { return Ok(()) };
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: stored.uid(),
                resource_version: stored.resource_version(),
            }),
            ..DeleteParams::default()
        };
        match delete(&self.secrets(), &name, &parameters).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
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

    /// The metadata of a Secret of this name.
    async fn stored(
        &self,
        name: &str,
    ) -> kube::Result<Option<Tolerant<PartialObjectMeta<Secret>>>> {
        let secrets: Api<Tolerant<PartialObjectMeta<Secret>>> =
            Api::namespaced(self.client.clone(), &self.operator_namespace);
        secrets.get_opt(name).await
    }

    /// The uid is read afresh: a namespace that was deleted and created again has new passwords.
    async fn secret_name(&self, member: &Member) -> kube::Result<Option<String>> {
        let namespaces: Api<Tolerant<PartialObjectMeta<Namespace>>> = Api::all(self.client.clone());
        let namespace = namespaces.get_opt(&member.name.namespace).await?;
        let uid = namespace.and_then(|namespace| namespace.uid());
        Ok(uid.map(|uid| names::password_secret(&uid, &member.name.name)))
    }
}

fn hash_in(secret: Secret) -> Option<PasswordHash> {
    let ByteString(bytes) = secret.data?.remove(names::PASSWORD_HASH)?;
    let bytes = zeroize::Zeroizing::new(bytes);
    PasswordHash::parse(std::str::from_utf8(&bytes).ok()?)
}

fn desired(member: &Member, name: &str, hash: &PasswordHash) -> Secret {
    let mut annotations = names::password_annotations(&member.name, names::MADE_BY_API);
    annotations.extend(member.password_id.clone().map(|id| (names::PASSWORD_ID.to_owned(), id)));
    let data = ByteString(hash.expose().as_bytes().to_vec());
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(names::labels(names::PASSWORD, &member.id)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some([(names::PASSWORD_HASH.to_owned(), data)].into()),
        ..Secret::default()
    }
}
