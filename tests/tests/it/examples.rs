//! Every example runs on the grid and does what it is for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guestbook_keeps_what_is_written() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<2>(&grid).await;
    grid.account("1.00").await.unwrap();
    let manifest = crate::example("guestbook").join("kinesis.toml");
    grid.cli(&["deploy".as_ref(), manifest.as_os_str()]).await.unwrap();
    let url = format!("{}/api/entries", grid.endpoints().unwrap().ingress);
    let wrote = grid
        .http()
        .post(&url)
        .header("host", "guestbook.localhost")
        .json(&json!({"name": "a visitor", "text": "light from afar"}))
        .send()
        .await
        .unwrap();
    assert!(wrote.status().is_success(), "{}", wrote.text().await.unwrap());
    let list = grid.ask("guestbook", "/api/entries").await.unwrap().text().await.unwrap();
    assert!(list.contains("light from afar"), "{list}");
    let page = grid.ask("guestbook", "/").await.unwrap().text().await.unwrap();
    assert!(page.contains("light from afar"), "{page}");
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentences_of_like_meaning_lie_close() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<1>(&grid).await;
    grid.account("1.00").await.unwrap();
    let manifest = crate::example("embed").join("kinesis.toml");
    grid.cli(&["deploy".as_ref(), manifest.as_os_str()]).await.unwrap();
    let url = format!("{}/v1/embeddings", grid.endpoints().unwrap().ingress);
    let sentences =
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];
    let answer = grid
        .http()
        .post(&url)
        .timeout(std::time::Duration::from_secs(120))
        .header("host", "embed.localhost")
        .json(&json!({"input": sentences}))
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let answer = answer.text().await.unwrap();
    assert!(status.is_success(), "{status}: {answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let data = answer["data"].as_array().unwrap();
    let vectors: Vec<Vec<f64>> =
        data.iter().map(|one| serde_json::from_value(one["embedding"].clone()).unwrap()).collect();
    let near = |a: usize, b: usize| -> f64 {
        let dot: f64 = vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum();
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        dot / norm(&vectors[a]) / norm(&vectors[b])
    };
    assert_eq!(vectors[0].len(), 384);
    // As the model's authors publish them for these three sentences.
    for (a, b, published) in [(0, 1, 0.6660), (0, 2, 0.1046), (1, 2, 0.1411)] {
        assert!((near(a, b) - published).abs() < 0.001, "{a} {b}: {}", near(a, b));
    }
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_is_rendered_in_parts_and_joined() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<2>(&grid).await;
    grid.account("1.00").await.unwrap();
    let manifest = crate::example("render").join("kinesis.toml");
    let out = folder.path().join("out");
    let args = ["run".as_ref(), manifest.as_os_str(), "--out".as_ref(), out.as_os_str()];
    let run = grid.cli(&args).await.unwrap();
    let nodes: BTreeSet<_> = run["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| part["node"].as_str().expect("a node"))
        .collect();
    assert_eq!(nodes.len(), 2, "all of it was rendered by one: {run}");
    let parts = run["parts"].as_array().unwrap().len();
    let mut picture = Vec::new();
    for part in 0..parts {
        let band = out.join(part.to_string()).join(format!("frame-{part:03}.ppm"));
        picture.extend(std::fs::read(band).unwrap());
    }
    let pixels = picture.strip_prefix(b"P6\n480 270\n255\n").expect("a header of the whole");
    assert_eq!(pixels.len(), 480 * 270 * 3);
    let colours: BTreeSet<_> = pixels.chunks(3).collect();
    assert!(colours.len() > 100, "a picture of {} colours", colours.len());
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_runs_on_the_grid() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<1>(&grid).await;
    grid.account("1.00").await.unwrap();
    let manifest = crate::example("python").join("kinesis.toml");
    let out = folder.path().join("out");
    let args = ["run".as_ref(), manifest.as_os_str(), "--out".as_ref(), out.as_os_str()];
    let run = grid.cli(&args).await.unwrap();
    let log = run["parts"][0]["log"].as_str().unwrap();
    assert!(log.contains(" readings, "), "{log}");
    let summary = std::fs::read_to_string(out.join("0/summary.json")).unwrap();
    let summary: BTreeMap<String, Value> = serde_json::from_str(&summary).unwrap();
    let readings = crate::root().join("examples/python/readings.csv");
    let mut wanted: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for line in std::fs::read_to_string(readings).unwrap().lines().skip(1) {
        let (supplier, watt_hours) = line.split_once(',').unwrap();
        wanted.entry(supplier.to_owned()).or_default().push(watt_hours.parse().unwrap());
    }
    assert!(wanted.len() > 1 && summary.keys().eq(wanted.keys()), "{summary:?}");
    for (supplier, mut watt_hours) in wanted {
        let summary = &summary[&supplier];
        let (total, readings) = (watt_hours.iter().sum::<u32>(), watt_hours.len());
        assert_eq!(summary["readings"], readings, "{supplier}: {summary}");
        assert_eq!(summary["total"], total, "{supplier}: {summary}");
        let near = |key: &str, wanted: f64| {
            let found = summary[key].as_f64().unwrap();
            assert!((found - wanted).abs() < 0.001, "{supplier}: {key} is not {wanted}: {summary}");
        };
        near("mean", f64::from(total) / f64::from(u32::try_from(readings).unwrap()));
        // Python's quantiles: between the two readings around 19 twentieths of n + 1.
        watt_hours.sort_unstable();
        let below = (19 * (readings + 1) / 20).clamp(1, readings - 1);
        let part = f64::from(u32::try_from(19 * (readings + 1) - 20 * below).unwrap()) / 20.0;
        let (low, high) = (f64::from(watt_hours[below - 1]), f64::from(watt_hours[below]));
        near("p95", low + (high - low) * part);
    }
    grid.stop().await.unwrap();
}
