//! What users ask of a table while it is polled: pauses, loads, sweeps and repairs.

use inlet_model::{Request, Xid};
use inlet_postgres::ServerTime;

use super::super::control::{Asked, Repaired};
use super::super::keys::Chunk;
use super::super::notice;
use super::super::phase::Reload;
use super::super::repair::Repair;
use super::PolledTable;

impl PolledTable {
    /// What a request asks beyond what was followed.
    pub fn asked(&self, request: &Request) -> Vec<Asked> {
        let mut asked = self.control.asked(request);
        // A load or a pause goes first: a repair reads beside a scan, which there is none of.
        let waits = self.repair.is_some() || !self.is_tailing() || self.control.paused;
        asked.retain(|asked| !waits || !matches!(asked, Asked::Repair(_)));
        asked
    }

    /// The repair that the next cycle makes.
    pub fn repairs(&self) -> Option<&Repair> {
        self.repair.as_ref()
    }

    /// True while it is left out of the polls.
    pub fn is_paused(&self) -> bool {
        self.control.paused
    }

    /// Follows one thing that a request asks; a load is left out unless its condition is accepted.
    /// All transactions below `begin` have ended at `now`.
    pub fn follow(
        &mut self,
        request: &Request,
        asked: Asked,
        accepted: bool,
        begin: Xid,
        now: ServerTime,
    ) {
        let is_tailing = self.is_tailing();
        let keyed = !self.table.captured.schema.key.is_empty();
        self.control.request.clone_from(&request.id);
        (self.control_stored, self.unsaved) = (false, true);
        match asked {
            Asked::Pause => self.control.paused = true,
            Asked::Resume => self.control.paused = false,
            Asked::Reload(asked) => {
                // A table that is being loaded brings every row anyway, and one without a key would
                // only get each row another time.
                if is_tailing && keyed && accepted {
                    let reload = Reload {
                        condition: asked.condition,
                        ..Reload::starting(begin)
                    };
                    self.load_again(reload, now);
                }
                self.control.reload = Some(asked.id);
            }
            Asked::Sweep(id) => {
                self.tiers.sweep_now();
                self.compare_at_once();
                self.control.sweep = Some(id);
            }
            Asked::Repair(asked) => {
                let schema = &self.table.captured.schema;
                let keys = keyed.then(|| Chunk::read(schema, &asked.keys)).flatten();
                match keys {
                    Some(keys) => {
                        self.repair = Some(Repair { id: asked.id, keys });
                        // It brings versions that were published before.
                        self.note_load(now);
                    }
                    None => {
                        notice::refused_repair(&self.table.captured);
                        self.control.repair = Some(Repaired {
                            id: asked.id,
                            refused: true,
                            ..Repaired::default()
                        });
                    }
                }
            }
        }
    }

    /// The table was set aside, and is polled again: the next checkpoint stores that.
    pub fn was_set_aside(&mut self) {
        (self.aside_stored, self.unsaved) = (true, true);
    }

    /// Loads the table again while its polls go on. All transactions below `begin` have ended, so
    /// every version below it is visible: the chunks emit these, and scans leave them out.
    ///
    /// A load with a condition emits only some of them, so its opening sweep emits the others
    /// before.
    pub fn load_again(&mut self, reload: Reload, now: ServerTime) {
        if reload.condition.is_none() {
            self.loaded = self.loaded.max(reload.load.begin);
        }
        self.reload = Some(reload);
        self.note_load(now);
    }
}
