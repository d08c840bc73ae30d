//! A good request for each operation of the description. One that is missing here fails the test.

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
pub fn id<'c>(operation: &Operation, company: &'c Company) -> Option<&'c str> {
    Some(match (operation.parameter.as_deref()?, operation.id.as_str()) {
        ("organizationId", _) => &company.organization,
        ("memberId", _) => &company.reader_id,
        ("userPoolId" | "id", _) => &company.pool,
        ("sdkClientId", "RotateSdkClient") => &company.backend,
        ("sdkClientId" | "clientId", _) => &company.web,
        (other, _) => panic!("what is a good {other}?"),
    })
}

/// An id of something else in the same organization.
pub fn id_of_another_kind<'c>(operation: &Operation, company: &'c Company) -> &'c str {
    let of_pool = matches!(operation.parameter.as_deref(), Some("userPoolId" | "id"));
    if of_pool { &company.web } else { &company.pool }
}

/// When its good request is sent: what ends something comes after what needs it.
pub fn rank(operation: &Operation) -> u8 {
    match operation.id.as_str() {
        "DeleteOrganization" => 3,
        // Its clients go on until it is gone.
        "DeleteUserPool" => 2,
        id if id.starts_with("Delete") || id.starts_with("Logout") => 1,
        _ => 0,
    }
}
