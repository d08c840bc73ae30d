//! What the integration tests and the benchmark use of this crate, under the same paths. Everything
//! else is internal, so that rustc reports what nobody uses.
#![allow(missing_docs, reason = "each item has its documentation where it is defined")]

pub mod app {
    pub use crate::app::run;
}
pub mod cli {
    pub use crate::cli::reference;
}
pub mod clock {
    pub use crate::clock::{Clock, SystemClock};
}
pub mod config {
    pub use crate::config::{Config, Role};
}
pub mod controller {
    pub use crate::controller::{Context, Error, Settings, run};
    pub mod apply {
        pub use crate::controller::apply::{
            Applied, Created, apply_child, create_secret, delete_exactly, read_secret,
            replace_secret,
        };
    }
    pub mod bindings {
        pub use crate::controller::bindings::{collect, prune};
    }
    pub mod status {
        pub use crate::controller::status::{complete, record_matched, write, write_unreadable};
    }
}
pub mod crd {
    pub use crate::crd::{
        ApiKeyHash, ApiKeyState, ApiKeyStatus, Kind, MatchedCredential, Member, Organization,
        OrganizationStatus, Revocation, RevocationStatus, SdkClient, SdkClientStatus, UserPool,
    };
    pub mod condition {
        pub use crate::crd::condition::{Readiness, find, is_ready};
    }
    pub mod generate {
        pub use crate::crd::generate::files;
    }
    pub mod reasons {
        pub use crate::crd::reasons::{
            ConditionType, Documentation, EventReason, ExtraReason, ReadyReason,
        };
    }
}
pub mod domain {
    pub mod algorithm {
        pub use crate::domain::algorithm::{Algorithm, VerifyingAlgorithm};
    }
    pub mod client {
        pub use crate::domain::client::Origin;
    }
    pub mod credential {
        pub use crate::domain::credential::{ApiKey, SessionToken};
    }
    pub mod credential_type {
        pub use crate::domain::credential_type::CredentialType;
    }
    pub mod fetch_error {
        pub use crate::domain::fetch_error::FetchError;
    }
    pub mod ids {
        pub use crate::domain::ids::{
            MemberId, ObjectName, OrganizationId, SdkClientId, UserPoolId,
        };
    }
    pub mod jwk {
        pub use crate::domain::jwk::Jwk;
    }
    pub mod jwks_parser {
        pub use crate::domain::jwks_parser::RawKey;
    }
    pub mod operation {
        pub use crate::domain::operation::Operation;
    }
    pub mod password {
        pub use crate::domain::password::{Password, PasswordHash};
    }
    pub mod pool {
        pub use crate::domain::pool::Location;
    }
    pub mod reason {
        pub use crate::domain::reason::{Class, Reason};
    }
    pub mod revocation {
        pub use crate::domain::revocation::CredentialKind;
    }
    pub mod role {
        pub use crate::domain::role::Role;
    }
    pub mod scope {
        pub use crate::domain::scope::Scope;
    }
    pub mod signing {
        pub use crate::domain::signing::SigningKey;
    }
    pub mod signing_key_set {
        pub use crate::domain::signing_key_set::SigningKeyState;
    }
    pub mod stored_key {
        pub use crate::domain::stored_key::ApiKeyState;
    }
    pub mod token {
        pub use crate::domain::token::sign;
    }
}
pub mod index {
    pub use crate::index::{Index, IndexSettings, Indexed, Reader};
}
pub mod jwks {
    pub use crate::jwks::{
        AddressFilter, CONNECT_TIMEOUT, FETCH_TIMEOUT, FetchError, Fetched, Fetcher, Trust,
    };
    pub mod connect {
        pub use crate::jwks::connect::{Connector, Resolve, SystemResolver};
    }
}
pub mod kube_ext {
    pub mod tolerant {
        pub use crate::kube_ext::tolerant::Tolerant;
    }
    pub mod utf8 {
        pub use crate::kube_ext::utf8::repaired;
    }
}
pub mod leader {
    pub use crate::leader::{LEASE_NAME, campaign};
}
pub mod metrics {
    pub use crate::metrics::{Metrics, catalog};
}
pub mod names {
    pub use crate::names::{
        ID, KEY_SET, MADE_BY_API, PASSWORD, PASSWORD_HASH, PASSWORD_ID, ROTATE, SIGNING_KEYS,
        labels, password_annotations, signing_secret,
    };
}
pub mod replicas {
    pub mod tracker {
        pub use crate::replicas::tracker::{ReplicaTracker, Write};
    }
}
pub mod server {
    pub use crate::server::{
        ApiState, ConnectionLimits, EndpointSettings, Listener, PlatformSettings, RequestLimits,
        Routes, ValidatorState, VerificationQueue, VerifiedTokens, admin, openapi_document, routes,
        serve,
    };
    pub mod endpoints {
        pub use crate::server::endpoints::{ENDPOINTS, Endpoint};
        pub mod ext_authz {
            pub use crate::server::endpoints::ext_authz::messages::{
                AttributeContext, CheckRequest, CheckResponse, Header, HeaderList, HeaderOption,
                HttpRequest, HttpResponse, Kind, OkHttpResponse, RequestAttributes,
            };
        }
    }
}
pub mod telemetry {
    pub mod fields {
        pub use crate::telemetry::fields::{FIELDS, LogField};
    }
}
pub mod watch {
    pub use crate::watch::run;
    pub mod objects {
        pub use crate::watch::objects::drive;
    }
}
