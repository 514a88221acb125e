//! The processes that write the lake, on this machine.
//!
//! A writer's lock names its process. One on another machine, or in another container, is not seen.

use std::collections::BTreeSet;

use inlet_lake::TableReader;
pub use inlet_service::process::Process;

/// The kernel's name of our processes.
const NAME: &str = "inlet";

/// The processes that hold a writer's lock in one of the folders.
pub fn writing(readers: &[TableReader]) -> Vec<Process> {
    let writers = readers
        .iter()
        .flat_map(|reader| reader.writers().unwrap_or_default());
    let alive = writers.filter(|writer| writer.alive);
    let ids: BTreeSet<u32> = alive
        .filter_map(|writer| writer.process().parse().ok())
        .collect();
    ids.into_iter()
        .filter_map(|id| Process::find(id, NAME))
        .collect()
}
