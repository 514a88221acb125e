//! A file of the lake that is open for reading, on a disk or in a bucket.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::bucket::Bucket;

/// The bits of a mode that allow the owner, the group and others to read.
const READABLE: u32 = 0o444;
/// Bytes of an object that one request reads, where all of them are read one after the other.
const READ_AHEAD_BYTES: u64 = 4 << 20;

/// A file of the lake.
#[derive(Debug)]
pub struct Opened {
    size: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Local(File),
    Object(Bucket),
}

impl Opened {
    /// Opens a file; an error of the kind `NotFound` when it is missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let Some(bucket) = Bucket::of(path) else {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            let place = Place::Local(file);
            return Ok(Self { size, place });
        };
        let bucket = bucket?;
        // The bucket's folder is the object itself here.
        let size = bucket.size("")?;
        let missing = || io::Error::from(ErrorKind::NotFound);
        Ok(Self {
            size: size.ok_or_else(missing)?,
            place: Place::Object(bucket),
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// True for a folder that has the name of a file.
    pub(crate) fn is_folder(&self) -> io::Result<bool> {
        match &self.place {
            Place::Local(file) => Ok(file.metadata()?.is_dir()),
            Place::Object(_) => Ok(false),
        }
    }

    /// False for a file that its mode hides from every user. Who may read an object is not known
    /// from it.
    pub(crate) fn is_readable(&self) -> io::Result<bool> {
        match &self.place {
            Place::Local(file) => Ok(file.metadata()?.mode() & READABLE != 0),
            Place::Object(_) => Ok(true),
        }
    }

    /// Bytes of the file, all of which it has.
    pub(crate) fn read_at(&self, start: u64, length: usize) -> io::Result<Bytes> {
        match &self.place {
            Place::Local(file) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, start)?;
                Ok(bytes.into())
            }
            Place::Object(_) if length == 0 => Ok(Bytes::new()),
            Place::Object(bucket) => {
                let end = start + length as u64;
                let short = || io::Error::from(ErrorKind::UnexpectedEof);
                if end > self.size {
                    return Err(short());
                }
                let bytes = bucket.read_range("", start, end)?;
                (bytes.len() == length).then_some(bytes).ok_or_else(short)
            }
        }
    }

    /// Reads the file from a position to its end.
    pub(crate) fn reader(&self, start: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &self.place {
            Place::Local(file) => {
                let mut file = file.try_clone()?;
                io::Seek::seek(&mut file, io::SeekFrom::Start(start))?;
                Box::new(BufReader::new(file))
            }
            Place::Object(bucket) => Box::new(Parts {
                bucket: bucket.clone(),
                next: start,
                size: self.size,
                part: Bytes::new(),
            }),
        })
    }
}

impl Length for Opened {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Opened {
    type T = Box<dyn Read + Send>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        self.reader(start).map_err(ParquetError::from)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.read_at(start, length).map_err(ParquetError::from)
    }
}

/// An object that is read from its beginning to its end.
struct Parts {
    bucket: Bucket,
    next: u64,
    size: u64,
    part: Bytes,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() && self.next < self.size {
            let end = self.size.min(self.next + READ_AHEAD_BYTES);
            self.part = self.bucket.read_range("", self.next, end)?;
            self.next = end;
        }
        let length = buffer.len().min(self.part.len());
        self.part.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
