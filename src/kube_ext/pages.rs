//! Lists, page by page and object by object: of a list that is held whole, the text and every object
//! in it are in memory at once.

use std::fmt::Debug;

use kube::api::{Api, ListParams};
use kube::core::{ListMeta, Request};
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::tolerant::{Keep, Tolerant};

/// Objects of the first page. An object can have more than a megabyte, so this is what a page may
/// have of such objects before anything is known of their size.
const FIRST: u32 = 20;
/// The most objects of a page.
const MOST: u32 = 500;
/// The size of a page that is aimed at, in bytes.
const SIZE: usize = 2 << 20;

#[derive(Deserialize)]
struct Page<'t> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow)]
    items: Option<Vec<&'t RawValue>>,
}

/// A list that is being read.
#[derive(Debug)]
pub struct Pages<'a, K> {
    api: &'a Api<K>,
    parameters: ListParams,
    /// The resourceVersion of the list, once its last page was read.
    version: Option<String>,
    done: bool,
}

impl<'a, K, M> Pages<'a, Tolerant<K, M>>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    M: Keep,
{
    /// Everything that `parameters` select, in the API server's most recent state.
    #[must_use]
    pub fn new(api: &'a Api<Tolerant<K, M>>, parameters: ListParams) -> Self {
        Self { api, parameters: parameters.limit(FIRST), version: None, done: false }
    }

    /// Reads the next page and hands each of its objects over, one after the other. Whether there
    /// was one.
    ///
    /// # Errors
    /// The API server did not answer with a list.
    pub async fn next(&mut self, mut take: impl FnMut(Tolerant<K, M>)) -> kube::Result<bool> {
        if self.done {
            return Ok(false);
        }
        let request = Request::new(self.api.resource_url());
        let request = if K::metadata_api() {
            request.list_metadata(&self.parameters)
        } else {
            request.list(&self.parameters)
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        let text = Client::from(self.api.clone()).request_text(request).await?;
        let page: Page<'_> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        for item in page.items.into_iter().flatten() {
            take(Tolerant::parse(item.get()).map_err(kube::Error::SerdeError)?);
        }
        let next = page.metadata.continue_.filter(|token| !token.is_empty());
        self.done = next.is_none();
        self.version = page.metadata.resource_version;
        let limit = self.parameters.limit.unwrap_or(FIRST);
        self.parameters.limit = Some(next_limit(limit, text.len()));
        self.parameters.continue_token = next;
        Ok(true)
    }

    /// The resourceVersion of the list that was read to its end.
    #[must_use]
    pub fn version(self) -> Option<String> {
        self.version.filter(|version| self.done && !version.is_empty())
    }
}

/// How many objects the page after one of `limit` objects and `size` bytes may have.
fn next_limit(limit: u32, size: usize) -> u32 {
    let of_size = u64::from(limit) * SIZE as u64 / (size as u64).max(1);
    u32::try_from(of_size).unwrap_or(MOST).clamp(1, MOST)
}

/// Hands every object of a list over, one after the other.
///
/// # Errors
/// The API server did not answer with a list.
pub async fn each<K, M>(
    api: &Api<Tolerant<K, M>>,
    parameters: ListParams,
    mut take: impl FnMut(Tolerant<K, M>),
) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    M: Keep,
{
    let mut pages = Pages::new(api, parameters);
    while pages.next(&mut take).await? {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_large_objects_are_small() {
        assert_eq!(next_limit(FIRST, 20 << 20), 2);
        assert_eq!(next_limit(2, 30 << 20), 1);
        assert_eq!(next_limit(FIRST, 20 * 3000), MOST);
        assert_eq!(next_limit(FIRST, 0), MOST);
        assert_eq!(next_limit(MOST, 4 << 20), 250);
    }
}
