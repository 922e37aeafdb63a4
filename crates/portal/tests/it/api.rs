//! The REST API.

use axum::{
    body::Body,
    http::{Method, Request},
};
use kinesis_control::api::{AppState, Role};
use kinesis_protocol::{Address, ContentHash, Tier};
use serde_json::json;

use crate::fixture::*;

#[tokio::test]
async fn only_the_operator_opens_and_fills_accounts() {
    let utility = Utility::start().await;
    let body = json!({"name": "acme"});
    for caller in [utility.anyone(), utility.with_key("kin_x"), utility.with_key("kop_x")] {
        let refused = caller.post("/v1/accounts", None, body.clone()).await;
        assert_eq!(refused.with(401)["type"], "urn:kinesis:problem:unauthorised");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
    }
    let opened = utility.operator().post("/v1/accounts", Some("k"), body.clone()).await.with(201);
    let again = utility.operator().post("/v1/accounts", Some("k"), body).await.with(201);
    assert_eq!(opened["account"], again["account"]);
    assert_ne!(opened["api_key"], again["api_key"]);
    let other = utility.operator().post("/v1/accounts", Some("k"), json!({"name": "third"})).await;
    other.with(422);

    let path = format!("/v1/accounts/{}/deposits", opened["account"].as_str().unwrap());
    let operator = utility.operator();
    operator.post(&path, None, json!({"usd": "5"})).await.with(400);
    for _ in 0..3 {
        let paid = operator.post(&path, Some("p1"), json!({"usd": "5.25"})).await.with(200);
        assert_eq!(paid["balance_nanousd"], 5_250_000_000_i64);
    }
    operator.post(&path, Some("p1"), json!({"usd": "6"})).await.with(422);
    for bad in ["-1", "1e3", "", "0", "99999999999"] {
        operator.post(&path, Some("p2"), json!({"usd": bad})).await.with(422);
    }
    operator.post(&path, Some("p3"), json!({"eur": "5"})).await.with(422);
    let unknown = "/v1/accounts/acc_00000000000000000000000000000000/deposits";
    operator.post(unknown, Some("p4"), json!({"usd": "5"})).await.with(404);
    operator.post("/v1/accounts/7/deposits", Some("p4"), json!({"usd": "5"})).await.with(400);

    let acme = utility.with_key(again["api_key"].as_str().unwrap());
    let account = acme.get("/v1/account").await.with(200);
    assert_eq!(
        (&account["name"], &account["balance_nanousd"]),
        (&json!("acme"), &json!(5_250_000_000_i64))
    );
    // The first key is void, and a customer is no operator.
    utility.with_key(opened["api_key"].as_str().unwrap()).get("/v1/account").await.with(401);
    acme.post("/v1/accounts", None, json!({"name": "rival"})).await.with(401);
    utility.operator().get("/v1/account").await.with(401);
}

#[tokio::test]
async fn artifacts_are_checked_and_private() {
    let utility = Utility::start().await;
    let (acme, rival) = (utility.customer("acme").await, utility.customer("rival").await);
    let path = format!("/v1/artifacts/{}", ContentHash::of(COMPONENT));
    assert_eq!(acme.ask(Method::HEAD, &path).await.status, 404);
    let put = acme.put(COMPONENT).await.with(201);
    assert_eq!(put, json!({"hash": ContentHash::of(COMPONENT), "bytes": COMPONENT.len()}));
    let head = acme.ask(Method::HEAD, &path).await;
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "11"));
    let got = acme.get(&path).await;
    assert_eq!((got.status.as_u16(), got.body.as_slice()), (200, COMPONENT));
    assert_eq!(got.header("content-disposition"), "attachment");

    // Knowing a hash is not having the content.
    rival.get(&path).await.with(404);
    assert_eq!(rival.ask(Method::HEAD, &path).await.status, 404);
    utility.anyone().get(&path).await.with(401);
    let forged = Request::put(&path).body(Body::from("something else")).unwrap();
    rival.send(forged).await.with(422);
    rival.get(&path).await.with(404);
    rival.put(COMPONENT).await.with(201);
    assert_eq!(rival.get(&path).await.body, COMPONENT);

    let long = vec![1; (1 << 20) + 1];
    assert_eq!(acme.put(&long).await.with(413)["type"], "urn:kinesis:problem:too-large");
    acme.get("/v1/artifacts/..%2f..%2fetc%2fpasswd").await.with(400);
    acme.get("/v1/artifacts/00").await.with(400);
}

#[tokio::test]
async fn a_manifest_that_is_wrong_is_told_by_line_and_key() {
    let utility = Utility::start().await;
    let acme = utility.customer("acme").await;
    let wrong = "name = \"web\"\nkind = \"service\"\ncomponnent = \"a.wasm\"\n";
    for path in ["/v1/quotes", "/v1/apps"] {
        let problem = acme.post(path, Some("k"), request(wrong)).await.with(422);
        assert!(problem["line"].as_u64().is_some(), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("kinesis.toml: line"), "{problem}");
    }
    // A component that was never uploaded.
    let missing = acme.post("/v1/apps", Some("k"), request(&service("web"))).await;
    missing.with(422);
    // A body that is something else.
    let text = acme.post("/v1/apps", Some("k"), json!("text")).await.with(422);
    assert!(text["detail"].as_str().unwrap().contains("expected struct"), "{text}");
    let form = Request::post("/v1/apps").header("idempotency-key", "k").body(Body::from("a=b"));
    acme.send(form.unwrap()).await.with(415);
    let broken = Request::post("/v1/apps")
        .header("idempotency-key", "k")
        .header("content-type", "application/json")
        .body(Body::from("{\"manifest\": "));
    acme.send(broken.unwrap()).await.with(400);
    let long = json!({"manifest": "x".repeat(2 << 20), "artifacts": {}});
    acme.post("/v1/apps", Some("k"), long).await.with(413);
    acme.post("/v1/apps", None, request(&service("web"))).await.with(400);
    acme.post("/v1/apps", Some("a b"), request(&service("web"))).await.with(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_lives_and_is_its_owners_alone() {
    let utility = Utility::start().await;
    let (acme, rival) = (utility.customer("acme").await, utility.customer("rival").await);
    acme.put(COMPONENT).await.with(201);
    let quote = acme.post("/v1/quotes", None, request(&service("web"))).await.with(200);
    assert_eq!(quote["placeable"], false);
    let _den = utility.supplier("den", Tier::Crowd).await;
    let _tower = utility.supplier("tower", Tier::Datacenter).await;
    let quote = acme.post("/v1/quotes", None, request(&service("web"))).await.with(200);
    assert_eq!(quote["placeable"], true, "{quote}");
    assert_eq!(acme.get("/v1/apps").await.with(200), json!([]));

    let made = acme.deploy("d1", &service("web")).await.with(201);
    let again = acme.deploy("d1", &service("web")).await.with(201);
    assert_eq!((&made["id"], &made["version"]), (&again["id"], &again["version"]));
    acme.deploy("d1", &service("other")).await.with(422);
    rival.deploy("d1", &service("web")).await.with(409);
    let app = acme
        .until("web", |app| {
            let is =
                |role, state: &str| app.replicas.iter().any(|r| r.role == role && r.state == state);
            is(Role::Active, "active") && is(Role::Standby, "warm")
        })
        .await;
    assert_eq!(app.state, AppState::Running);
    assert!(app.url.unwrap().starts_with("http://web."));

    acme.deploy("d2", &service("web")).await.with(201);
    assert_eq!(acme.get("/v1/apps/web").await.with(200)["version"], 2);
    for _ in 0..2 {
        let back = acme.post("/v1/apps/web/rollback", Some("r1"), json!({})).await.with(200);
        assert_eq!(back["version"], 1);
    }
    acme.post("/v1/apps/web/rollback", Some("r2"), json!({})).await.with(409);

    let usage = acme.get("/v1/apps/web/usage").await.with(200);
    let line = &usage["lines"][0];
    for key in [
        "replica",
        "epoch",
        "node",
        "supplier",
        "tier",
        "granted",
        "counters",
        "billed_nanousd",
        "supplier_nanousd",
        "supplier_nanojoule",
    ] {
        assert!(!line[key].is_null(), "{key} in {line}");
    }
    assert_eq!(line["counters"]["energy_source"], "estimated");
    assert_eq!(acme.get("/v1/apps/web/outputs").await.with(200), json!([]));

    for path in ["/v1/apps/web", "/v1/apps/web/usage", "/v1/apps/web/logs", "/v1/apps/web/outputs"]
    {
        assert_eq!(rival.get(path).await.with(404)["type"], "urn:kinesis:problem:not-found");
        utility.anyone().get(path).await.with(401);
    }
    rival.post("/v1/apps/web/stop", None, json!({})).await.with(404);
    rival.ask(Method::DELETE, "/v1/apps/web").await.with(404);
    acme.get("/v1/apps/web/logs?replica=9").await.with(404);
    acme.get("/v1/apps/web/logs?replica=x").await.with(400);

    // What runs is not deleted by a slip; what is stopped keeps its name until it is.
    let refused = acme.ask(Method::DELETE, "/v1/apps/web").await.with(409);
    assert!(refused["detail"].as_str().unwrap().contains("kinesis stop web"), "{refused}");
    let stop = async || acme.post("/v1/apps/web/stop", None, json!({})).await;
    assert_eq!(stop().await.with(200)["state"], "stopped");
    stop().await.with(200);
    rival.deploy("r1", &service("web")).await.with(409);
    for _ in 0..2 {
        let deleted = acme.ask(Method::DELETE, "/v1/apps/web").await.with(200);
        assert_eq!((&deleted["state"], &deleted["url"]), (&json!("deleted"), &json!(null)));
    }
    stop().await.with(404);
    acme.post("/v1/apps/web/rollback", Some("r3"), json!({})).await.with(404);
    assert_eq!(acme.get("/v1/apps").await.with(200), json!([]));
    assert_eq!(acme.get("/v1/apps?deleted=true").await.with(200)[0]["state"], "deleted");
    // Its bill is there still, page by page.
    let bill = acme.get("/v1/apps/web/usage").await.with(200);
    let oldest = bill["lines"][0]["lease"].as_str().unwrap();
    let before = acme.get(&format!("/v1/apps/web/usage?before={oldest}")).await.with(200);
    assert_eq!(before["lines"], json!([]));
    assert_eq!(before["customer_nanousd"], bill["customer_nanousd"]);
    acme.get("/v1/apps/web/usage?before=x").await.with(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_sees_the_grid_and_nobody_whose_apps_they_are() {
    let utility = Utility::start().await;
    let acme = utility.customer("acme").await;
    let den = utility.supplier("den", Tier::Crowd).await;
    acme.deploy("d1", &job("frames", 2)).await.with(201);
    acme.until("frames", |app| app.state == AppState::Completed).await;

    let anyone = utility.anyone();
    let deadline = std::time::Instant::now() + LONG;
    // The grid's page is made anew a little later.
    let grid = loop {
        let grid = anyone.get("/v1/grid").await.with(200);
        if !grid["root"].is_null() && grid["totals"]["customer_nanousd"] != 0 {
            break grid;
        }
        assert!(std::time::Instant::now() < deadline, "never paid: {grid}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_eq!(grid["totals"]["difference"], 0);
    assert_eq!(grid["nodes"][0]["name"], "den");
    assert_eq!(grid["nodes"][0]["state"], "up");
    assert_eq!(grid["wire"], utility.config.wire.clone().unwrap());
    assert_eq!(grid["rpc"], "http://127.0.0.1:8545/rpc");
    let account = acme.get("/v1/account").await.with(200);
    assert!(!grid.to_string().contains(account["account"].as_str().unwrap()));
    assert_eq!(anyone.get("/v1/nodes").await.with(200)[0]["tier"], "crowd");
    let health = anyone.get("/v1/health").await.with(200);
    assert_eq!((&health["status"], &health["nodes_up"]), (&json!("ok"), &json!(1)));

    let supplier = den.info().supplier;
    let path = format!("/v1/suppliers/{supplier:#x}");
    let earned = anyone.get(&path).await.with(200);
    assert!(earned["cumulative_nanojoule"].as_i64().unwrap() > 0, "{earned}");
    let nobody = format!("/v1/suppliers/{:#x}", Address::repeat_byte(7));
    assert_eq!(anyone.get(&nobody).await.with(200)["cumulative_nanojoule"], 0);
    anyone.get("/v1/suppliers/0x7").await.with(400);

    // A withdrawal needs the supplier's own, unexpired word.
    let payment = tokio::time::timeout(LONG, den.paid(|_| true)).await.unwrap();
    let signature = payment.signed.signature;
    let asked = json!({"payment": payment, "deadline": 1, "signature": signature});
    let withdraw = |who: &str| format!("/v1/suppliers/{who}/withdrawals");
    let other = withdraw(&format!("{:#x}", Address::repeat_byte(7)));
    anyone.post(&other, None, asked.clone()).await.with(422);
    anyone.post(&withdraw(&format!("{supplier:#x}")), None, asked).await.with(422);
    let text = json!({"payment": "all", "deadline": 1, "signature": "0x"});
    anyone.post(&withdraw(&format!("{supplier:#x}")), None, text).await.with(422);
}

#[tokio::test]
async fn failures_are_problems_with_a_request_id() {
    let utility = Utility::start().await;
    let nothing = utility.anyone().get("/v1/nothing").await;
    let problem = nothing.with(404);
    assert_eq!(nothing.header("content-type"), "application/problem+json");
    assert_eq!(problem["request_id"], nothing.header("x-request-id"));
    assert_eq!(problem["status"], 404);
    let method = utility.anyone().ask(Method::DELETE, "/v1/grid").await;
    assert_eq!(method.with(405)["type"], "urn:kinesis:problem:method");
    for path in ["/", "/v1/grid", "/app.js", "/v1/nothing"] {
        let answer = utility.anyone().get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("x-request-id").starts_with("req_"));
    }
}
