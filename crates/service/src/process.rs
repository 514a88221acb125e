//! What a process takes of this machine, as Linux counts it.

use std::fs;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};

/// The unit of the times in `/proc/<pid>/stat`: `sysconf(_SC_CLK_TCK)` is 100 on every Linux.
const TICKS_PER_SECOND: u64 = 100;
/// The names that every exporter of Prometheus gives them.
const MEMORY: &str = "process_resident_memory_bytes";
const CPU: &str = "process_cpu_seconds_total";

/// A running process of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub id: u32,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Time on all cores since its start.
    pub cpu: Duration,
}

impl Process {
    /// Looks at a process by its number and the kernel's name of its program; in another container
    /// the number is that of another process, or of none.
    pub fn find(id: u32, name: &str) -> Option<Self> {
        let comm = fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
        (comm.trim() == name).then(|| Self::read(id)).flatten()
    }

    fn read(id: u32) -> Option<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).ok();
        Some(Self {
            id,
            memory_bytes: memory(&read("status")?)?,
            cpu: cpu(&read("stat")?)?,
        })
    }
}

/// Describes the metrics of this process.
pub(crate) fn describe_metrics() {
    describe_gauge!(MEMORY, "resident memory");
    describe_counter!(CPU, "time on all cores, in whole seconds");
}

/// Sets the metrics of this process.
pub(crate) fn measure() {
    if let Some(process) = Process::read(std::process::id()) {
        gauge!(MEMORY).set(process.memory_bytes as f64);
        counter!(CPU).absolute(process.cpu.as_secs());
    }
}

fn memory(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// The 14th and the 15th field; the second one, a name in brackets, may hold blanks.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_counts_is_read() {
        let stat = "7 (in) let) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 4 0 1 2 3";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(memory("Name:\tx\nVmRSS:\t  12 kB\n"), Some(12 * 1024));
        let ours = std::process::id();
        assert!(Process::read(ours).unwrap().memory_bytes > 1 << 20);
        assert_eq!(Process::find(ours, "another"), None);
        assert_eq!(Process::find(0, "inlet"), None);
    }
}
