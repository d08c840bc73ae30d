//! Fills the index: lists and watches every kind ([`objects`]), and reads namespaces that are being
//! deleted ([`namespaces`]). The only client of the index's writable side. Besides, reads the
//! certificate of the admission webhook ([`webhook_certificate`]).

mod known;
pub mod namespaces;
pub mod objects;
pub mod webhook_certificate;

use kube::Client;

use crate::crd::{self, for_each_kind};
use crate::index::Index;

macro_rules! drive_all {
    ($($kind:ident),*) => {
        /// Keeps the index up to date until dropped.
        pub async fn run(client: Client, index: &Index) {
            tokio::join!(
                $(objects::drive::<crd::$kind>(client.clone(), index),)*
                namespaces::drive(client.clone(), index),
            );
        }
    };
}
for_each_kind!(drive_all);
