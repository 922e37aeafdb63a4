//! Every example runs on the grid and does what it is for.

use std::io::Write;

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
        .json(&json!({"name": "a visitor", "message": "light from afar"}))
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
    let url = format!("{}/embed", grid.endpoints().unwrap().ingress);
    let sentences =
        ["A man is eating food.", "A man is eating a piece of bread.", "The girl plays violin."];
    let answer = grid
        .http()
        .post(&url)
        .timeout(std::time::Duration::from_secs(120))
        .header("host", "embed.localhost")
        .json(&json!({"sentences": sentences}))
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let answer = answer.text().await.unwrap();
    assert!(status.is_success(), "{status}: {answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let vectors: Vec<Vec<f64>> = serde_json::from_value(answer["embeddings"].clone()).unwrap();
    let near = |a: usize, b: usize| -> f64 {
        let dot: f64 = vectors[a].iter().zip(&vectors[b]).map(|(x, y)| x * y).sum();
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        dot / norm(&vectors[a]) / norm(&vectors[b])
    };
    assert_eq!(vectors[0].len(), 384);
    // Published for all-MiniLM-L6-v2: 0.755 for the first pair.
    assert!((near(0, 1) - 0.7554).abs() < 0.01, "{}", near(0, 1));
    assert!(near(0, 2) < 0.2, "{}", near(0, 2));
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
    let parts = run["parts"].as_array().unwrap().len();
    assert!(parts > 1, "{run}");
    let mut frame = Vec::new();
    for part in 0..parts {
        let rows = std::fs::read(out.join(part.to_string()).join("rows.rgb")).unwrap();
        frame.write_all(&rows).unwrap();
    }
    let (width, height) = (320, 180);
    assert_eq!(frame.len(), width * height * 3);
    let colours: std::collections::BTreeSet<_> = frame.chunks(3).collect();
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
    let run = grid.cli(&["run".as_ref(), manifest.as_os_str()]).await.unwrap();
    let log = run["parts"][0]["log"].as_str().unwrap();
    assert!(log.contains("words"), "{log}");
    grid.stop().await.unwrap();
}
