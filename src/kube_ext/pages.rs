//! Lists objects page by page and parses them one by one, because a list that is read at once needs
//! memory for its whole text and for every object in it. While a page is parsed, the API server
//! already prepares the next one.

use std::fmt::Debug;

use futures::future::try_join;
use kube::api::{Api, ListParams};
use kube::core::{ListMeta, Request};
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::tolerant::{Keep, Tolerant};

/// The number of objects on the first page. An object can be larger than a megabyte, and the sizes
/// are not known before the first page.
const FIRST_PAGE_LIMIT: u32 = 20;
/// The maximum number of objects on a page.
const MAX_PAGE_LIMIT: u32 = 500;
/// The target size of a page, in bytes.
const TARGET_PAGE_BYTES: usize = 2 << 20;
/// After how many objects the response with the next page is received.
const PARSED_AT_ONCE: usize = 16;

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
    /// The text of the next page, if it was read while the last one was parsed.
    ahead: Option<String>,
    /// The resourceVersion of the list, as of the last page that was read.
    version: Option<String>,
    done: bool,
}

impl<'a, K, M> Pages<'a, Tolerant<K, M>>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    M: Keep,
{
    /// A list of the objects that `parameters` select, in the API server's most recent state.
    #[must_use]
    pub fn new(api: &'a Api<Tolerant<K, M>>, parameters: ListParams) -> Self {
        let parameters = parameters.limit(FIRST_PAGE_LIMIT);
        Self { api, parameters, ahead: None, version: None, done: false }
    }

    /// Reads the next page and passes its objects to `take`, one by one. Returns whether there was
    /// a page.
    ///
    /// # Errors
    /// A request failed, for this page or the one after it, or the response is not a list.
    pub async fn next(&mut self, mut take: impl FnMut(Tolerant<K, M>)) -> kube::Result<bool> {
        if self.done {
            return Ok(false);
        }
        let text = match self.ahead.take() {
            Some(text) => text,
            None => self.read().await?,
        };
        let page: Page<'_> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        let next = page.metadata.continue_.filter(|token| !token.is_empty());
        self.done = next.is_none();
        self.version = page.metadata.resource_version;
        let limit = self.parameters.limit.unwrap_or(FIRST_PAGE_LIMIT);
        self.parameters.limit = Some(next_limit(limit, text.len()));
        self.parameters.continue_token = next;
        let ahead = async { if self.done { Ok(None) } else { self.read().await.map(Some) } };
        let parse = async {
            for (number, item) in page.items.into_iter().flatten().enumerate() {
                take(Tolerant::parse(item.get()).map_err(kube::Error::SerdeError)?);
                if number % PARSED_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
            Ok(())
        };
        let (ahead, ()) = try_join(ahead, parse).await?;
        self.ahead = ahead;
        Ok(true)
    }

    /// Reads the page that the parameters select.
    async fn read(&self) -> kube::Result<String> {
        let request = Request::new(self.api.resource_url());
        let request = if K::metadata_api() {
            request.list_metadata(&self.parameters)
        } else {
            request.list(&self.parameters)
        };
        let request = request.map_err(kube::Error::BuildRequest)?;
        Client::from(self.api.clone()).request_text(request).await
    }

    /// The resourceVersion of the list; `None` unless every page was read.
    #[must_use]
    pub fn version(self) -> Option<String> {
        self.version.filter(|version| self.done && !version.is_empty())
    }
}

/// The limit of the page after one that had `limit` objects and `size` bytes.
fn next_limit(limit: u32, size: usize) -> u32 {
    let of_size = u64::from(limit) * TARGET_PAGE_BYTES as u64 / (size as u64).max(1);
    u32::try_from(of_size).unwrap_or(MAX_PAGE_LIMIT).clamp(1, MAX_PAGE_LIMIT)
}

/// Passes every object of a list to `take`, one by one.
///
/// # Errors
/// A request failed, or a response is not a list.
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

/// The same for several lists, one after the other.
///
/// # Errors
/// As for [`each`].
pub async fn each_of<K, M>(
    apis: &[Api<Tolerant<K, M>>],
    parameters: ListParams,
    mut take: impl FnMut(Tolerant<K, M>),
) -> kube::Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    M: Keep,
{
    for api in apis {
        each(api, parameters.clone(), &mut take).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_large_objects_are_small() {
        assert_eq!(next_limit(FIRST_PAGE_LIMIT, 20 << 20), 2);
        assert_eq!(next_limit(2, 30 << 20), 1);
        assert_eq!(next_limit(FIRST_PAGE_LIMIT, 20 * 3000), MAX_PAGE_LIMIT);
        assert_eq!(next_limit(FIRST_PAGE_LIMIT, 0), MAX_PAGE_LIMIT);
        assert_eq!(next_limit(MAX_PAGE_LIMIT, 4 << 20), 250);
    }
}
