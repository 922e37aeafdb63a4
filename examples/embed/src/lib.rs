//! Sentence embeddings as a service: all-MiniLM-L6-v2, the real weights, in plain Rust.
//!
//! The weights are files of the app (`/data/model.safetensors`, `/data/vocab.txt`); they are read once,
//! on the first request, and kept with the instance. The API is the one every client library knows:
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /v1/embeddings` | `{"input": text or [texts]}` -> `{"data": [{"index", "embedding"}], "usage"}` |
//! | `POST /similarity` | `{"texts": [...]}` -> cosine of every pair |
//! | `GET /` | what this is |

mod model;
mod tokenizer;

use std::{fs, sync::OnceLock};

use guest::{BodyError, Reply, Request};
use serde::Deserialize;
use serde_json::json;

use model::Model;
use tokenizer::Tokenizer;

guest::serve!(handle);

/// The name clients may ask for.
const MODEL: &str = "all-MiniLM-L6-v2";
const WEIGHTS: &str = "/data/model.safetensors";
const VOCABULARY: &str = "/data/vocab.txt";
const TEXTS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 1 << 20;

static LOADED: OnceLock<Result<Embedder, String>> = OnceLock::new();

/// A sentence in, a unit vector out.
struct Embedder {
    tokenizer: Tokenizer,
    model: Model,
}

impl Embedder {
    fn load() -> Result<Self, String> {
        let vocabulary =
            fs::read_to_string(VOCABULARY).map_err(|error| format!("{VOCABULARY}: {error}"))?;
        let weights = fs::File::open(WEIGHTS).map_err(|error| format!("{WEIGHTS}: {error}"))?;
        Ok(Self {
            tokenizer: Tokenizer::new(&vocabulary)
                .map_err(|problem| format!("{VOCABULARY}: {problem}"))?,
            model: Model::read(weights).map_err(|problem| format!("{WEIGHTS}: {problem}"))?,
        })
    }

    /// The embedding, and how many tokens it took.
    fn embed(&self, text: &str) -> (Vec<f32>, usize) {
        let tokens = self.tokenizer.encode(text, model::TOKENS_MAX);
        (self.model.embed(&tokens), tokens.len())
    }
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

/// The body of `/v1/embeddings`. Other fields that clients send are ignored.
#[derive(Deserialize)]
struct Embeddings {
    input: Input,
    #[serde(default)]
    model: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Similarity {
    texts: Vec<String>,
}

fn handle(request: Request, reply: Reply) {
    let route = (request.method().to_owned(), request.path().to_owned());
    let answer = match (route.0.as_str(), route.1.as_str()) {
        ("GET" | "HEAD", "/") => Ok(json!({
            "model": MODEL, "dimensions": model::WIDTH, "tokens_max": model::TOKENS_MAX,
            "post": ["/v1/embeddings", "/similarity"],
        })),
        ("POST", "/v1/embeddings") => body(request).and_then(embeddings),
        ("POST", "/similarity") => body(request).and_then(similarity),
        (_, "/" | "/v1/embeddings" | "/similarity") => Err((405, "wrong method".to_owned())),
        _ => Err((404, "there are /, /v1/embeddings and /similarity".to_owned())),
    };
    match answer {
        Ok(answer) => reply.json(200, &answer),
        Err((status, message)) => reply.json(status, &json!({ "error": { "message": message } })),
    }
}

type Problem = (u16, String);

fn body<T: for<'a> Deserialize<'a>>(request: Request) -> Result<T, Problem> {
    let body = request.body(BODY_BYTES_MAX).map_err(|error| match error {
        BodyError::TooLong => (413, format!("at most {BODY_BYTES_MAX} bytes")),
        BodyError::Gone => (400, "the body broke off".to_owned()),
    })?;
    serde_json::from_slice(&body).map_err(|error| (400, error.to_string()))
}

fn embed_all(texts: &[String]) -> Result<Vec<(Vec<f32>, usize)>, Problem> {
    if texts.is_empty() || texts.len() > TEXTS_MAX {
        return Err((400, format!("expected 1 to {TEXTS_MAX} texts, got {}", texts.len())));
    }
    let embedder = LOADED.get_or_init(Embedder::load).as_ref();
    let embedder = embedder.map_err(|problem| (500, problem.clone()))?;
    Ok(texts.iter().map(|text| embedder.embed(text)).collect())
}

fn embeddings(request: Embeddings) -> Result<serde_json::Value, Problem> {
    if let Some(other) = request.model.filter(|name| name != MODEL) {
        return Err((404, format!("there is no model \"{other}\" here, only \"{MODEL}\"")));
    }
    let texts = match request.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
    };
    let all = embed_all(&texts)?;
    let tokens: usize = all.iter().map(|(_, tokens)| tokens).sum();
    let data: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(index, (embedding, _))| {
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    Ok(json!({
        "object": "list", "model": MODEL, "data": data,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    }))
}

fn similarity(request: Similarity) -> Result<serde_json::Value, Problem> {
    let all = embed_all(&request.texts)?;
    let cosines: Vec<Vec<f32>> =
        all.iter().map(|(a, _)| all.iter().map(|(b, _)| model::dot(a, b)).collect()).collect();
    Ok(json!({ "model": MODEL, "similarity": cosines }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, path::Path};

    /// The figures the model's authors print for these sentences.
    #[test]
    fn similarities_are_the_published_ones() {
        let Some(folder) = env::var_os("EMBED_MODEL") else {
            panic!("EMBED_MODEL must name the folder with model.safetensors and vocab.txt");
        };
        let folder = Path::new(&folder);
        let embedder = Embedder {
            tokenizer: Tokenizer::new(&fs::read_to_string(folder.join("vocab.txt")).unwrap())
                .unwrap(),
            model: Model::read(fs::File::open(folder.join("model.safetensors")).unwrap()).unwrap(),
        };
        let texts =
            ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];
        let all = texts.map(|text| embedder.embed(text).0);
        for (a, b, published) in [(0, 1, 0.6660), (0, 2, 0.1046), (1, 2, 0.1411)] {
            let cosine = model::dot(&all[a], &all[b]);
            assert!((cosine - published).abs() < 0.0005, "{a} {b}: {cosine}, not {published}");
        }
    }
}
