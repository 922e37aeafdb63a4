//! The OpenAPI document: complete, made from the handlers, and what they really answer.

use std::collections::BTreeSet;

use crate::fixture::*;
use kinesis_protocol::Tier;
use serde_json::Value;

#[tokio::test]
async fn every_path_is_described_with_its_failures() {
    let utility = Utility::start().await;
    let document = utility.anyone().get("/v1/openapi.json").await.with(200);
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            operations.push(format!("{method} {path}"));
            assert!(operation["summary"].is_string() || operation["description"].is_string());
            let statuses = operation["responses"].as_object().unwrap();
            assert!(statuses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            if operation["security"].is_array() {
                assert!(statuses.contains_key("401"), "{method} {path}");
            }
        }
    }
    operations.sort();
    insta::assert_snapshot!(operations.join("\n"));
    // No reference leads nowhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}

/// The names of an object's properties, with those of what it is made of.
fn properties(document: &Value, schema: &Value) -> BTreeSet<String> {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    let parts = schema["allOf"].as_array().into_iter().flatten();
    own.chain(parts.flat_map(|part| properties(document, part))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_described_is_what_is_answered() {
    let utility = Utility::start().await;
    let acme = utility.customer("acme").await;
    let _den = utility.supplier("den", Tier::Crowd).await;
    acme.deploy("d1", &service("web")).await.with(201);
    acme.until("web", |app| !app.replicas.is_empty()).await;
    let document = utility.anyone().get("/v1/openapi.json").await.with(200);
    for (path, described) in [
        ("/v1/grid", "/v1/grid"),
        ("/v1/account", "/v1/account"),
        ("/v1/apps/web", "/v1/apps/{name}"),
        ("/v1/apps/web/usage", "/v1/apps/{name}/usage"),
        ("/v1/suppliers/0x0707070707070707070707070707070707070707", "/v1/suppliers/{address}"),
    ] {
        let answered = acme.get(path).await.with(200);
        let answered: BTreeSet<String> = answered.as_object().unwrap().keys().cloned().collect();
        let response = &document["paths"][described]["get"]["responses"]["200"];
        let schema = &response["content"]["application/json"]["schema"];
        assert_eq!(answered, properties(&document, schema), "{path}");
    }
    let line = &acme.get("/v1/apps/web/usage").await.with(200)["lines"][0];
    for part in ["counters", "prices", "granted"] {
        let answered: BTreeSet<String> = line[part].as_object().unwrap().keys().cloned().collect();
        let schema = &document["components"]["schemas"]["BillLine"]["properties"][part];
        assert_eq!(answered, properties(&document, schema), "{part}");
    }
}
