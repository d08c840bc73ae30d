//! Incident response over the REST API, under the permissions and policies of the chart.

use anon_operator::testing::domain::credential::ApiKey;
use serde_json::json;

use crate::harness::company::{Company, call};
use crate::harness::wait::expect;
use crate::harness::{eventually, shared};

#[tokio::test]
async fn credentials_that_are_revoked_over_rest_are_rejected() {
    let operator = shared().await;
    let company = Company::found(&operator, "revoking").await;
    let token =
        operator.minted(&company.key, &json!({"appUserId": "u", "sdkClientId": company.web})).await;
    let revoke = async |bearer: &str, body| {
        let path = "/org/revocations";
        call(&operator, "POST", path, Some(bearer), Some(&body)).await
    };

    let key_id = ApiKey::parse(&company.key).unwrap().hash().id();
    let body = json!({"sdkClientId": company.backend, "keyIds": [key_id], "reason": "leaked"});
    let reply = revoke(&company.member, body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let id = reply.json()["id"].clone();
    operator.gives(&company.key, None, "401 api_key_revoked").await;

    let users = json!({"userPoolId": company.pool, "appUserIds": ["u"]});
    assert_eq!(revoke(&company.member, users).await.status, 200);
    operator.gives(&token, Some(&company.web), "401 user_revoked").await;

    let keys = json!({"userPoolId": company.pool, "keyIds": ["k"]});
    assert_eq!(revoke(&company.member, keys.clone()).await.status, 403);
    assert_eq!(revoke(&company.admin, keys).await.status, 200);
    let sessions =
        json!({"memberId": company.reader_id, "sessionsCreatedBefore": "2100-01-01T00:00:00Z"});
    assert_eq!(revoke(&company.admin, sessions).await.status, 200);
    operator.gives(&company.reader, None, "401 session_revoked").await;

    let list = call(&operator, "GET", "/org/revocations", Some(&company.member), None).await;
    assert_eq!(list.json()["items"].as_array().unwrap().len(), 4, "{list:?}");
    eventually("the events of the organization", async || {
        let reply =
            call(&operator, "GET", "/org/events?limit=500", Some(&company.admin), None).await;
        let events = reply.json()["items"].as_array().cloned().unwrap_or_default();
        expect(events.iter().any(|event| event["id"] == id), format!("{reply:?}"))
    })
    .await;
}
