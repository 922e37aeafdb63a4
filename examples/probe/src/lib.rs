//! A service that does what its path says, good and bad: what the grid's own tests run to see that
//! bodies stream, limits hold and walls stand.
//!
//! | path | does |
//! | --- | --- |
//! | `/` | answers `ok` |
//! | `/echo` | streams the body back, and the trailers that `Trailer` announced |
//! | `/count` | reads the body, answers its length |
//! | `/headers` | answers the request's headers as JSON |
//! | `/bytes?n=` | answers `n` bytes |
//! | `/events?n=&every_ms=` | `n` server-sent events |
//! | `/sleep?ms=`, `/spin?ms=` | waits, or works, before it answers |
//! | `/status?code=` | answers that status |
//! | `/visits` | how many requests this instance has seen |
//! | `/env?name=` | a variable |
//! | `/file?path=`, `/write?path=`, `/list?path=` | tries the file system |
//! | `/connect?to=` | tries to reach `host:port` |
//! | `/fetch?url=` | asks another server, answers what it said |
//! | `/alloc?mib=` | takes and touches that much memory |
//! | `/log?bytes=` | writes that much to its log |
//! | `/clock`, `/random` | time in ms, 16 random bytes |
//! | `/trap`, `/exit`, `/silent` | panics, exits, returns without an answer |

use std::{
    env, fs,
    io::Write as _,
    net::{TcpStream, ToSocketAddrs as _},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use guest::{
    Reply, Request,
    wasip2::{
        http::{
            outgoing_handler,
            types::{Fields, OutgoingRequest, Scheme},
        },
        io::streams::StreamError,
    },
};
use serde_json::json;

guest::serve!(handle);

static VISITS: AtomicU64 = AtomicU64::new(0);

fn handle(request: Request, reply: Reply) {
    let visits = VISITS.fetch_add(1, Ordering::Relaxed) + 1;
    let path = request.path().to_owned();
    let text = |name: &str| request.query(name).unwrap_or_default();
    match path.as_str() {
        "/" => reply.text(200, "ok"),
        "/echo" => echo(request, reply),
        "/count" => {
            let mut count = 0_u64;
            let read = request.each_chunk(|chunk| {
                count += chunk.len() as u64;
                true
            });
            if read.is_ok() {
                reply.text(200, count.to_string());
            }
        }
        "/headers" => reply.json(200, &request.headers()),
        "/bytes" => bytes(request.number("n", 1024), reply),
        "/events" => events(request.number("n", 3), request.number("every_ms", 100), reply),
        "/sleep" => {
            thread::sleep(Duration::from_millis(request.number("ms", 100)));
            reply.text(200, "slept");
        }
        "/spin" => {
            let until = Instant::now() + Duration::from_millis(request.number("ms", 100));
            while Instant::now() < until {}
            reply.text(200, "spun");
        }
        "/status" => {
            reply.text(u16::try_from(request.number("code", 200)).unwrap_or(500), "as you wish");
        }
        "/visits" => reply.text(200, visits.to_string()),
        "/env" => match env::var(text("name")) {
            Ok(value) => reply.text(200, value),
            Err(error) => reply.text(404, error.to_string()),
        },
        "/file" => match fs::read(text("path")) {
            Ok(content) => reply.send(200, "application/octet-stream", content),
            Err(error) => reply.text(403, error.to_string()),
        },
        "/write" => outcome(fs::write(text("path"), b"written\n"), reply),
        "/list" => match fs::read_dir(text("path")) {
            Ok(entries) => {
                let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
                reply.json(200, &names.collect::<Vec<_>>());
            }
            Err(error) => reply.text(403, error.to_string()),
        },
        "/connect" => outcome(connect(&text("to")), reply),
        "/fetch" => match fetch(&text("url")) {
            Ok((status, said)) => reply.send(status, "text/plain", said),
            Err(error) => reply.text(502, error),
        },
        "/alloc" => {
            let mib = usize::try_from(request.number("mib", 1)).unwrap_or(usize::MAX);
            let mut block = vec![0_u8; mib.saturating_mul(1 << 20)];
            block.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            let touched: u64 = block.iter().step_by(4096).map(|byte| u64::from(*byte)).sum();
            reply.text(200, touched.to_string());
        }
        "/log" => {
            let line = [b'.'; 1024];
            for _ in 0..request.number("bytes", 1024).div_ceil(1024) {
                let _ = std::io::stdout().write_all(&line);
            }
            println!();
            reply.text(200, "logged");
        }
        "/clock" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            reply.json(200, &json!({ "unix_ms": now.as_millis() as u64 }));
        }
        "/random" => {
            let bytes = guest::wasip2::random::random::get_random_bytes(16);
            reply.text(200, bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
        "/trap" => panic!("asked to"),
        "/exit" => std::process::exit(3),
        "/silent" => {}
        _ => reply.text(404, "no such path"),
    }
}

fn echo(request: Request, reply: Reply) {
    let asked = request.headers();
    let of =
        |wanted| asked.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let mut headers =
        vec![("content-type", of("content-type").unwrap_or("application/octet-stream"))];
    // What is not announced is lost: HTTP/1.1 is spoken on the way.
    headers.extend(of("trailer").map(|names| ("trailer", names)));
    let Some(mut sink) = reply.stream(200, &headers) else { return };
    let mut alive = true;
    let trailers = request.each_chunk(|chunk| {
        alive = sink.write(chunk).is_ok();
        alive
    });
    if let (true, Ok(trailers)) = (alive, trailers) {
        sink.finish_with(trailers);
    }
}

fn bytes(mut left: u64, reply: Reply) {
    let block = [b'k'; 64 << 10];
    let length = left.to_string();
    let headers = [("content-type", "application/octet-stream"), ("content-length", &*length)];
    let Some(mut sink) = reply.stream(200, &headers) else { return };
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(block.len()).min(block.len());
        if sink.write(&block[..now]).is_err() {
            return;
        }
        left -= now as u64;
    }
    sink.finish();
}

fn events(count: u64, every_ms: u64, reply: Reply) {
    let headers = [("content-type", "text/event-stream"), ("cache-control", "no-store")];
    let Some(mut sink) = reply.stream(200, &headers) else { return };
    for i in 0..count {
        if i > 0 {
            thread::sleep(Duration::from_millis(every_ms));
        }
        if sink.write(format!("id: {i}\ndata: {i}\n\n").as_bytes()).is_err() {
            return;
        }
    }
    sink.finish();
}

fn connect(to: &str) -> std::io::Result<()> {
    let address = to.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::NotFound)?;
    TcpStream::connect(address).map(drop)
}

fn outcome(result: std::io::Result<()>, reply: Reply) {
    match result {
        Ok(()) => reply.text(200, "done"),
        Err(error) => reply.text(403, error.to_string()),
    }
}

fn fetch(url: &str) -> Result<(u16, Vec<u8>), String> {
    let wrong = |part: &'static str| move |()| format!("{part} cannot be asked for");
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&scheme)).map_err(wrong("the scheme"))?;
    request.set_authority(Some(authority)).map_err(wrong("the host"))?;
    request.set_path_with_query(Some(&format!("/{path}"))).map_err(wrong("the path"))?;
    let pending = outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?;
    pending.subscribe().block();
    let answered = pending.get().ok_or("nothing came")?.map_err(wrong("it"))?;
    let response = answered.map_err(|code| format!("{code:?}"))?;
    let body = response.consume().map_err(wrong("the body"))?;
    let stream = body.stream().map_err(wrong("the body"))?;
    let mut read = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(chunk) => read.extend(chunk),
            Err(StreamError::Closed) => return Ok((response.status(), read)),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}
