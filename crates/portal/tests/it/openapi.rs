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
            // 400, 408, 413, 415, 429, 503: what is not listed is described all the same.
            let other = &statuses["default"]["content"]["application/problem+json"]["schema"];
            assert_eq!(other["$ref"], "#/components/schemas/Problem", "{method} {path}");
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

/// What creates or pays, as `docs/customer.md` says it.
const ONCE: [(&str, &str); 4] = [
    ("/v1/accounts", r#"{"name": "acme"}"#),
    ("/v1/accounts/{account}/deposits", r#"{"usd": "1"}"#),
    ("/v1/apps", r#"{"manifest": "", "artifacts": {}}"#),
    ("/v1/apps/{name}/rollback", "{}"),
];

#[tokio::test]
async fn what_creates_or_pays_needs_a_key_and_says_so() {
    let utility = Utility::start().await;
    let acme = utility.customer("acme").await;
    let account = acme.get("/v1/account").await.with(200)["account"].as_str().unwrap().to_owned();
    let document = utility.anyone().get("/v1/openapi.json").await.with(200);
    let mut keyed = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for operation in methods.as_object().unwrap().values() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            for key in parameters.filter(|parameter| parameter["name"] == "Idempotency-Key") {
                assert_eq!(key["required"], true, "{path}");
                keyed.insert(path.as_str());
            }
        }
    }
    assert_eq!(keyed, ONCE.iter().map(|(path, _)| *path).collect());
    for (path, body) in ONCE {
        let caller = if path.contains("accounts") { utility.operator() } else { acme.clone() };
        let path = path.replace("{account}", &account).replace("{name}", "web");
        let body: Value = serde_json::from_str(body).unwrap();
        let refused = caller.post(&path, None, body).await.with(400);
        let said = refused["detail"].as_str().unwrap();
        assert!(said.contains("Idempotency-Key") && refused["hint"].is_string(), "{refused}");
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

/// Those of them that no answer leaves out.
fn required(document: &Value, schema: &Value) -> BTreeSet<String> {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let own = schema["required"].as_array().into_iter().flatten();
    let own = own.map(|name| name.as_str().unwrap().to_owned());
    let parts = schema["allOf"].as_array().into_iter().flatten();
    own.chain(parts.flat_map(|part| required(document, part))).collect()
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
        let described = properties(&document, schema);
        assert!(answered.is_subset(&described), "{path}: {answered:?} of {described:?}");
        let required = required(&document, schema);
        assert!(!required.is_empty() && required.is_subset(&answered), "{path}: {required:?}");
    }
    let line = &acme.get("/v1/apps/web/usage").await.with(200)["lines"][0];
    for part in ["counters", "prices", "granted"] {
        let answered: BTreeSet<String> = line[part].as_object().unwrap().keys().cloned().collect();
        let schema = &document["components"]["schemas"]["BillLine"]["properties"][part];
        assert_eq!(answered, properties(&document, schema), "{part}");
    }
}
