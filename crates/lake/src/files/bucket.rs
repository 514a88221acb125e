//! A table's folder in a bucket of an object store: S3 and what speaks its protocol, Google Cloud
//! Storage, Azure Blob Storage.
//!
//! An address such as `s3://lake/shop/orders` takes the place of a path, everywhere. The bucket's
//! endpoint and region come from the configuration ([`use_bucket`]), and credentials from where
//! object_store looks for them: the environment, a web identity, the role of the machine.
//!
//! A name leads to a whole object or to none, as after a rename. A name that is created if absent
//! is asked for with `If-None-Match: *`. Whatever the answer to that is, also a lost one or one
//! that a repeated request got for the first one's success, what is stored under the name
//! afterwards decides ([`Bucket::put_if_absent`]).
//!
//! object_store is asynchronous, and the lake is not: requests run on threads of their own, and the
//! caller waits for them.

mod fault;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    RetryConfig, WriteMultipart,
};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

pub use fault::BucketError;
pub(crate) use fault::BucketFault;
use fault::fault;
use inlet_service::retry::pause;

/// Larger files are sent in parts of this size. S3 wants at least 5 MiB.
const PART_BYTES: usize = 8 << 20;
/// Parts of a file that are sent at once.
const PARTS_AT_ONCE: usize = 3;
/// Bytes of all files that are in memory to be sent, in KiB.
const SENT_KIB_MAX: usize = 40 << 10;
/// How often a name is asked for while the answers leave in doubt whether it is ours.
const PUT_ATTEMPTS: u32 = 5;
const PUT_PAUSE: Duration = Duration::from_millis(200);
/// Repetitions of one request, and the time for all of them: the service repeats what fails.
const RETRIES: usize = 4;
const RETRY_TIME: Duration = Duration::from_secs(30);
const CONNECT_TIME: Duration = Duration::from_secs(5);
const REQUEST_TIME: Duration = Duration::from_secs(60);

static SENT: Semaphore = Semaphore::const_new(SENT_KIB_MAX);
static BUCKETS: Mutex<BTreeMap<String, Known>> = Mutex::new(BTreeMap::new());

/// How a bucket is reached, beside its address and the credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketOptions {
    /// The server's address, where it is not the one of the provider.
    pub endpoint: Option<String>,
    /// The region; of S3 alone.
    pub region: Option<String>,
    /// Allows an endpoint without TLS.
    pub allow_http: bool,
}

/// A bucket that was named, with its client once it was used: a client holds connections and
/// credentials.
#[derive(Debug, Default)]
struct Known {
    options: BucketOptions,
    client: Option<Arc<dyn ObjectStore>>,
}

/// States how the bucket of an address is reached. Without it, the provider's own endpoint is used.
/// A path of the file system is ignored.
pub fn use_bucket(address: &Path, options: &BucketOptions) {
    let Some((bucket, _)) = split(address) else {
        return;
    };
    let mut buckets = BUCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = buckets.entry(bucket).or_default();
    if known.options != *options {
        *known = Known {
            options: options.clone(),
            client: None,
        };
    }
}

/// Gives the client of a bucket, in place of one with credentials of the environment.
pub fn use_client(address: &Path, client: Arc<dyn ObjectStore>) {
    let Some((bucket, _)) = split(address) else {
        return;
    };
    let mut buckets = BUCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    buckets.entry(bucket).or_default().client = Some(client);
}

/// True for the address of a place in a bucket.
pub fn in_bucket(path: &Path) -> bool {
    split(path).is_some()
}

/// The address of a bucket, and the path in it.
fn split(address: &Path) -> Option<(String, String)> {
    let text = address.to_str()?;
    let (scheme, rest) = text.split_once("://")?;
    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some((format!("{scheme}://{name}"), path.trim_matches('/').into()))
}

/// An object, as a listing names it.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// Its name below the folder that was listed.
    pub name: String,
    /// When it was stored, by the clock of the server.
    pub stored_at: DateTime<Utc>,
}

/// A folder in a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    client: Arc<dyn ObjectStore>,
    folder: String,
}

impl Bucket {
    /// The folder of an address; `None` for a path of the file system.
    pub fn of(address: &Path) -> Option<io::Result<Self>> {
        let (bucket, folder) = split(address)?;
        let mut buckets = BUCKETS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = buckets.entry(bucket.clone()).or_default();
        let client = match &known.client {
            Some(client) => Ok(client.clone()),
            None => connect(&bucket, &known.options),
        };
        Some(client.map(|client| {
            known.client = Some(client.clone());
            Self { client, folder }
        }))
    }

    pub fn read(&self, relative: &str) -> io::Result<Option<Vec<u8>>> {
        let (client, key) = (self.client.clone(), self.key(relative)?);
        let read = wait(async move { client.get(&key).await?.bytes().await });
        found(read).map(|bytes| bytes.map(Vec::from))
    }

    /// Bytes `start..end` of an object.
    pub fn read_range(&self, relative: &str, start: u64, end: u64) -> io::Result<Bytes> {
        let (client, key) = (self.client.clone(), self.key(relative)?);
        wait(async move { client.get_range(&key, start..end).await }).map_err(fault)
    }

    pub fn size(&self, relative: &str) -> io::Result<Option<u64>> {
        let (client, key) = (self.client.clone(), self.key(relative)?);
        let head = wait(async move { client.head(&key).await });
        Ok(found(head)?.map(|head| head.size))
    }

    /// True when the name exists with these bytes afterwards, false when it has others. An error
    /// leaves in doubt whether it exists, now or later.
    pub fn put_if_absent(&self, relative: &str, bytes: &[u8]) -> io::Result<bool> {
        let payload = Bytes::copy_from_slice(bytes);
        let mut attempt = 1;
        loop {
            let (client, key) = (self.client.clone(), self.key(relative)?);
            let payload = PutPayload::from(payload.clone());
            let create = PutMode::Create.into();
            let put = wait(async move { client.put_opts(&key, payload, create).await });
            let Err(error) = put else {
                return Ok(true);
            };
            // The request may have been applied although it failed: its answer was lost, the
            // server answered 500 after it had stored the object, or a repetition found what the
            // first request had stored. A 409 may also mean another request that is under way, and
            // no object yet. What is stored tells which it is.
            match self.read(relative) {
                Ok(Some(stored)) => return Ok(stored == bytes),
                // The name may still come into being by a request that the server has received, so
                // the same bytes are put again: whichever of both is first, the name is ours.
                Ok(None) | Err(_) if attempt < PUT_ATTEMPTS && is_passing(&error) => {
                    pause(PUT_PAUSE * attempt);
                    attempt += 1;
                }
                Ok(None) | Err(_) => return Err(fault(error)),
            }
        }
    }

    pub fn replace(&self, relative: &str, bytes: &[u8]) -> io::Result<()> {
        let (client, key) = (self.client.clone(), self.key(relative)?);
        let payload = PutPayload::from(Bytes::copy_from_slice(bytes));
        wait(async move { client.put(&key, payload).await })
            .map(drop)
            .map_err(fault)
    }

    /// Stores a local file under a name, in parts where it is large.
    pub fn upload(&self, relative: &str, file: &File) -> io::Result<()> {
        let (client, key) = (self.client.clone(), self.key(relative)?);
        let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let file = file.try_clone()?;
        let in_memory = size.min(PART_BYTES * (PARTS_AT_ONCE + 1));
        let kib = u32::try_from(in_memory >> 10).expect("it is a few MiB") + 1;
        wait(async move {
            let _sent = SENT.acquire_many(kib).await;
            if size <= PART_BYTES {
                let bytes = part(&file, 0, size)?;
                return client
                    .put(&key, bytes.into())
                    .await
                    .map(drop)
                    .map_err(fault);
            }
            let upload = client.put_multipart(&key).await.map_err(fault)?;
            let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
            for start in (0..size).step_by(PART_BYTES) {
                let next = match part(&file, start, PART_BYTES.min(size - start)) {
                    Ok(bytes) => writer
                        .wait_for_capacity(PARTS_AT_ONCE)
                        .await
                        .map(|()| bytes)
                        .map_err(fault),
                    Err(error) => Err(error),
                };
                match next {
                    Ok(bytes) => writer.put(bytes),
                    Err(error) => {
                        // Parts of an upload that is neither completed nor aborted cost space.
                        let _ = writer.abort().await;
                        return Err(error);
                    }
                }
            }
            writer.finish().await.map(drop).map_err(fault)
        })
    }

    /// Gives an object another name; false when the old name is missing. Both names lead to it for
    /// a moment.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<bool> {
        let client = self.client.clone();
        let (from, to) = (self.key(from)?, self.key(to)?);
        let renamed = wait(async move {
            client.copy(&from, &to).await?;
            // A second writer that takes the same step finds the old name missing.
            match client.delete(&from).await {
                Err(Error::NotFound { .. }) => Ok(()),
                result => result,
            }
        });
        Ok(found(renamed)?.is_some())
    }

    pub fn remove(&self, relative: &str) -> io::Result<()> {
        let (client, key) = (self.client.clone(), self.key(relative)?);
        let removed = wait(async move { client.delete(&key).await });
        found(removed).map(|_| ())
    }

    /// Removes an object that no one needs, without waiting for it.
    pub fn remove_later(&self, relative: &str) {
        let (client, key) = (self.client.clone(), self.key(relative));
        if let Ok(key) = key {
            runtime().spawn(async move { client.delete(&key).await });
        }
    }

    /// The names in a folder; of what is below it, the first part.
    pub fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let found = self.list_folder(folder)?;
        let folders = found.common_prefixes.iter();
        let folders = folders.filter_map(|prefix| prefix.filename().map(str::to_owned));
        let objects = found.objects.iter();
        let objects = objects.filter_map(|object| object.location.filename().map(str::to_owned));
        Ok(objects.chain(folders).collect())
    }

    /// The objects in a folder, with their ages.
    pub fn list_objects(&self, folder: &str) -> io::Result<Vec<Listed>> {
        let found = self.list_folder(folder)?;
        let objects = found.objects.into_iter();
        let objects = objects.filter_map(|object| {
            Some(Listed {
                name: object.location.filename()?.to_owned(),
                stored_at: object.last_modified,
            })
        });
        Ok(objects.collect())
    }

    /// The names of all objects below a folder, relative to the bucket's folder.
    pub fn list_below(&self, folder: &str) -> io::Result<Vec<String>> {
        let (client, key) = (self.client.clone(), self.key(folder)?);
        let list = async move { client.list(Some(&key)).try_collect::<Vec<_>>().await };
        let found = wait(list).map_err(fault)?;
        let own = self.key("")?;
        let below = found.iter().filter_map(|object| {
            let parts = object.location.prefix_match(&own)?;
            let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
            Some(parts.join("/"))
        });
        Ok(below.collect())
    }

    fn list_folder(&self, folder: &str) -> io::Result<object_store::ListResult> {
        let (client, key) = (self.client.clone(), self.key(folder)?);
        wait(async move { client.list_with_delimiter(Some(&key)).await }).map_err(fault)
    }

    fn key(&self, relative: &str) -> io::Result<Key> {
        let whole = format!("{}/{relative}", self.folder);
        // Not `From`, which would encode a sign of the name a second time.
        Key::parse(whole.trim_matches('/'))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))
    }
}

/// Errors that another request may not get.
fn is_passing(error: &Error) -> bool {
    !matches!(
        error,
        Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotFound { .. }
            | Error::NotImplemented { .. }
            | Error::NotSupported { .. }
    )
}

/// `None` for an object that is missing. A bucket that is missing is an error.
fn found<T>(result: object_store::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ Error::NotFound { .. }) => match fault(error) {
            error if error.kind() == io::ErrorKind::NotFound => Ok(None),
            error => Err(error),
        },
        Err(error) => Err(fault(error)),
    }
}

fn part(file: &File, start: usize, size: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; size];
    // The file was written a moment ago, so its pages are in memory.
    file.read_exact_at(&mut bytes, start as u64)?;
    Ok(bytes.into())
}

/// The threads of all requests. They end with the process.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bucket")
            .enable_all()
            .build()
            .expect("the process can start threads")
    })
}

/// Waits for a request. Not `block_on`, which a thread of another runtime may not call.
fn wait<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, answer) = mpsc::sync_channel(1);
    runtime().spawn(async move { sender.send(request.await) });
    answer.recv().expect("a request ends with an answer")
}

fn connect(bucket: &str, options: &BucketOptions) -> io::Result<Arc<dyn ObjectStore>> {
    // The library of TLS takes the provider of its cryptography from the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (scheme, name) = bucket.split_once("://").unwrap_or_default();
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES,
        retry_timeout: RETRY_TIME,
    };
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIME)
        .with_timeout(REQUEST_TIME);
    let built: object_store::Result<Arc<dyn ObjectStore>> = match scheme {
        "s3" => {
            let mut builder = AmazonS3Builder::from_env()
                .with_bucket_name(name)
                .with_retry(retry)
                .with_client_options(client)
                // Servers that imitate S3 often lack the deletion of many objects at once.
                .with_disable_bulk_delete(true);
            if let Some(endpoint) = &options.endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if let Some(region) = &options.region {
                builder = builder.with_region(region);
            }
            if options.allow_http {
                builder = builder.with_allow_http(true);
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
        "gs" => {
            let client = client.with_allow_http(options.allow_http);
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(name)
                .with_retry(retry)
                .with_client_options(client);
            if let Some(endpoint) = &options.endpoint {
                builder = builder.with_base_url(endpoint);
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
        "az" => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(name)
                .with_retry(retry)
                .with_client_options(client)
                .with_allow_http(options.allow_http);
            if let Some(endpoint) = &options.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the addresses of buckets begin with s3://, gs:// or az://",
            ));
        }
    };
    built.map_err(fault)
}

/// The name of a new local file for rows that are sent to a bucket.
pub(crate) fn local_file() -> io::Result<(File, tempfile::TempPath)> {
    tempfile::Builder::new()
        .prefix("inlet-")
        .tempfile()
        .map(tempfile::NamedTempFile::into_parts)
        .map_err(|error| {
            let folder: PathBuf = std::env::temp_dir();
            io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
        })
}
