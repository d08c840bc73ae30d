//! A good request for each operation of the description. One that is missing here fails the test.

use anon_operator::testing::domain::ids::UserPoolId;
use serde_json::{Value, json};

use crate::harness::company::{Company, PASSWORD, REDIRECT_URL};
use crate::harness::description::Operation;

/// The body, where there is one, and what stands in the path.
pub fn body(operation: &Operation, company: &Company) -> Option<Value> {
    Some(match operation.id.as_str() {
        "Login" => json!({"email": company.email("ReadOnly"), "password": PASSWORD}),
        "CreateOrganization" => json!({
            "name": "Another company",
            "member": {"name": "Ada", "email": "ada@another.example", "password": PASSWORD},
        }),
        "PatchOrganization" => json!({
            "name": "Cool Kids", "logoUrl": "https://cdn.example/logo.png",
        }),
        "CreateMember" => json!({
            "name": "Bob", "email": format!("bob@{}.example", company.space.name),
            "password": PASSWORD, "role": "ReadOnly", "organizationId": company.organization,
        }),
        "PatchMember" => json!({"name": "Robert", "role": "Member", "suspended": false}),
        "CreateUserPool" => json!({
            "name": "More users", "description": "of another sort",
            "organizationId": company.organization,
        }),
        "PatchUserPool" => json!({"name": "People", "description": "all of them"}),
        "CreateSdkClient" => json!({
            "name": "Shop", "description": "", "oauthDisabled": true,
            "organizationId": company.organization,
            "kind": {"application": {"userPoolId": company.pool, "oauthConfig": {
                "logoUrl": "https://cdn.example/logo.png", "chromeExtensionId": "abcdefghijklmnop".repeat(2),
                "redirectUrls": [REDIRECT_URL],
            }}},
        }),
        "PatchSdkClient" => json!({
            "name": "Web", "description": "new",
            "oauthConfig": {"redirectUrls": [REDIRECT_URL], "logoUrl": ""},
        }),
        "MintAppUserIdToken" => json!({
            "appUserId": "user-1", "sdkClientId": company.web, "userPoolId": company.pool,
            "organizationId": company.organization,
            "exp": jiff::Timestamp::now().as_second() + 600,
        }),
        "CreateRevocation" => json!({
            "sdkClientId": company.backend, "keyIds": ["0123456789abcdef"], "reason": "a test",
            "organizationId": company.organization,
        }),
        "Explain" => json!({
            "token": company.key, "sdkClientId": company.web, "organizationId": company.organization,
        }),
        "Validate" => json!({
            "token": company.key, "sdkClientId": "", "organizationId": company.organization,
        }),
        "Logout" | "LogoutAll" | "RotateSdkClient" => return None,
        id if id.starts_with("Get") || id.starts_with("List") || id.starts_with("Delete") => {
            return None;
        }
        id => panic!("{id} is described and not driven: it needs a good request here"),
    })
}

/// The query, with what it needs first.
pub fn query(operation: &Operation, company: &Company) -> Vec<(&'static str, String)> {
    match operation.id.as_str() {
        "GetLinkUrl" => vec![
            ("app", "shop".to_owned()),
            ("redirectUrl", REDIRECT_URL.to_owned()),
            ("appUserId", "user-1".to_owned()),
            ("clientId", company.web.clone()),
        ],
        _ => Vec::new(),
    }
}

/// The id in the path.
pub fn id(operation: &Operation, company: &Company) -> Option<String> {
    let id = match (operation.parameter.as_deref()?, operation.id.as_str()) {
        ("organizationId", _) => &company.organization,
        ("memberId", _) => &company.reader_id,
        // No client uses it.
        ("userPoolId", "DeleteUserPool") => return Some(spare_pool(company)),
        ("userPoolId" | "id", _) => &company.pool,
        ("sdkClientId", "RotateSdkClient") => &company.backend,
        ("sdkClientId" | "clientId", _) => &company.web,
        (other, _) => panic!("what is a good {other}?"),
    };
    Some(id.clone())
}

/// The name of a pool that no client uses.
pub const SPARE_POOL: &str = "spare";

fn spare_pool(company: &Company) -> String {
    UserPoolId::derive(&company.space.name, SPARE_POOL).to_string()
}

/// An id of something else in the same organization.
pub fn id_of_another_kind<'c>(operation: &Operation, company: &'c Company) -> &'c str {
    let of_pool = matches!(operation.parameter.as_deref(), Some("userPoolId" | "id"));
    if of_pool { &company.web } else { &company.pool }
}

/// When its good request is sent: what ends something comes after what needs it.
pub fn rank(operation: &Operation) -> u8 {
    match operation.id.as_str() {
        "DeleteOrganization" => 2,
        id if id.starts_with("Delete") || id.starts_with("Logout") => 1,
        _ => 0,
    }
}
