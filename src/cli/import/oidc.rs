//! An OpenID Provider. Pure.

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use super::document::text;
use super::imported::{Imported, Placement};
use crate::crd::Kind;
use crate::domain::algorithm::VerifyingAlgorithm;

/// A pool for the issuer, checked against its discovery document if that was fetched.
///
/// # Errors
/// The document is not one, or is of another issuer.
pub fn import(
    issuer: &str,
    name: Option<&str>,
    audiences: &[String],
    document: Option<&Value>,
    placement: &Placement,
) -> anyhow::Result<Imported> {
    let mut imported = Imported::default();
    if let Some(document) = document {
        check(issuer, document, &mut imported)?;
    }
    if !issuer.starts_with("https://") {
        imported.note(issuer, "issuer", "the API server accepts only https:// URLs");
    }
    let host = issuer.split("://").nth(1).unwrap_or(issuer);
    let host = host.split(['/', ':']).next().unwrap_or(host);
    let name = imported.name(Kind::UserPool, None, placement, name.unwrap_or(host));
    if audiences.is_empty() {
        imported.note(issuer, "audiences", "list the `aud` values of the tokens (--audience): the API server rejects the UserPool without them");
    }
    let audiences = (!audiences.is_empty()).then_some(audiences);
    let spec = json!({"oidc": {"issuer": issuer}, "audiences": audiences});
    imported.add(Kind::UserPool, &name, None, placement, &spec);
    Ok(imported)
}

/// Checks what the operator will need (OpenID Connect Discovery 1.0 section 3).
fn check(issuer: &str, document: &Value, imported: &mut Imported) -> anyhow::Result<()> {
    let Some(found) = text(document, "/issuer") else {
        bail!("the discovery document of {issuer} has no `issuer`: check the URL");
    };
    ensure!(
        found == issuer,
        "the discovery document is of issuer `{found}`, not `{issuer}`: specify it exactly as in `iss` of the tokens, including a trailing slash"
    );
    match text(document, "/jwks_uri") {
        None => bail!("the discovery document of {issuer} has no `jwks_uri`"),
        Some(url) if !url.starts_with("https://") => {
            imported.note(
                issuer,
                "jwks_uri",
                "the operator fetches key sets only from https:// URLs",
            );
        }
        Some(url) => {
            let host = url.trim_start_matches("https://").split(['/', ':']).next();
            let host = host.unwrap_or_default();
            imported.note(
                issuer,
                "jwks_uri",
                format!(
                    "the operator must be allowed to connect to {host} (chart: remoteKeySets.hosts)"
                ),
            );
        }
    }
    let algorithms = document.get("id_token_signing_alg_values_supported");
    let algorithms: Vec<_> = algorithms
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let supported = algorithms.iter().any(|name| VerifyingAlgorithm::from_name(name).is_some());
    if !algorithms.is_empty() && !supported {
        imported.note(
            issuer,
            "id_token_signing_alg_values_supported",
            format!("validators accept none of {}", algorithms.join(", ")),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::imported::tests::printed;
    use super::*;

    const ISSUER: &str = "https://id.acme.example/realms/shop";

    #[test]
    fn an_issuer_becomes_a_pool() {
        let audiences = ["shop".to_owned()];
        let document = json!({
            "issuer": ISSUER, "jwks_uri": "https://keys.acme.example/jwks",
            "id_token_signing_alg_values_supported": ["HS256", "RS256"],
        });
        let placement = Placement(Some("acme".into()));
        let imported = import(ISSUER, None, &audiences, Some(&document), &placement).unwrap();
        insta::assert_snapshot!(printed(&imported), @r"
        ---
        apiVersion: anon.dev/v1beta1
        kind: UserPool
        metadata:
          name: id-acme-example
          namespace: acme
        spec:
          audiences:
          - shop
          oidc:
            issuer: https://id.acme.example/realms/shop
        # https://id.acme.example/realms/shop jwks_uri: the operator must be allowed to connect to keys.acme.example (chart: remoteKeySets.hosts)
        ");
    }

    #[test]
    fn a_document_of_another_issuer_is_refused() {
        let run = |document: Value| {
            import(ISSUER, None, &[], Some(&document), &Placement::default())
                .map(|imported| printed(&imported))
                .map_err(|error| error.to_string())
        };
        for (document, expected) in [
            (json!({"issuer": format!("{ISSUER}/"), "jwks_uri": "https://x"}), "trailing slash"),
            (json!({"issuer": ISSUER}), "no `jwks_uri`"),
            (json!({}), "no `issuer`"),
        ] {
            assert!(run(document).unwrap_err().contains(expected), "{expected}");
        }
        let weak = json!({
            "issuer": ISSUER, "jwks_uri": "http://x",
            "id_token_signing_alg_values_supported": ["HS256"],
        });
        let text = run(weak).unwrap();
        for expected in ["none of HS256", "only from https", "--audience"] {
            assert!(text.contains(expected), "{text}");
        }
    }
}
