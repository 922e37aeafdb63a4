//! Compiling: in a child that has nothing but the component and a file for the code.

use std::{
    fs::File,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use kinesis_protocol::Workload;

use super::{Runtime, child::THREADS_MAX};
use crate::{
    RuntimeError,
    cache::Cache,
    isolation::cgroup::Limits,
    talk::{FromChild, Order, Outcome, ToChild},
};

const COMPILE_MAX: Duration = Duration::from_secs(180);
const COMPILE_MEMORY_BYTES: u64 = 3 << 30;
const COMPILE_CPU_MILLIS: u64 = 64_000;

impl Runtime {
    /// The key and the file of a component's code; compiles it where nobody has.
    pub(super) async fn code(
        &self,
        component: &Path,
        workload: &Workload,
    ) -> Result<(String, PathBuf), RuntimeError> {
        let deterministic = Order::deterministic(workload);
        let cache = &self.0.cache;
        let key = Cache::key(&workload.program().component, &self.0.engine, deterministic);
        if let Some(path) = cache.get(&key) {
            return Ok((key, path));
        }
        let _turn = cache.turn(&key).await;
        if let Some(path) = cache.get(&key) {
            return Ok((key, path));
        }
        let input = File::open(component).map_err(RuntimeError::file("open", component))?;
        let (new, output) = cache.begin(&key)?;
        let compiled = self.compile(&input, &output, deterministic).await;
        if compiled.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        compiled?;
        let path = cache.finish(&key, &new, &output)?;
        Ok((key, path))
    }

    async fn compile(
        &self,
        input: &File,
        output: &File,
        deterministic: bool,
    ) -> Result<(), RuntimeError> {
        let limits = Limits {
            cpu_millis: COMPILE_CPU_MILLIS,
            memory_bytes: COMPILE_MEMORY_BYTES,
            threads: THREADS_MAX,
        };
        let order = ToChild::Compile { deterministic };
        let child = self.child(&limits, &order, &[input.as_fd(), output.as_fd()]).await?;
        let answer = tokio::time::timeout(COMPILE_MAX, child.channel.recv::<FromChild>()).await;
        match answer {
            Ok(Ok(Some((FromChild::Compiled, _)))) => Ok(()),
            Ok(Ok(Some((FromChild::Ended(Outcome::Failed { reason }), _)))) => {
                Err(RuntimeError::Compile(reason))
            }
            Ok(Ok(Some(_))) => Err(RuntimeError::Compile("an unexpected message".into())),
            Ok(Ok(None) | Err(_)) => {
                let oom = child.group.as_ref().is_some_and(|group| group.oom_kills() > 0);
                Err(RuntimeError::Compile(if oom {
                    format!("it takes more than {} MiB", COMPILE_MEMORY_BYTES >> 20)
                } else {
                    "the compiler crashed".into()
                }))
            }
            Err(_) => Err(RuntimeError::Compile(format!(
                "it takes longer than {} s",
                COMPILE_MAX.as_secs()
            ))),
        }
    }
}
