//! Encoded keys or values of a batch in one buffer.

/// Keys or values, one an encoded row, back to back in one buffer that is used again for the next
/// batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    pub(crate) bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rows {
    /// The bytes of a row. `None` is Kafka's null value: the key was deleted. JSON is at least one
    /// byte long, so empty bytes can stand for null.
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..self.ends[row]]).filter(|bytes| !bytes.is_empty())
    }

    /// The number of rows that were ended.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True before the first row was ended.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Ends the row that was written to `bytes`.
    pub(crate) fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }
}
