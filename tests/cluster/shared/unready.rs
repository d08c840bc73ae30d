//! An operator that cannot reach its API server says so, and answers nothing from ignorance.

use std::fs;

use serde_json::json;

use crate::harness::operator::Setup;
use crate::harness::{Operator, cluster, http};

#[tokio::test]
async fn without_an_api_server_it_is_alive_and_not_ready() {
    // Touches no cluster, so it needs no turn. Port 1 is nobody's.
    let first = cluster::variable("ANON_OPERATOR_KUBECONFIGS");
    let kubeconfig = fs::read_to_string(first.split(':').next().unwrap()).unwrap();
    let server = kubeconfig.lines().find(|line| line.trim().starts_with("server:")).unwrap();
    let indent = &server[..server.find("server").unwrap()];
    let nowhere = kubeconfig.replace(server, &format!("{indent}server: https://127.0.0.1:1"));
    let path = cluster::directory().join("nowhere.kubeconfig");
    fs::write(&path, nowhere).unwrap();

    let setup = Setup { kubeconfig: Some(path), ..Setup::default() };
    let mut operator = Operator::launch_unready(&setup).await;
    assert_eq!(http::get(&operator.admin_url("/livez")).await.unwrap().status, 200);
    assert_eq!(http::get(&operator.admin_url("/metrics")).await.unwrap().status, 200);
    // Whatever is asked, and however good it looks: nobody can tell.
    let key = anon_operator::testing::domain::credential::ApiKey::generate().unwrap();
    for _ in 0..20 {
        assert_eq!(http::get(&operator.admin_url("/readyz")).await.unwrap().status, 503);
        let reply = operator.validate(key.expose(), None).await;
        assert_eq!(reply.verdict(), "503 index_not_ready");
        assert_eq!(reply.headers["retry-after"], "1");
        let reply = operator.mint(key.expose(), &json!({"appUserId": "u"})).await;
        assert_eq!(reply.verdict(), "503 index_not_ready");
        let id = uuid::Uuid::new_v4();
        let jwks = operator.url(&format!("/userPools/{id}/.well-known/jwks.json"));
        assert_eq!(http::get(&jwks).await.unwrap().verdict(), "503 index_not_ready");
    }
    operator.terminate();
    assert!(operator.ended().await.success());
}
