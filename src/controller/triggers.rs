//! The watches that trigger reconciliations. Each fails, backs off and restarts independently.
//!
//! By default, a controller of kube pauses all of its watches when one fails. A watch that fails
//! permanently, for example because of a missing permission, would then delay the events of all
//! others.

use std::fmt::Debug;
use std::time::Duration;

use futures::Stream;
use kube::Resource;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::controller::Controller;
use kube::runtime::reflector;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, watcher};
use serde::de::DeserializeOwned;

use super::Guarded;

/// The number of objects in a page of a list. It is small because each may have more than a
/// megabyte.
const PAGE_SIZE: u32 = 50;

/// Creates a controller for the objects of `api`. Their deletions trigger it, too, and it reports that
/// the object is not found.
pub fn controller<K>(api: Api<Guarded<K>>) -> Controller<Guarded<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let objects = watcher(api, paged(watcher::Config::default())).default_backoff();
    let objects = objects.reflect(writer).touched_objects();
    Controller::for_stream(objects, reader).trigger_backoff(NoPause)
}

/// The changes of the objects of `api` that `config` selects, including deletions.
pub fn touched<K>(
    api: Api<Guarded<K>>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Guarded<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, paged(config)).default_backoff().touched_objects()
}

fn paged(config: watcher::Config) -> watcher::Config {
    config.page_size(PAGE_SIZE)
}

/// No pause of the controller: each watch has its own backoff.
struct NoPause;

impl Iterator for NoPause {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::ZERO)
    }
}

impl Backoff for NoPause {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;
    use std::sync::Arc;

    use axum::body::{Body, Bytes};
    use futures::StreamExt as _;
    use futures::channel::mpsc::unbounded;
    use http::{Request, Response, StatusCode};
    use kube::runtime::controller::Action;
    use kube::{Client, ResourceExt as _};
    use parking_lot::Mutex;
    use serde_json::json;
    use tokio::time::{sleep, timeout};

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
        let running = controller::<Organization>(Api::all(client))
            .watches_stream(touched(refused, watcher::Config::default()), |_| None)
            .run(
                move |object, _| {
                    seen.unbounded_send(object.name_any()).unwrap();
                    ready(Ok::<_, Infallible>(Action::await_change()))
                },
                |_, _, _| Action::await_change(),
                Arc::new(()),
            )
            .for_each(|_| ready(()));
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
