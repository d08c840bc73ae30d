//! Requests for single objects, which are parsed as [`Tolerant`].

use std::fmt::Debug;
use std::future::Future;

use kube::api::{Api, DeleteParams, ObjectMeta, Preconditions};
use kube::core::Request;
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

use super::tolerant::{Keep, Tolerant};

/// Reads objects for which unreadable content is an error.
pub trait ReadExt<K> {
    /// Reads an object that must exist.
    fn read(&self, name: &str) -> impl Future<Output = kube::Result<K>> + Send;

    /// Reads an object; `None` if it does not exist.
    fn find(&self, name: &str) -> impl Future<Output = kube::Result<Option<K>>> + Send;
}

impl<K, M> ReadExt<K> for Api<Tolerant<K, M>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send,
    M: Keep,
{
    async fn read(&self, name: &str) -> kube::Result<K> {
        readable(self.get(name).await)
    }

    async fn find(&self, name: &str) -> kube::Result<Option<K>> {
        self.get_opt(name).await?.map(Tolerant::readable).transpose()
    }
}

/// The object in a response.
///
/// # Errors
/// The request failed, or the object is unreadable.
pub fn readable<K, M>(answer: kube::Result<Tolerant<K, M>>) -> kube::Result<K> {
    answer.and_then(Tolerant::readable)
}

impl<K, M> Tolerant<K, M> {
    /// The parsed object.
    ///
    /// # Errors
    /// The object is unreadable. The error does not quote it, because it may be a Secret.
    pub fn readable(self) -> kube::Result<K> {
        let unreadable =
            || serde_json::Error::custom("the object does not match the schema of its kind");
        self.0.map_err(|_| kube::Error::SerdeError(unreadable()))
    }
}

/// Deletes an object. If it has finalizers and so still exists, it is returned in its new state.
///
/// Replaces [`Api::delete`], which parses the response as a tree. For an object that is nested too
/// deeply that fails, although the object was deleted.
///
/// # Errors
/// The request failed.
pub async fn delete<K, M>(
    api: &Api<Tolerant<K, M>>,
    name: &str,
    parameters: &DeleteParams,
) -> kube::Result<Option<Tolerant<K, M>>>
where
    K: Resource + Clone + DeserializeOwned,
    M: Keep,
{
    #[derive(Deserialize)]
    struct Reply {
        kind: Option<String>,
    }
    let request = Request::new(api.resource_url()).delete(name, parameters);
    let request = request.map_err(kube::Error::BuildRequest)?;
    let reply = Client::from(api.clone()).request_text(request).await?;
    // For an object that was deleted at once, the response is a Status.
    let is_status = |reply: Reply| reply.kind.as_deref() == Some("Status");
    let status = serde_json::from_str(&reply).is_ok_and(is_status);
    Ok(if status { None } else { Tolerant::parse(&reply).ok() })
}

/// Deletes exactly the object that was read: not a re-created or modified one of the same name.
/// Returns the same as [`delete`].
///
/// # Errors
/// The request failed; a conflict, if it is another object now.
pub async fn delete_exactly<K, M>(
    api: &Api<Tolerant<K, M>>,
    read: &ObjectMeta,
    parameters: DeleteParams,
) -> kube::Result<Option<Tolerant<K, M>>>
where
    K: Resource + Clone + DeserializeOwned,
    M: Keep,
{
    let (uid, resource_version) = (read.uid.clone(), read.resource_version.clone());
    let preconditions = Some(Preconditions { uid, resource_version });
    let name = read.name.as_deref().unwrap_or_default();
    delete(api, name, &DeleteParams { preconditions, ..parameters }).await
}
