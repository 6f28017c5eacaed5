//! What processes cost, as the kernel counts it.

use std::fs;

use anyhow::{Context as _, Result};

/// Nanoseconds of CPU that all threads of these processes have had. Threads that end in between are missing; the processes
/// that are measured keep theirs.
pub(super) fn cpu(processes: &[u32]) -> Result<u64> {
    let mut sum = 0;
    for process in processes {
        let tasks = format!("/proc/{process}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("`{tasks}` cannot be read"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let on_cpu = text.split(' ').next().and_then(|number| number.parse::<u64>().ok());
            sum += on_cpu.context("the kernel counts no CPU time of threads")?;
        }
    }
    Ok(sum)
}

/// Bytes of memory that a process has resident.
pub(super) fn memory(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident size")?;
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>()?;
    Ok(kib * 1024)
}
