//! What the control topic holds of a pipeline.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use inlet_kafka::OpenTransactions;
use inlet_model::Offset;
use inlet_model::record::control::{ControlRecord, Owner};
use inlet_model::record::sequences::Sequences;
use inlet_model::{Fingerprint, TableName};
use inlet_model::{Progress, ProgressDelta, Request};
use inlet_service::sink::SinkError;

use super::fault;
use super::settings::KafkaSinkSettings;

/// The last record of every key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Progress of every table, with its sequences.
    pub progress: BTreeMap<TableName, Progress>,
    /// Schemas that consumers can find.
    pub schemas: HashSet<Fingerprint>,
    /// The process that took the pipeline over last.
    pub owner: Option<Owner>,
    /// What users ask of tables.
    pub requests: BTreeMap<TableName, Request>,
    /// The end of what was read; `None` before that.
    pub end: Option<Offset>,
}

/// The poller's progress of every table that is committed in the control topic, which must exist.
/// Blocking.
pub fn stored_progress(
    settings: &KafkaSinkSettings,
) -> Result<BTreeMap<TableName, Progress>, SinkError> {
    Stored::read(settings, Instant::now() + settings.deadline).map(|stored| stored.progress)
}

impl Stored {
    /// Reads all committed records; see [`inlet_kafka::ControlTopic::read`] for what may be
    /// missing.
    pub fn read(settings: &KafkaSinkSettings, deadline: Instant) -> Result<Self, SinkError> {
        Self::default().read_on(settings, deadline)
    }

    /// Reads what was committed since, so that a progress of many megabytes is read once.
    pub fn read_on(
        mut self,
        settings: &KafkaSinkSettings,
        deadline: Instant,
    ) -> Result<Self, SinkError> {
        let (control, skip) = (settings.control(), OpenTransactions::Skip);
        let from = self.end.unwrap_or(Offset::ZERO);
        let end = control.read(from, skip, deadline, |record| self.apply(record))?;
        self.end = Some(end);
        Ok(self)
    }

    fn apply(&mut self, record: ControlRecord) {
        match record {
            ControlRecord::Request { table, text } => {
                apply_request(&mut self.requests, table, text)
            }
            ControlRecord::Owner(owner) => self.owner = owner,
            ControlRecord::Progress { table, part, text } => {
                let delta = ProgressDelta(BTreeMap::from([(part, text)]));
                self.progress.entry(table).or_default().apply(delta);
            }
            ControlRecord::Schema {
                fingerprint,
                text: Some(_),
            } => {
                self.schemas.insert(fingerprint);
            }
            ControlRecord::Schema {
                fingerprint,
                text: None,
            } => {
                self.schemas.remove(&fingerprint);
            }
        }
    }
}

/// What users ask of each table, as the control topic has it, which must exist. Blocking.
pub fn stored_requests(
    settings: &KafkaSinkSettings,
) -> Result<BTreeMap<TableName, Request>, SinkError> {
    settings.control().ensure_answers(settings.deadline)?;
    Stored::read(settings, Instant::now() + settings.deadline).map(|stored| stored.requests)
}

/// Stores what a user asks of a table. Blocking.
pub fn store_request(
    settings: &KafkaSinkSettings,
    table: &TableName,
    request: &Request,
) -> Result<(), SinkError> {
    let deadline = Instant::now() + settings.deadline;
    let control = settings.control();
    if !control.exists(deadline)? {
        let act = format!("topic `{}` does not exist", settings.control_topic);
        let hint = "the producer creates it when it starts for the first time: `inlet producer`";
        return Err(fault::config(act, hint));
    }
    let record = ControlRecord::Request {
        table: table.clone(),
        text: Some(request.encode()),
    };
    Ok(control.write(record, deadline)?)
}

/// The last request of a table counts; one that cannot be read counts as none.
pub(super) fn apply_request(
    requests: &mut BTreeMap<TableName, Request>,
    table: TableName,
    text: Option<String>,
) {
    match text.and_then(|text| Request::decode(text.as_bytes()).ok()) {
        Some(request) => _ = requests.insert(table, request),
        None => _ = requests.remove(&table),
    }
}

/// The next sequence of every kafka_partition, from the part `sequences` of a table's progress.
///
/// Refuses a topic whose number of kafka_partitions has changed: keys would move to others, and
/// lose the order of their versions.
pub(super) fn sequences(
    settings: &KafkaSinkSettings,
    topic: &str,
    partitions: i32,
    part: Option<&String>,
) -> Result<Vec<u64>, SinkError> {
    let count = usize::try_from(partitions).expect("a topic has a positive number of partitions");
    // A table that was never published starts with sequence 0 in every kafka_partition.
    let Some(part) = part else {
        return Ok(vec![0; count]);
    };
    let Some(Sequences(stored)) = Sequences::decode(part) else {
        let control = &settings.control_topic;
        return Err(fault::bug(format!(
            "the sequences of topic `{topic}` in the control topic `{control}` cannot be read: \
             {part}"
        )));
    };
    if stored.len() == count {
        return Ok(stored);
    }
    Err(fault::config(
        format!(
            "topic `{topic}` had {} partitions when it was last written and has {partitions} now",
            stored.len()
        ),
        "the versions of a key would be in two partitions, without an order between them: \
         use a new topic (`kafka.topic`) and a new pipeline name (`pipeline`)",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_of_a_key_counts_and_a_null_removes_it() {
        let table = || TableName::new("public", "orders");
        let part = |part: &str, text: Option<&str>| ControlRecord::Progress {
            table: table(),
            part: part.to_owned(),
            text: text.map(str::to_owned),
        };
        let schema = |hash, text: Option<&[u8]>| ControlRecord::Schema {
            fingerprint: Fingerprint(hash),
            text: text.map(<[u8]>::to_vec),
        };
        let owner = |generation| Owner {
            generation,
            instance: "a process".to_owned(),
        };
        let records = [
            part("covered/3", Some("1")),
            schema(0xab, Some(b"{}")),
            schema(0xcd, Some(b"{}")),
            ControlRecord::Owner(Some(owner(1))),
            part("poll", Some("1")),
            part("covered/3", None),
            part("poll", Some("2")),
            schema(0xcd, None),
            ControlRecord::Owner(Some(owner(2))),
        ];
        let mut stored = Stored::default();
        records.into_iter().for_each(|record| stored.apply(record));
        let progress = Progress(BTreeMap::from([("poll".to_owned(), "2".to_owned())]));
        let expected = Stored {
            progress: BTreeMap::from([(table(), progress)]),
            schemas: HashSet::from([Fingerprint(0xab)]),
            owner: Some(owner(2)),
            ..Stored::default()
        };
        assert_eq!(stored, expected);
    }

    #[test]
    fn another_number_of_partitions_is_refused() {
        let settings = KafkaSinkSettings::default();
        let text = Sequences(vec![5, 0, 7]).encode();
        assert_eq!(
            sequences(&settings, "orders", 3, Some(&text)).unwrap(),
            [5, 0, 7]
        );
        assert_eq!(sequences(&settings, "orders", 2, None).unwrap(), [0, 0]);
        let error = sequences(&settings, "orders", 4, Some(&text)).unwrap_err();
        assert_eq!(error.kind, inlet_service::error::Kind::Config);
    }
}
