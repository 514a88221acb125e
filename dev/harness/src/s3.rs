//! An S3 server for one test: versitygw, which keeps each object as a file.
//!
//! A bucket is a folder, and an object a file below it, so a test reads what the server stores with
//! DuckDB, as it reads a lake on a disk. [`Faults`] stands between a client and the server.

mod faults;

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tokio::net::TcpStream;

pub use faults::{Fault, Faults, Request};

use crate::process::Launch;
use crate::server::Server;
use crate::{Folder, Port, eventually, programs};

const DEADLINE: Duration = Duration::from_secs(60);
const ACCESS_KEY: &str = "harness";
const SECRET_KEY: &str = "harness-secret";

/// An S3 server on a free port of 127.0.0.1; killed and removed when dropped.
#[derive(Debug)]
pub struct S3 {
    server: Server,
    port: Port,
    bucket: String,
}

impl S3 {
    /// Starts a server with an empty bucket, whose name no other server of this machine has.
    pub async fn start() -> Result<Self> {
        let mut server = Server::new(Folder::new("s3")?, Signal::TERM);
        let port = Port::claim()?;
        for folder in ["buckets", "metadata"] {
            fs::create_dir(server.folder.join(folder))?;
        }
        let bucket = format!("lake-{}", port.number());
        fs::create_dir(server.folder.join("buckets").join(&bucket))?;
        let address = format!("127.0.0.1:{}", port.number());
        // Metadata beside the objects, because not every file system has attributes for it.
        // With relative paths it takes the two for nested folders.
        let [metadata, buckets] = ["metadata", "buckets"].map(|name| server.folder.join(name));
        let launch = Launch::new("versitygw", programs::versitygw()?, &server.folder)
            .env("ROOT_ACCESS_KEY", ACCESS_KEY)
            .env("ROOT_SECRET_KEY", SECRET_KEY)
            .args(["--port", &address, "--quiet", "posix"])
            .args([
                OsStr::new("--sidecar"),
                metadata.as_os_str(),
                buckets.as_os_str(),
            ]);
        server.start(launch)?;
        let s3 = Self {
            server,
            port,
            bucket,
        };
        eventually(DEADLINE, "the S3 server answers", async || {
            TcpStream::connect(&address).await.is_ok()
        })
        .await;
        Ok(s3)
    }

    /// The server's address.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// The variables of a client: credentials, and none of the machine that it runs on.
    pub fn environment() -> [(&'static str, &'static str); 3] {
        [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
    }

    /// The address of a folder of the bucket.
    pub fn url(&self, folder: &str) -> String {
        format!("s3://{}/{folder}", self.bucket)
    }

    /// The files of that folder, as the server keeps them.
    pub fn files(&self, folder: &str) -> PathBuf {
        let buckets = self.server.folder.join("buckets");
        buckets.join(&self.bucket).join(folder)
    }
}
