//! The commands of a page in one shell, in order, as a reader types them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use inlet_harness::{Folder, Inlet, Kafka, PASSWORD, Port, Postgres, USER, arrow, duckdb};

use crate::page::Block;
use crate::schema::root;

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a page may take.
const DEADLINE: Duration = Duration::from_secs(180);

/// The servers that a page finds at the ports which it names.
pub struct World {
    postgres: Postgres,
    kafka: Option<Kafka>,
    http: Port,
    folder: Folder,
}

/// What a block wrote.
pub struct Written {
    pub stdout: String,
    pub stderr: String,
}

impl World {
    /// A PostgreSQL of its own, and a Kafka where the page needs one.
    pub async fn new(needs_kafka: bool) -> Self {
        let (postgres, kafka) = tokio::join!(Postgres::start(), async {
            if needs_kafka {
                Some(Kafka::start().await.unwrap())
            } else {
                None
            }
        });
        let world = Self {
            postgres: postgres.unwrap(),
            kafka,
            http: Port::claim().unwrap(),
            folder: Folder::new("page").unwrap(),
        };
        // With the shell that runs the page everything ends that it started, however it ends.
        let program = world.folder.join("programs/inlet");
        fs::create_dir_all(world.folder.join("programs")).unwrap();
        fs::create_dir_all(world.folder.join("reader")).unwrap();
        fs::write(
            &program,
            format!(
                "#!/bin/sh\nexec setpriv --pdeathsig TERM {} \"$@\"\n",
                env!("CARGO_BIN_EXE_inlet")
            ),
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        world
    }

    /// Puts a file into the folder in which the reader types.
    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.folder.join("reader").join(name), text).unwrap();
    }

    /// Puts a folder of the repository into it.
    pub fn link(&self, name: &str) {
        std::os::unix::fs::symlink(
            root().join(name).canonicalize().unwrap(),
            self.folder.join("reader").join(name),
        )
        .unwrap();
    }

    /// Runs the blocks and brings what each wrote; panics at the first command that fails.
    pub async fn run(&self, blocks: &[&Block]) -> Vec<Written> {
        let script = self.folder.join("script");
        fs::write(&script, self.script(blocks)).unwrap();
        let path = std::env::var("PATH").unwrap();
        let path = format!(
            "{}:{}:{path}",
            self.folder.join("programs").display(),
            duckdb::program().unwrap().parent().unwrap().display()
        );
        let port = self.postgres.port().to_string();
        let packages = arrow::packages().unwrap().display().to_string();
        let environment = [
            ("PATH", path.as_str()),
            ("PGHOST", "localhost"),
            ("PGPORT", &port),
            ("PGUSER", USER),
            ("PGPASSWORD", PASSWORD),
            ("PGDATABASE", "postgres"),
            ("TZ", "UTC"),
            ("PYTHONPATH", &packages),
        ];
        let mut shell =
            Inlet::start("/bin/bash", &[script.display().to_string()], &environment).unwrap();
        let status = shell.wait_exit(DEADLINE).await;
        let read = |at: usize, what: &str| {
            fs::read_to_string(self.folder.join(format!("{at}.{what}"))).unwrap_or_default()
        };
        for (at, block) in blocks.iter().enumerate() {
            let is_done = self.folder.join(format!("{at}.done")).exists();
            let (line, text, stdout, stderr) = (
                block.line,
                &block.text,
                read(at, "stdout"),
                read(at, "stderr"),
            );
            assert!(
                is_done,
                "the block at line {line} failed:\n{text}\n{stdout}{stderr}{}{status:?}",
                shell.stderr().unwrap()
            );
        }
        (0..blocks.len())
            .map(|at| Written {
                stdout: read(at, "stdout"),
                stderr: read(at, "stderr"),
            })
            .collect()
    }

    /// One shell for all blocks: what one starts, sets or writes the next one finds. At the end it
    /// ends what they left running.
    fn script(&self, blocks: &[&Block]) -> String {
        let folder = self.folder.display();
        let mut script =
            format!("set -e\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\ncd {folder}/reader\n");
        for (at, block) in blocks.iter().enumerate() {
            let text = self.here(&block.text);
            script.push_str(&format!(
                "{{\n{text}}} >{folder}/{at}.stdout \
                2>{folder}/{at}.stderr\ntouch {folder}/{at}.done\n"
            ));
        }
        script
    }

    /// The text with the ports of this world for those that the pages name.
    pub fn here(&self, text: &str) -> String {
        let text = text
            .replace(":5432", &format!(":{}", self.postgres.port()))
            .replace(":9464", &format!(":{}", self.http.number()));
        match &self.kafka {
            Some(kafka) => text.replace("localhost:9092", &kafka.bootstrap()),
            None => text,
        }
    }

    /// Runs statements on a database of the server.
    pub async fn sql(&self, database: &str, sql: &str) {
        let script = format!("psql -q -X -v ON_ERROR_STOP=1 -d {database} <<'EOF'\n{sql}\nEOF\n");
        self.run(&[&Block {
            language: "sh".to_owned(),
            line: 0,
            text: script,
        }])
        .await;
    }
}

/// The text of a page.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
