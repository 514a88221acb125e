//! Bars on a terminal for readings of whole tables, from the poll's events.

use inlet_model::TableName;
use inlet_service::bar::Bar;

use crate::source::out::{Event, Reading};

/// The bars of the readings that are under way.
#[derive(Debug, Default)]
pub struct ProgressBar {
    /// A load goes on over many steps, and the scans of other tables come in between.
    load: Option<(TableName, Bar)>,
    scan: Option<Bar>,
}

impl ProgressBar {
    pub fn observe(&mut self, event: Event<'_>) {
        match event {
            Event::Starts {
                reading,
                table,
                expected,
            } => self.start(reading, table, expected),
            Event::Read(rows) => {
                let load = self.load.as_ref().map(|(_, bar)| bar);
                if let Some(bar) = self.scan.as_ref().or(load) {
                    bar.add(rows);
                }
            }
            Event::Ends(Reading::Load) => self.load = None,
            Event::Ends(Reading::Join | Reading::Sweep) => self.scan = None,
        }
    }

    fn start(&mut self, reading: Reading, table: &TableName, expected: Option<u64>) {
        match reading {
            // The chunks of a load share one bar.
            Reading::Load if self.load.as_ref().is_some_and(|(of, _)| of == table) => {}
            Reading::Load => {
                let bar = Bar::new(format!("load {table}"), expected);
                self.load = Some((table.clone(), bar));
            }
            Reading::Join => self.scan = Some(Bar::new(format!("join {table}"), expected)),
            Reading::Sweep => self.scan = Some(Bar::new(format!("sweep {table}"), expected)),
        }
    }
}
