//! One ray-traced frame, split over N parts: each part renders a band of rows and leaves it as
//! `/out/frame-NNN.ppm`. The first band carries the header of the whole picture, so the parts joined
//! in order *are* the picture.
//!
//! `render [--width PX] [--height PX] [--samples N]`; which band is in `KINESIS_PART` and
//! `KINESIS_PARTS`. Every pixel draws its random numbers from a seed of its own, so the bytes depend
//! neither on the node nor on how many parts there are.

mod scene;
mod vector;

use std::{
    env, fs,
    io::{self, BufWriter, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use scene::{Camera, Scene};

/// What to render.
struct Frame {
    width: u32,
    height: u32,
    samples: u32,
    part: u32,
    parts: u32,
}

fn main() -> ExitCode {
    match frame().and_then(|frame| render(&frame).map_err(|error| error.to_string())) {
        Ok(path) => {
            println!("wrote {}", path.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("render: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn frame() -> Result<Frame, String> {
    let number = |name: &str, text: &str, most: u32| match text.parse::<u32>() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!("{name} must be 1 to {most}, got \"{text}\"")),
    };
    let from_env =
        |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let mut frame = Frame { width: 480, height: 270, samples: 16, part: 0, parts: 1 };
    let mut args = env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} wants a value"))?;
        match flag.as_str() {
            "--width" => frame.width = number(&flag, &value, 8192)?,
            "--height" => frame.height = number(&flag, &value, 8192)?,
            "--samples" => frame.samples = number(&flag, &value, 4096)?,
            _ => {
                return Err(format!("unknown flag {flag}: there are --width, --height, --samples"));
            }
        }
    }
    frame.parts = number("KINESIS_PARTS", &from_env("KINESIS_PARTS", "1"), 1000)?;
    let part = from_env("KINESIS_PART", "0");
    frame.part = part.parse().map_err(|_| format!("KINESIS_PART is \"{part}\""))?;
    if frame.part >= frame.parts {
        return Err(format!("part {} of {}", frame.part, frame.parts));
    }
    Ok(frame)
}

/// The first row of `part`; the last part ends at `height`.
fn first_row(frame: &Frame, part: u32) -> u32 {
    let row = u64::from(frame.height) * u64::from(part) / u64::from(frame.parts);
    u32::try_from(row).unwrap_or(frame.height)
}

fn render(frame: &Frame) -> io::Result<PathBuf> {
    let folder = PathBuf::from(env::var_os("RENDER_OUT").unwrap_or_else(|| "/out".into()));
    let path = folder.join(format!("frame-{:03}.ppm", frame.part));
    let mut file = BufWriter::new(fs::File::create(&path)?);
    if frame.part == 0 {
        write!(file, "P6\n{} {}\n255\n", frame.width, frame.height)?;
    }
    let scene = Scene::new();
    let camera = Camera::new(frame.width, frame.height);
    for y in first_row(frame, frame.part)..first_row(frame, frame.part + 1) {
        for x in 0..frame.width {
            file.write_all(&scene.pixel(&camera, x, y, frame.samples))?;
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    Ok(path)
}
