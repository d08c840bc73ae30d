//! The field `authorization` of a user pool: the key set of the organization's own identity
//! provider. A pool created with it accepts any audience, because the API has no field for
//! audiences; its status reports that.

use kube::ResourceExt as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::fields::{Authorization, SpecPatch, filled, required};
use crate::crd;
use crate::domain::ids::UserPoolId;
use crate::server::ApiError;

/// The claim with the appUserId, if none is specified.
const ID_CLAIM: &str = "sub";

/// Applies the field to the spec of a new pool.
///
/// # Errors
/// The `jwksUri` is empty.
pub fn put(authorization: Authorization, spec: &mut crd::UserPoolSpec) -> Result<(), ApiError> {
    let url = required("jwksUri", Some(authorization.jwks_uri))?;
    spec.jwks = Some(crd::RemoteJwks { url, ca_ref: None, refresh_interval: None });
    spec.id_claim = filled(authorization.id_claim);
    spec.any_audience = Some(true);
    Ok(())
}

/// Adds the field to the patch of an existing pool. An `idClaim` that is not specified stays: a
/// different one would give the same people other user ids.
///
/// # Errors
/// The `jwksUri` is empty, or the pool has another type, which is immutable.
pub fn change(
    authorization: Authorization,
    pool: &crd::UserPool,
    spec: &mut SpecPatch,
) -> Result<(), ApiError> {
    let url = required("jwksUri", Some(authorization.jwks_uri))?;
    if pool.spec.jwks.is_none() {
        return Err(ApiError::unprocessable(
            "the keys of this pool do not come from a `jwksUri`, and the type of a pool is immutable; create another pool",
        ));
    }
    spec.set("jwks", Some(json!({ "url": url })));
    spec.set("idClaim", filled(authorization.id_claim));
    Ok(())
}

/// The field of a reply, for pools of every type: where the key set is served, if it has a URL.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Authorization")]
pub struct ShownAuthorization {
    jwks_uri: String,
    id_claim: String,
}

impl ShownAuthorization {
    /// For this pool.
    pub fn of(pool: &crd::UserPool, public_url: &str) -> Self {
        let spec = &pool.spec;
        let namespace = pool.namespace().unwrap_or_default();
        let own = || {
            let id = UserPoolId::derive(&namespace, &pool.name_any());
            format!("{public_url}/userPools/{id}/.well-known/jwks.json")
        };
        let found = || pool.status.as_ref().and_then(|status| status.jwks_uri.clone());
        let jwks_uri = match (&spec.jwks, &spec.oidc, &spec.inline) {
            (Some(jwks), _, _) => jwks.url.clone(),
            (_, Some(_), _) | (_, _, Some(_)) => found().unwrap_or_default(),
            _ => own(),
        };
        Self { jwks_uri, id_claim: spec.id_claim.clone().unwrap_or_else(|| ID_CLAIM.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn pool(spec: &Value) -> crd::UserPool {
        let metadata = json!({"namespace": "acme", "name": "users"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn read(authorization: Value) -> Authorization {
        serde_json::from_value(authorization).unwrap()
    }

    #[test]
    fn a_new_pool() {
        let mut spec = crd::UserPoolSpec::default();
        let wish = json!({"jwksUri": "https://id.example/jwks", "idClaim": "email"});
        assert!(put(read(wish), &mut spec).is_ok());
        let expected = json!({
            "jwks": {"url": "https://id.example/jwks"}, "idClaim": "email", "anyAudience": true,
        });
        assert_eq!(serde_json::to_value(&spec).unwrap(), expected);
        assert!(crate::validate::user_pool(&pool(&expected)).is_ok());
        assert!(put(read(json!({"jwksUri": ""})), &mut spec).is_err());
    }

    #[test]
    fn a_change() {
        let change = |authorization: Value, spec: &Value| {
            let mut patch = SpecPatch::default();
            change(read(authorization), &pool(spec), &mut patch).ok().map(|()| Value::from(patch))
        };
        let jwks = json!({"jwks": {"url": "https://old.example"}, "anyAudience": true});
        let url = json!({"jwksUri": "https://new.example"});
        assert_eq!(
            change(url.clone(), &jwks),
            Some(json!({"jwks": {"url": "https://new.example"}}))
        );
        let both = json!({"jwksUri": "https://new.example", "idClaim": "oid"});
        assert_eq!(change(both, &jwks).unwrap()["idClaim"], "oid");
        for other in [
            json!({"hosted": {}}),
            json!({"oidc": {"issuer": "https://id.example"}, "anyAudience": true}),
        ] {
            assert_eq!(change(url.clone(), &other), None, "{other}");
        }
    }

    #[test]
    fn every_kind_is_shown() {
        let shown = |spec: &Value| {
            serde_json::to_value(ShownAuthorization::of(&pool(spec), "https://anon.example"))
                .unwrap()
        };
        let hosted = shown(&json!({"hosted": {}}));
        let own = format!(
            "https://anon.example/userPools/{}/.well-known/jwks.json",
            UserPoolId::derive("acme", "users")
        );
        assert_eq!(hosted, json!({"jwksUri": own, "idClaim": "sub"}));
        let jwks = shown(&json!({"jwks": {"url": "https://id.example/jwks"}, "idClaim": "email"}));
        assert_eq!(jwks, json!({"jwksUri": "https://id.example/jwks", "idClaim": "email"}));
        assert_eq!(shown(&json!({"inline": {"keys": []}}))["jwksUri"], "");
    }
}
