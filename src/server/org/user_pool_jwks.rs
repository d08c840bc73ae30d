//! The field `authorization` of a user pool: the key set of the organization's own identity
//! provider. A pool created with it accepts any audience, because the API has no field for
//! audiences; its status reports that.

use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::crd;
use crate::domain::ids::UserPoolId;
use crate::server::ApiError;
use crate::server::request::Fields;

/// The claim with the appUserId, if none is specified.
const ID_CLAIM: &str = "sub";

/// The field of a request.
pub struct Authorization {
    jwks_uri: String,
    id_claim: Option<String>,
}

impl Authorization {
    /// Reads the field of a body, if it is present.
    ///
    /// # Errors
    /// It is not an object with a `jwksUri`.
    pub fn read(fields: &Fields) -> Result<Option<Self>, ApiError> {
        let Some(fields) = fields.object("authorization")? else { return Ok(None) };
        let jwks_uri = fields.required("jwksUri")?.to_owned();
        Ok(Some(Self { jwks_uri, id_claim: fields.text("idClaim")? }))
    }

    /// Applies the field to the spec of a new pool.
    pub fn put(self, spec: &mut crd::UserPoolSpec) {
        spec.jwks =
            Some(crd::RemoteJwks { url: self.jwks_uri, ca_ref: None, refresh_interval: None });
        spec.id_claim = self.id_claim;
        spec.any_audience = Some(true);
    }

    /// The change that the field makes to the spec of an existing pool. An `idClaim` that is not
    /// specified stays: a different one would give the same people other user ids.
    ///
    /// # Errors
    /// The pool has another type, which is immutable.
    pub fn change(self, pool: &crd::UserPool) -> Result<Map<String, Value>, ApiError> {
        if pool.spec.jwks.is_none() {
            return Err(ApiError::unprocessable(
                "the keys of this pool do not come from a `jwksUri`, and the type of a pool is immutable; create another pool",
            ));
        }
        let mut change = Map::from_iter([("jwks".to_owned(), json!({"url": self.jwks_uri}))]);
        if let Some(id_claim) = self.id_claim {
            change.insert("idClaim".to_owned(), id_claim.into());
        }
        Ok(change)
    }
}

/// The field of a reply, for pools of every type: where the key set is served, if it has a URL.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    jwks_uri: String,
    id_claim: String,
}

impl Shown {
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
    use super::*;

    fn pool(spec: &Value) -> crd::UserPool {
        let metadata = json!({"namespace": "acme", "name": "users"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn read(authorization: &Value) -> Result<Option<Authorization>, ApiError> {
        let Value::Object(body) = json!({"authorization": authorization}) else { unreachable!() };
        Authorization::read(&Fields::from(body))
    }

    #[test]
    fn a_new_pool() {
        let mut spec = crd::UserPoolSpec::default();
        let wish = json!({"jwksUri": "https://id.example/jwks", "idClaim": "email"});
        read(&wish).ok().flatten().unwrap().put(&mut spec);
        let expected = json!({
            "jwks": {"url": "https://id.example/jwks"}, "idClaim": "email", "anyAudience": true,
        });
        assert_eq!(serde_json::to_value(&spec).unwrap(), expected);
        assert!(crate::validate::user_pool(&pool(&expected)).is_ok());
        assert!(read(&Value::Null).is_ok_and(|it| it.is_none()));
        for bad in [json!("https://id.example"), json!({}), json!({"jwksUri": ""}), json!([])] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_change() {
        let change = |authorization: Value, spec: &Value| {
            read(&authorization).ok().flatten().unwrap().change(&pool(spec)).ok().map(Value::Object)
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
            serde_json::to_value(Shown::of(&pool(spec), "https://anon.example")).unwrap()
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
