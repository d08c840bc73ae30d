//! What triggers reconciliations: the watch of the objects, and watches of what belongs to them. Each
//! watch fails, backs off and restarts independently: one that fails permanently, for example
//! because of a missing permission, does not delay the events of the others.
//!
//! Not kube's `Controller`, because that keeps every object of a kind in memory, and its name several
//! times: several kilobytes for each.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream, FuturesUnordered, SelectAll, Stream};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::Guarded;
use super::queue::{Objects, Reference, Summary, Work};
use crate::crd::HasStatus;
use crate::crd::condition::is_ready;
use crate::domain::ids::ObjectName;
use crate::domain::scope::Scope;
use crate::kube_ext::name::object_name;
use crate::kube_ext::scope::api;

/// The number of objects in a page of a list. It is small because each may have more than a
/// megabyte.
const PAGE_SIZE: u32 = 50;
/// How many objects of one kind are reconciled at the same time.
const CONCURRENCY: usize = 16;
/// How long to wait until what belongs to the objects has been listed, before the objects are.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// The triggers of one kind.
pub struct Triggers<K> {
    /// Each part of the scope, with its name in [`super::queue::Queue`].
    parts: Vec<(String, Api<Guarded<K>>)>,
    objects: Objects<Guarded<K>>,
    summarize: Summarize<K>,
    others: Vec<BoxStream<'static, Touched>>,
}

/// What is retained of an object.
struct Summarize<K> {
    refers_to: fn(&K) -> Option<Reference>,
    time: fn(&K) -> Option<Timestamp>,
}

impl<K: HasStatus> Summarize<K> {
    fn summary(&self, object: &Guarded<K>) -> Summary {
        // Nothing is known of an unreadable object.
        let Ok(object) = object.0.as_ref() else { return Summary::default() };
        let conditions = object.status().map(K::conditions);
        Summary {
            refers_to: (self.refers_to)(object),
            is_ready: conditions.is_some_and(is_ready),
            time: (self.time)(object),
        }
    }
}

/// What a watch of something other than the objects reports.
enum Touched {
    /// Objects that a change concerns.
    Owners(Vec<ObjectName>),
    /// The first list is complete, or has failed.
    Listed,
}

/// Reconciles the objects of the scope, which are found by their names and by what they refer to.
pub fn controller<K>(
    client: &Client,
    scope: &Scope,
    refers_to: fn(&K) -> Option<Reference>,
) -> Triggers<K>
where
    K: HasStatus + DeserializeOwned + Resource<Scope = NamespaceResourceScope>,
{
    let part = |part: Option<&str>| (part.unwrap_or_default().to_owned(), api(client, part));
    let parts = scope.parts().into_iter().map(part).collect();
    let summarize = Summarize { refers_to, time: |_| None };
    Triggers { parts, objects: Objects::default(), summarize, others: Vec::new() }
}

impl<K> Triggers<K>
where
    K: HasStatus + DeserializeOwned,
{
    /// The objects that the controller knows.
    pub fn objects(&self) -> Objects<Guarded<K>> {
        self.objects.clone()
    }

    /// Retains a time of each object, for a gauge.
    #[must_use]
    pub fn retaining(mut self, time: fn(&K) -> Option<Timestamp>) -> Self {
        self.summarize.time = time;
        self
    }

    /// Also reconciles the objects that a change of something else concerns. `owners` finds them.
    #[must_use]
    pub fn watches<C, O>(
        mut self,
        apis: Vec<Api<Guarded<C>>>,
        config: &watcher::Config,
        owners: impl Fn(Guarded<C>) -> O + Send + Sync + 'static,
    ) -> Self
    where
        C: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        O: IntoIterator<Item = ObjectName>,
    {
        let owners = Arc::new(owners);
        for api in apis {
            let owners = Arc::clone(&owners);
            let events = watch(api, config.clone()).filter_map(move |event| {
                std::future::ready(match event {
                    Some(Event::InitApply(child) | Event::Apply(child) | Event::Delete(child)) => {
                        Some(Touched::Owners(owners(child).into_iter().collect()))
                    }
                    Some(Event::InitDone) | None => Some(Touched::Listed),
                    Some(Event::Init) => None,
                })
            });
            self.others.push(events.boxed());
        }
        self
    }

    /// Also reconciles the objects that `names` contains.
    #[must_use]
    pub fn reconcile_on(mut self, names: impl Stream<Item = ObjectName> + Send + 'static) -> Self {
        let names = names.map(|name| Touched::Owners(vec![name]));
        self.others.push(stream::iter([Touched::Listed]).chain(names).boxed());
        self
    }

    /// Passes each object to `reconcile` when there is something to do, and again after the time
    /// that it returns. Runs until dropped.
    pub async fn run<F>(self, reconcile: impl Fn(Work<Guarded<K>>) -> F)
    where
        F: Future<Output = Option<Duration>>,
    {
        let Self { parts, objects, summarize, others } = self;
        let mut unlisted = others.len();
        let mut others: SelectAll<_> = others.into_iter().collect();
        // An object is reconciled from what is stored when its turn comes. So what belongs to it is
        // listed first: otherwise, each of these lists would trigger it once more.
        let listed = async {
            while unlisted > 0
                && let Some(touched) = others.next().await
            {
                if matches!(touched, Touched::Listed) {
                    unlisted -= 1;
                }
            }
        };
        let _ = timeout(LIST_TIMEOUT, listed).await;
        let watches = parts.into_iter().map(|(part, api)| {
            let events = watch(api, watcher::Config::default());
            events.map(move |event| event.map(|event| (part.clone(), event))).boxed()
        });
        let mut changes: SelectAll<_> = watches.collect();
        let mut running = FuturesUnordered::new();
        loop {
            let mut due = None;
            while running.len() < CONCURRENCY && due.is_none() {
                match objects.with(|queue| queue.next(Instant::now())) {
                    Some(work) => {
                        let name = Arc::clone(&work.name);
                        let reconciled = reconcile(work);
                        running.push(async move { (name, reconciled.await) });
                    }
                    None => due = Some(objects.with(|queue| queue.next_due())),
                }
            }
            let next_due = async {
                match due.flatten() {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((name, pause)) = running.next() => {
                    objects.with(|queue| queue.done(&name, Instant::now(), pause));
                }
                Some(event) = changes.next() => {
                    if let Some((part, event)) = event {
                        note(&objects, &summarize, &part, event);
                    }
                }
                Some(touched) = others.next() => {
                    if let Touched::Owners(owners) = touched {
                        for owner in owners {
                            objects.with(|queue| queue.trigger(&owner));
                        }
                    }
                }
                () = next_due => {}
            }
        }
    }
}

/// Records an event about the objects themselves.
fn note<K: HasStatus>(
    objects: &Objects<Guarded<K>>,
    summarize: &Summarize<K>,
    part: &str,
    event: Event<Guarded<K>>,
) {
    match event {
        Event::Init => objects.with(|queue| queue.begin_list(part)),
        Event::InitApply(object) | Event::Apply(object) => {
            let summary = summarize.summary(&object);
            objects.with(|queue| queue.apply(object_name(&object), object, summary));
        }
        Event::InitDone => objects.with(|queue| queue.end_list(part)),
        Event::Delete(object) => objects.with(|queue| queue.delete(&object_name(&object))),
    }
}

/// The events of a watch; `None` if it has failed and will restart.
fn watch<C>(
    api: Api<Guarded<C>>,
    config: watcher::Config,
) -> impl Stream<Item = Option<Event<Guarded<C>>>> + Send + 'static
where
    C: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, config.page_size(PAGE_SIZE)).default_backoff().map(|event| match event {
        Ok(event) => Some(event),
        Err(error) => {
            let kind = C::kind(&());
            warn!(%kind, %error, "a watch of the controller failed; retrying");
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use axum::body::{Body, Bytes};
    use futures::StreamExt as _;
    use futures::channel::mpsc::unbounded;
    use http::{Request, Response, StatusCode};
    use parking_lot::Mutex;
    use serde_json::json;
    use tokio::time::sleep;

    use super::*;
    use crate::crd::{Organization, Revocation};

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_does_not_pause_the_others() {
        let (events, receiver) = unbounded::<std::io::Result<Bytes>>();
        let receiver = Mutex::new(Some(receiver));
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let answer = match request.uri().path() {
                "/apis/anon.dev/v1beta1/organizations" if watch => {
                    let receiver = receiver.lock().take().expect("one watch");
                    Response::new(Body::from_stream(receiver))
                }
                "/apis/anon.dev/v1beta1/organizations" => {
                    let list = json!({"metadata": {"resourceVersion": "1"}, "items": [],
                        "apiVersion": "anon.dev/v1beta1", "kind": "OrganizationList"});
                    Response::new(Body::from(list.to_string()))
                }
                _ => {
                    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                        "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403});
                    let refused = Response::builder().status(StatusCode::FORBIDDEN);
                    refused.body(Body::from(status.to_string())).unwrap()
                }
            };
            ready(Ok::<_, Infallible>(answer))
        });
        let client = Client::new(service, "default");
        let refused: Api<Guarded<Revocation>> = Api::all(client.clone());
        let (seen, mut reconciled) = unbounded();
        let running = controller::<Organization>(&client, &Scope::CLUSTER, |_| None)
            .watches(vec![refused], &watcher::Config::default(), |_| None)
            .run(move |work| {
                seen.unbounded_send(work.name.name.clone()).unwrap();
                ready(None)
            });
        tokio::spawn(running);
        // By now the other watch waits half a minute between attempts.
        sleep(Duration::from_secs(150)).await;
        for number in 2..30 {
            let object = json!({"apiVersion": "anon.dev/v1beta1", "kind": "Organization", "spec": {},
                "metadata": {"namespace": "acme", "name": format!("o-{number}"), "resourceVersion": number.to_string()}});
            let event = format!("{{\"type\":\"ADDED\",\"object\":{object}}}\n");
            events.unbounded_send(Ok(event.into())).unwrap();
            let next = timeout(Duration::from_secs(1), reconciled.next()).await;
            assert_eq!(next.expect("at once").unwrap(), format!("o-{number}"));
            sleep(Duration::from_secs(7)).await;
        }
    }
}
