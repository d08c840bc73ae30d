//! Requests for single objects, read as [`Tolerant`].

use std::fmt::Debug;
use std::future::Future;

use kube::api::{Api, DeleteParams};
use kube::core::Request;
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};

use super::tolerant::{Keep, Tolerant};

/// Short ways to an object that has to be readable.
pub trait ReadExt<K> {
    /// Reads an object that has to be there.
    fn read(&self, name: &str) -> impl Future<Output = kube::Result<K>> + Send;

    /// Reads an object; `None` if there is none of this name.
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

/// The object in an answer, which has to be readable.
///
/// # Errors
/// As the request, or it is not.
pub fn readable<K, M>(answer: kube::Result<Tolerant<K, M>>) -> kube::Result<K> {
    answer.and_then(Tolerant::readable)
}

impl<K, M> Tolerant<K, M> {
    /// The object.
    ///
    /// # Errors
    /// It cannot be read. The error does not quote it: it may be a Secret.
    pub fn readable(self) -> kube::Result<K> {
        let unreadable = || serde_json::Error::custom("the object is not what its kind says");
        self.0.map_err(|_| kube::Error::SerdeError(unreadable()))
    }
}

/// Deletes an object. If finalizers keep it, it is returned as it now is.
///
/// Instead of [`Api::delete`], which parses the reply as a tree and fails, though the object was
/// deleted, where the object is nested too deeply.
///
/// # Errors
/// The API server refused.
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
    // What was deleted at once is a Status, or the object without being asked for it.
    let is_status = |reply: Reply| reply.kind.as_deref() == Some("Status");
    let status = serde_json::from_str(&reply).is_ok_and(is_status);
    Ok(if status { None } else { Tolerant::parse(&reply).ok() })
}
