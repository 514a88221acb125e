//! A chunk over several connections, step by step:
//!
//! 1. The reader's connection has taken the snapshot and exported it; it reads no rows itself.
//! 2. It cuts the chunk into parts, by the table's blocks or along the key. A part is in the queue
//!    as soon as its end is known, so that reading starts with the first one.
//! 3. Each other connection joins the snapshot, and takes the next part from the queue until there
//!    is none. Its batches go through one channel to the sink, in the order in which they are full.
//! 4. The chunk is read when every connection has ended without an error. After an error nothing of
//!    it counts: the caller throws the poll away, and the connections with it.
//!
//! All parts read in one snapshot, so the chunk is what one connection would have read; only the
//! order of its rows differs, and a load has each key once.

use std::sync::Arc;

use inlet_model::change::ChangeBatch;
use inlet_postgres::SharedSnapshot;
use inlet_service::error::Kind;
use inlet_service::sink::SinkError;
use sqlx::postgres::PgConnection;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::{Common, Extent};
use crate::source::error::PollError;
use crate::source::out::{Event, Out};
use crate::source::scan::{BatchLimits, Scanned};
use crate::source::statement::Condition;

/// Parts of a chunk for each connection: the last one that still reads should not read for long.
const PARTS_EACH: u32 = 4;
/// A part costs a statement and the search for its end.
const BLOCKS_LEAST: u32 = 256;
const BLOCKS_MOST: u32 = 4_096;

/// How a chunk is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// Ranges of blocks; the last one has no end.
    ByBlocks { each: u32, total: u32 },
    /// This many ranges of the key of this many rows.
    ByKey { parts: u32, rows: u32 },
}

impl Parts {
    pub fn of(extent: Extent, readers: usize, chunk_rows: u32) -> Self {
        let readers = u32::try_from(readers).expect("a few connections");
        match extent {
            Extent::Whole {
                blocks: Some(total),
            } => Self::ByBlocks {
                each: (total / (readers * PARTS_EACH)).clamp(BLOCKS_LEAST, BLOCKS_MOST),
                total,
            },
            Extent::Whole { blocks: None } | Extent::ByKey => Self::ByKey {
                parts: readers * PARTS_EACH,
                rows: (chunk_rows / PARTS_EACH).max(1),
            },
        }
    }
}

impl Common {
    /// Reads a chunk over connections that join its snapshot; brings what was read, the key at its
    /// end, and the connections.
    pub(super) async fn read_side_by_side(
        &self,
        connection: &mut PgConnection,
        snapshot: &SharedSnapshot,
        helpers: Vec<PgConnection>,
        parts: Parts,
        out: &mut impl Out,
    ) -> Result<(Scanned, Option<Vec<String>>, Vec<PgConnection>), PollError> {
        // One part waits for the connection that is free next.
        let (queue, waiting) = mpsc::channel(1);
        let waiting = Arc::new(Mutex::new(waiting));
        let (full, mut batches) = mpsc::channel(1);
        let mut readers = JoinSet::new();
        let limits = BatchLimits::shared_by(helpers.len());
        for helper in helpers {
            let reader = Reader {
                connection: helper,
                common: self.clone(),
                snapshot: snapshot.clone(),
                waiting: Arc::clone(&waiting),
                full: full.clone(),
                limits,
            };
            readers.spawn(reader.run());
        }
        // Only the readers hold these ends from here on: each channel closes when they have ended.
        drop((full, waiting));
        let write = async {
            while let Some(batch) = batches.recv().await {
                out.observe(Event::Read(batch.rows.num_rows() as u64));
                out.write(batch).await?;
            }
            Ok(())
        };
        let (until, ()) = tokio::try_join!(self.cut(connection, parts, queue), write)?;
        let mut scanned = Scanned {
            detected_at: self.snapshot.taken_at,
            ..Scanned::default()
        };
        let mut helpers = Vec::new();
        while let Some(read) = readers.join_next().await {
            let read = read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            let (part, helper) = read?;
            scanned = scanned.and(part);
            helpers.push(helper);
        }
        let until = until.expect("the parts are read to their end, or a connection has failed");
        Ok((scanned, until, helpers))
    }

    /// Puts every part into the queue; brings the key at the chunk's end. `None` when the queue was
    /// closed before, which readers do that have failed.
    async fn cut(
        &self,
        connection: &mut PgConnection,
        parts: Parts,
        queue: mpsc::Sender<Condition>,
    ) -> Result<Option<Option<Vec<String>>>, PollError> {
        match parts {
            Parts::ByBlocks { each, total } => {
                for from in (0..total.max(1)).step_by(each as usize) {
                    let until = from.checked_add(each).filter(|until| *until < total);
                    let part = Condition::Blocks {
                        from,
                        until,
                        before: self.load.begin,
                        only: self.only.clone(),
                    };
                    if queue.send(part).await.is_err() {
                        return Ok(None);
                    }
                }
                Ok(Some(None))
            }
            Parts::ByKey { parts, rows } => {
                let mut after = self.after().map(<[_]>::to_vec);
                for _ in 0..parts {
                    let until = self.end_of_part(connection, after.as_deref(), rows).await?;
                    let part = self.by_key(after, until.clone());
                    if queue.send(part).await.is_err() {
                        return Ok(None);
                    }
                    if until.is_none() {
                        return Ok(Some(None));
                    }
                    after = until;
                }
                Ok(Some(after))
            }
        }
    }
}

/// One connection and what it needs.
struct Reader {
    connection: PgConnection,
    common: Common,
    snapshot: SharedSnapshot,
    waiting: Arc<Mutex<mpsc::Receiver<Condition>>>,
    full: mpsc::Sender<ChangeBatch>,
    limits: BatchLimits,
}

impl Reader {
    async fn run(mut self) -> Result<(Scanned, PgConnection), PollError> {
        self.snapshot.join(&mut self.connection).await?;
        let mut scanned = Scanned {
            detected_at: self.common.snapshot.taken_at,
            ..Scanned::default()
        };
        loop {
            // The queue is held for the wait alone, so that the others read meanwhile.
            let next = self.waiting.lock().await.recv().await;
            let Some(condition) = next else { break };
            let mut out = Channel(&self.full);
            let part = self
                .common
                .scan(&mut self.connection, &condition, self.limits, &mut out)
                .await?;
            scanned = scanned.and(part);
        }
        self.snapshot.leave(&mut self.connection).await?;
        Ok((scanned, self.connection))
    }
}

/// Hands batches to the task that drives the sink.
struct Channel<'a>(&'a mpsc::Sender<ChangeBatch>);

impl Out for Channel<'_> {
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        // The sink has failed with an error of its own, which is the one that counts.
        self.0
            .send(batch)
            .await
            .map_err(|_| SinkError::new(Kind::Unavailable, "the load was ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_several_parts_for_each_connection() {
        let whole = |blocks| Extent::Whole {
            blocks: Some(blocks),
        };
        let by_blocks = |each, total| Parts::ByBlocks { each, total };
        assert_eq!(Parts::of(whole(0), 2, 100), by_blocks(BLOCKS_LEAST, 0));
        assert_eq!(Parts::of(whole(8_000), 2, 100), by_blocks(1_000, 8_000));
        assert_eq!(
            Parts::of(whole(u32::MAX), 2, 100),
            by_blocks(BLOCKS_MOST, u32::MAX)
        );
        assert_eq!(
            Parts::of(Extent::ByKey, 3, 100),
            Parts::ByKey {
                parts: 12,
                rows: 25
            }
        );
        assert_eq!(
            Parts::of(Extent::ByKey, 1, 3),
            Parts::ByKey { parts: 4, rows: 1 }
        );
    }
}
