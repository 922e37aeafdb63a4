//! A job that does what its arguments say, one after another, good and bad: what the grid's own
//! tests run. A step that fails ends the job with exit code 1 and the reason on stderr.
//!
//! | step | does |
//! | --- | --- |
//! | `say=TEXT` | prints TEXT |
//! | `env=NAME` | prints a variable |
//! | `args` | prints the arguments as they came |
//! | `cat=PATH` | prints a file |
//! | `write=PATH:BYTES` | writes a file of so many bytes |
//! | `copy=FROM:TO` | copies a file |
//! | `dice=PATH:BYTES` | writes a file of so many random bytes |
//! | `sleep=MS`, `spin=MS` | waits, works |
//! | `alloc=MIB` | takes and touches memory |
//! | `flood=BYTES` | writes that much to its log |
//! | `clock`, `random` | prints nanoseconds since 1970 and since the start, 16 random bytes |
//! | `nan` | prints the bits of NaNs made in several ways |
//! | `connect=HOST:PORT` | tries to reach it |
//! | `exit=CODE`, `panic` | ends |

use std::{
    collections::hash_map::RandomState,
    env, fs,
    hash::BuildHasher as _,
    hint::black_box,
    io::{self, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    process::ExitCode,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

fn main() -> ExitCode {
    let begun = Instant::now();
    for arg in env::args().skip(1) {
        let (step, value) = arg.split_once('=').unwrap_or((&arg, ""));
        if let Err(error) = run(step, value, begun) {
            eprintln!("{arg}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(step: &str, value: &str, begun: Instant) -> io::Result<()> {
    let number = || value.parse::<u64>().map_err(io::Error::other);
    let pair = || value.split_once(':').ok_or_else(|| io::Error::other("expected A:B"));
    match step {
        "say" => println!("{value}"),
        "env" => println!("{}", env::var(value).map_err(io::Error::other)?),
        "args" => println!("{:?}", env::args().skip(1).collect::<Vec<_>>()),
        "cat" => io::stdout().write_all(&fs::read(value)?)?,
        "write" => {
            let (path, bytes) = pair()?;
            let mut file = fs::File::create(path)?;
            let mut left = bytes.parse::<usize>().map_err(io::Error::other)?;
            while left > 0 {
                let now = left.min(64 << 10);
                file.write_all(&vec![b'k'; now])?;
                left -= now;
            }
        }
        "copy" => {
            let (from, to) = pair()?;
            fs::write(to, fs::read(from)?)?;
        }
        "dice" => {
            let (path, bytes) = pair()?;
            let bytes = bytes.parse::<usize>().map_err(io::Error::other)?;
            let mut thrown = Vec::with_capacity(bytes + 8);
            while thrown.len() < bytes {
                thrown.extend(RandomState::new().hash_one(thrown.len()).to_be_bytes());
            }
            thrown.truncate(bytes);
            fs::write(path, thrown)?;
        }
        "sleep" => thread::sleep(Duration::from_millis(number()?)),
        "spin" => {
            let until = Instant::now() + Duration::from_millis(number()?);
            while Instant::now() < until {}
        }
        "alloc" => {
            let mib = usize::try_from(number()?).map_err(io::Error::other)?;
            let mut block = vec![0_u8; mib << 20];
            block.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            println!("{}", block.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        }
        "flood" => {
            for _ in 0..number()?.div_ceil(1024) {
                io::stdout().write_all(&[b'.'; 1024])?;
            }
        }
        "clock" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
            println!("{} {}", now.as_nanos(), begun.elapsed().as_nanos());
        }
        // The standard library seeds its hashers from the host's randomness.
        "random" => {
            println!(
                "{:016x}{:016x}",
                RandomState::new().hash_one(0),
                RandomState::new().hash_one(1)
            );
        }
        "nan" => {
            let zero = black_box(0.0_f64);
            let nans = [
                zero / black_box(0.0),
                (-1.0 - zero).sqrt(),
                f64::INFINITY * zero,
                f64::NAN - zero,
            ];
            println!("{:x?}", nans.map(f64::to_bits));
        }
        "connect" => {
            let address = value.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
            TcpStream::connect(address)?;
            println!("connected");
        }
        "exit" => std::process::exit(value.parse().map_err(io::Error::other)?),
        "panic" => panic!("asked to"),
        _ => return Err(io::Error::other("no such step")),
    }
    io::stdout().flush()
}
