//! The REST API, as the command line uses it.

mod transfer;

use std::{net::IpAddr, time::Duration};

use kinesis_control::api::{AccountView, AppView, Bill, DeployRequest, NewAccount, OutputView};
use kinesis_protocol::{manifest::app_name, result::Dossier};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    env,
    error::{Error, Result},
    profile::Customer,
};

/// The longest answer that is read into memory.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A utility's API.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// Bears any silence: a log that is followed may say nothing for hours.
    patient: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

/// RFC 9457, as far as a person wants to know.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: Option<String>,
    hint: Option<String>,
    request_id: Option<String>,
}

impl Client {
    /// A client for the utility at `base`, with a key or an operator's token.
    pub(crate) fn new(base: &str, token: Option<String>) -> Result<Self> {
        let base = base.trim_end_matches('/').to_owned();
        let url = reqwest::Url::parse(&base)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| Error::Usage {
                message: format!("\"{base}\" is not the address of a utility"),
                hint: Some("an address looks like http://127.0.0.1:8081".into()),
            })?;
        let local = url.host_str().is_some_and(|host| host == "localhost" || loopback(host));
        let build = |read_timeout: Option<Duration>| {
            let mut builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(10));
            if let Some(timeout) = read_timeout {
                builder = builder.read_timeout(timeout);
            }
            if local {
                builder = builder.no_proxy();
            }
            builder
                .build()
                .map_err(|e| Error::Failed { message: format!("no HTTP client: {e}"), hint: None })
        };
        let (http, patient) = (build(Some(Duration::from_secs(60)))?, build(None)?);
        Ok(Self { http, patient, base, token })
    }

    /// A customer's client; fails early where no key is known.
    pub(crate) fn customer(url: Option<String>) -> Result<Self> {
        let customer = Customer::resolve(url)?;
        if customer.api_key.is_none() {
            return Err(Error::Refused {
                message: "no API key is known".into(),
                hint: Some(format!(
                    "open an account with `kinesis account open --name NAME --usd 25.00`, or set {}",
                    env::API_KEY
                )),
            });
        }
        Self::new(&customer.url, customer.api_key)
    }

    /// A client for what everybody may see; a key is sent if one is known.
    pub(crate) fn public(url: Option<String>) -> Result<Self> {
        let customer = Customer::resolve(url)?;
        Self::new(&customer.url, customer.api_key)
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.json(path, self.request(Method::GET, path)).await
    }

    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        idempotency: Option<&str>,
    ) -> Result<T> {
        let mut request = self.request(Method::POST, path).json(body);
        if let Some(key) = idempotency {
            request = request.header("idempotency-key", key);
        }
        self.json(path, request).await
    }

    pub(crate) async fn open_account(&self, name: &str, key: &str) -> Result<NewAccount> {
        self.post("/v1/accounts", &serde_json::json!({ "name": name }), Some(key)).await
    }

    pub(crate) async fn deposit(
        &self,
        account: kinesis_protocol::AccountId,
        usd: kinesis_protocol::NanoUsd,
        key: &str,
    ) -> Result<AccountView> {
        let usd = usd.to_string().trim_start_matches('$').to_owned();
        let path = format!("/v1/accounts/{account}/deposits");
        self.post(&path, &serde_json::json!({ "usd": usd }), Some(key)).await
    }

    pub(crate) async fn deploy(&self, request: &DeployRequest, key: &str) -> Result<AppView> {
        self.post("/v1/apps", request, Some(key)).await
    }

    pub(crate) async fn apps(&self) -> Result<Vec<AppView>> {
        self.get("/v1/apps").await
    }

    /// Those that were deleted, too.
    pub(crate) async fn apps_ever(&self) -> Result<Vec<AppView>> {
        self.get("/v1/apps?deleted=true").await
    }

    pub(crate) async fn app(&self, name: &str) -> Result<AppView> {
        self.get(&app_path(name, "")?).await
    }

    pub(crate) async fn stop(&self, name: &str) -> Result<AppView> {
        self.post(&app_path(name, "/stop")?, &serde_json::json!({}), None).await
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<AppView> {
        let path = app_path(name, "")?;
        self.json(&path, self.request(Method::DELETE, &path)).await
    }

    pub(crate) async fn rollback(&self, name: &str, key: &str) -> Result<AppView> {
        self.post(&app_path(name, "/rollback")?, &serde_json::json!({}), Some(key)).await
    }

    /// A bill with all its lines, however many pages they are.
    pub(crate) async fn usage(&self, name: &str) -> Result<Bill> {
        let path = app_path(name, "/usage")?;
        let mut bill: Bill = self.get(&path).await?;
        while let Some(before) = bill.next.take() {
            let mut page: Bill = self.get(&format!("{path}?before={before}")).await?;
            page.lines.append(&mut bill.lines);
            (bill.lines, bill.next) = (page.lines, page.next);
        }
        Ok(bill)
    }

    pub(crate) async fn outputs(&self, name: &str) -> Result<Vec<OutputView>> {
        self.get(&app_path(name, "/outputs")?).await
    }

    /// What a supplier signed of a part, with all that it takes to run it again.
    pub(crate) async fn dossier(&self, name: &str, part: u32) -> Result<Dossier> {
        self.get(&app_path(name, &format!("/parts/{part}/result"))?).await
    }

    /// A replica's log, as it comes.
    pub(crate) async fn logs(&self, name: &str, replica: u32, follow: bool) -> Result<Response> {
        let path = app_path(name, &format!("/logs?replica={replica}&follow={follow}"))?;
        let http = if follow { &self.patient } else { &self.http };
        self.send(self.request_by(http, Method::GET, &path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_by(&self.http, method, path)
    }

    fn request_by(&self, http: &reqwest::Client, method: Method, path: &str) -> RequestBuilder {
        let request = http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn json<T: DeserializeOwned>(&self, path: &str, request: RequestBuilder) -> Result<T> {
        let response = self.send(request).await?;
        let bytes = self.body(response).await?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::Answer { what: format!("{}{path}", self.base), source: e.into() })
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(e))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Error::Failed {
                    message: format!(
                        "the utility's answer is longer than {ANSWER_BYTES_MAX} bytes"
                    ),
                    hint: None,
                });
            }
        }
        Ok(bytes)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|e| self.unreachable(e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.body(response).await.unwrap_or_default();
        let problem = serde_json::from_slice(&body).unwrap_or_default();
        Err(refusal(status, problem))
    }

    fn unreachable(&self, e: reqwest::Error) -> Error {
        Error::Unreachable {
            what: format!("the utility at {}", self.base),
            hint: Some("start a grid with `kinesis up`, or name another with --url".into()),
            source: e.without_url().into(),
        }
    }
}

fn refusal(status: StatusCode, problem: Problem) -> Error {
    let words = problem.detail.filter(|detail| !detail.is_empty()).unwrap_or(problem.title);
    let message = match words.as_str() {
        "" => status.canonical_reason().unwrap_or("no reason given").to_lowercase(),
        words => crate::output::safe(words),
    };
    let hint = problem.hint.map(|hint| crate::output::safe(&hint));
    match status.as_u16() {
        401 => Error::Refused {
            message,
            hint: hint.or_else(|| {
                Some(format!(
                    "check {} and the profile, or open an account with `kinesis account open`",
                    env::API_KEY
                ))
            }),
        },
        402 => Error::Refused {
            message,
            hint: hint.or_else(|| Some("pay in with `kinesis account deposit AMOUNT`".into())),
        },
        403 | 409 | 422 | 429 => Error::Refused { message, hint },
        status => Error::Api { status, message, request: problem.request_id },
    }
}

fn loopback(host: &str) -> bool {
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn app_path(name: &str, rest: &str) -> Result<String> {
    if app_name(name) {
        Ok(format!("/v1/apps/{name}{rest}"))
    } else {
        Err(Error::Usage {
            message: format!("\"{}\" cannot be an app's name", crate::output::safe(name)),
            hint: Some("`kinesis ps` lists the apps".into()),
        })
    }
}

/// A key that makes a request happen once.
pub(crate) fn idempotency_key(given: Option<String>) -> String {
    given.unwrap_or_else(|| hex::encode(rand::random::<[u8; 16]>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(detail: &str) -> Problem {
        Problem { detail: Some(detail.to_owned()), ..Problem::default() }
    }

    #[test]
    fn statuses_become_exit_codes() {
        let code =
            |status: u16| refusal(StatusCode::from_u16(status).unwrap(), problem("x")).code();
        assert_eq!([401, 402, 403, 409, 422].map(code), [3; 5]);
        assert_eq!([400, 404, 500, 502].map(code), [1; 4]);
    }

    #[test]
    fn an_empty_problem_still_says_something() {
        let error = refusal(StatusCode::NOT_FOUND, Problem::default());
        assert_eq!(error.to_string(), "the utility answered 404: not found");
        let hostile = refusal(StatusCode::FORBIDDEN, problem("\u{1b}[2Jno"));
        assert!(!hostile.to_string().contains('\u{1b}'));
    }

    #[test]
    fn names_cannot_leave_their_path() {
        assert_eq!(app_path("hello", "/usage").unwrap(), "/v1/apps/hello/usage");
        for name in ["", "../x", "a b", "A", "a/../../accounts", "a?b"] {
            assert_eq!(app_path(name, "").unwrap_err().code(), 2, "{name}");
        }
    }

    #[test]
    fn addresses_are_checked_early() {
        for base in ["", "127.0.0.1:8081", "ftp://x", "http://"] {
            assert_eq!(Client::new(base, None).unwrap_err().code(), 2, "{base}");
        }
    }

    #[test]
    fn keys_differ() {
        assert_ne!(idempotency_key(None), idempotency_key(None));
        assert_eq!(idempotency_key(Some("a".into())), "a");
    }
}
