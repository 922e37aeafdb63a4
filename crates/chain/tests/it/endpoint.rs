//! An RPC endpoint that means no good: whatever it answers is a clear error, soon, in little memory.

use std::{convert::Infallible, sync::Arc, time::Duration};

use alloy::primitives::Address;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use kinesis_chain::{
    ChainError, EventReader, Key, SendPolicy, Settlement, Until, contracts::Joule,
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Answer = Arc<dyn Fn(&Value) -> Response + Send + Sync>;

async fn answer(State(answer): State<Answer>, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    answer(&asked)
}

async fn endpoint(answers: impl Fn(&Value) -> Response + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let state: Answer = Arc::new(answers);
    let router = Router::new().route("/", post(answer)).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

fn client(url: &str) -> Settlement {
    let short = SendPolicy { wait_max: Duration::from_millis(50), ..SendPolicy::for_chain(31_337) };
    Settlement::new(url, 31_337, Address::repeat_byte(1), Key::random()).unwrap().with_policy(short)
}

/// Everything that asks the endpoint something.
async fn ask_everything(url: &str) -> Vec<Result<(), ChainError>> {
    let client = client(url);
    let call =
        Joule::transferCall { to: Address::repeat_byte(2), value: alloy::primitives::U256::ONE };
    let to = Address::repeat_byte(3);
    let reader = EventReader::new(url, 31_337).unwrap();
    vec![
        client.check().await.map(drop),
        client.escrow(to, 1).await.map(drop),
        client.block_number().await.map(drop),
        client.final_block().await.map(drop),
        client.submit("k", to, &call, Until::Final).await.map(drop),
        reader.check().await,
        reader.head().await.map(drop),
        reader.block(7).await.map(drop),
        reader.events(&[to], 0, 10).await.map(drop),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_and_huge_answers_are_cut_off() {
    // A body that never ends, said to be JSON.
    let endless = endpoint(|_| {
        let chunks =
            std::iter::repeat_with(|| Ok::<_, Infallible>(Bytes::from(vec![b' '; 1 << 20])));
        let stream = futures_util::stream::iter(chunks);
        ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response()
    })
    .await;
    // One that is announced as larger than any disk.
    let announced = endpoint(|_| {
        let mut response = Response::new(Body::from_stream(futures_util::stream::pending::<
            Result<Bytes, Infallible>,
        >()));
        response.headers_mut().insert(header::CONTENT_LENGTH, "99999999999999".parse().unwrap());
        response
    })
    .await;
    for url in [endless, announced] {
        let error = client(&url).check().await.unwrap_err();
        assert!(error.is_unreachable(), "{error:?}");
        let said = format!("{error:?}");
        assert!(said.contains("TooLong"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_told_without_the_endpoints_secrets() {
    let status = endpoint(|_| {
        (StatusCode::TOO_MANY_REQUESTS, "slow down\u{7}\n".repeat(10_000)).into_response()
    })
    .await;
    let url = format!("{status}?apikey=hunter2");
    let error = client(&url).check().await.unwrap_err();
    let said = format!("{error:?}");
    assert!(said.contains("429") && said.contains("slow down"), "{said}");
    assert!(said.len() < 2_000 && !said.contains('\u{7}') && !said.contains("hunter2"), "{said}");
    let gone = "http://127.0.0.1:1/?apikey=hunter2";
    let said = format!("{:?}", client(gone).check().await.unwrap_err());
    assert!(!said.contains("hunter2"), "{said}");
    // It is not followed to where it points.
    let away = endpoint(|_| {
        (StatusCode::FOUND, [(header::LOCATION, "http://127.0.0.1:9/")]).into_response()
    })
    .await;
    assert!(format!("{:?}", client(&away).check().await.unwrap_err()).contains("302"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_the_wrong_kind_are_errors() {
    for result in [
        json!(null),
        json!(true),
        json!(-1),
        json!("0x"),
        json!("0xzz"),
        json!(format!("0x{}", "f".repeat(100_000))),
        json!([]),
        json!([[[[[[[[]]]]]]]]),
        json!({"number": "0x1"}),
        json!({"hash": 7, "parentHash": [], "number": {}}),
    ] {
        let sent = result.clone();
        let url = endpoint(move |asked| {
            let text = json!({"jsonrpc": "2.0", "id": asked["id"], "result": sent}).to_string();
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        })
        .await;
        for (i, outcome) in ask_everything(&url).await.into_iter().enumerate() {
            // There may be no such block, and no events.
            let empty = (i == 7 && result.is_null()) || (i == 8 && result == json!([]));
            assert!(outcome.is_err() || empty, "question {i}: {result}");
        }
    }
}

#[test]
fn arbitrary_answers_break_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answers = Arc::new(parking_lot::Mutex::new(Value::Null));
    let url = runtime.block_on({
        let answers = Arc::clone(&answers);
        endpoint(move |asked| {
            let result = match asked["method"].as_str() {
                // So that what comes after is reached.
                Some("eth_chainId") => json!("0x7a69"),
                _ => answers.lock().clone(),
            };
            let text = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}).to_string();
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        })
    });
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|it| json!(it)),
        any::<i64>().prop_map(|it| json!(it)),
        "0x[0-9a-f]{0,70}".prop_map(|it| json!(it)),
        Just(json!(format!("0x{}", "11".repeat(32)))),
        ".{0,20}".prop_map(|it| json!(it)),
    ];
    let key = prop_oneof![
        Just("number"),
        Just("hash"),
        Just("parentHash"),
        Just("timestamp"),
        Just("blockNumber"),
        Just("blockHash"),
        Just("logs"),
        Just("topics"),
        Just("data"),
        Just("address"),
        Just("transactionHash"),
        Just("status"),
        Just("from"),
        Just("baseFeePerGas"),
        Just("logIndex"),
    ];
    let value = leaf.prop_recursive(3, 24, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..12)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 100,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&value, |value| {
            *answers.lock() = value;
            let limit = Duration::from_secs(30);
            let asked = async { tokio::time::timeout(limit, ask_everything(&url)).await };
            let outcomes = runtime.block_on(asked);
            prop_assert!(outcomes.is_ok(), "it hangs");
            // A transaction is never taken for final on such an answer.
            prop_assert!(outcomes.unwrap()[4].is_err());
            Ok(())
        })
        .unwrap();
}
