//! Scripted faults between a client and an S3 server: a proxy that counts requests, and answers
//! some of them as a server in trouble does, before or after it has applied them.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::S3;

/// A request that the proxy has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    /// The path and the query.
    pub path: String,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is applied, and answered with this status.
    StatusAfter(u16),
    /// It is applied, and the connection is cut instead of an answer.
    CutAfter,
    /// It is not applied, and answered with this status and code.
    Refuse(u16, &'static str),
    /// It is not applied, and the connection is cut.
    CutBefore,
}

#[derive(Debug)]
struct Rule {
    method: &'static str,
    part: String,
    fault: Fault,
    times: usize,
}

#[derive(Debug, Default)]
struct Script {
    rules: Vec<Rule>,
    seen: Vec<Request>,
    hit: usize,
    ignores_conditions: bool,
}

/// A proxy before a server, on a port of its own.
#[derive(Debug)]
pub struct Faults {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    /// The proxy ends when it is dropped.
    _alive: oneshot::Sender<()>,
}

impl Faults {
    /// Starts a proxy that passes everything on.
    pub fn before(server: &S3) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let script = Arc::new(Mutex::new(Script::default()));
        let (server, shared) = (server.address(), script.clone());
        let (_alive, ended) = oneshot::channel();
        // A thread of its own: a test may wait for an answer on the only thread of its runtime.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = ended => {}
                    _ = accept(listener, server, shared) => {}
                }
            });
        });
        Ok(Self {
            address,
            script,
            _alive,
        })
    }

    /// The proxy's address, for a client.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets a fault happen to the next requests of this method whose path has this part.
    pub fn next(&self, method: &'static str, part: &str, fault: Fault, times: usize) {
        locked(&self.script).rules.push(Rule {
            method,
            part: part.to_owned(),
            fault,
            times,
        });
    }

    /// The number of faults that have happened.
    pub fn hit(&self) -> usize {
        locked(&self.script).hit
    }

    /// Passes everything on from here on.
    pub fn heal(&self) {
        locked(&self.script).rules.clear();
    }

    /// Answers that an object was created also where it existed, as a server does that does not
    /// know `If-None-Match`.
    pub fn ignore_conditions(&self) {
        locked(&self.script).ignores_conditions = true;
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut locked(&self.script).seen)
    }
}

async fn accept(
    listener: std::net::TcpListener,
    server: String,
    script: Arc<Mutex<Script>>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let (server, script) = (server.clone(), script.clone());
        tokio::spawn(async move { serve(client, &server, &script).await });
    }
}

fn locked(script: &Mutex<Script>) -> std::sync::MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves the one request of a connection. The answer ends it, so that no length is parsed.
async fn serve(mut client: TcpStream, server: &str, script: &Mutex<Script>) -> io::Result<()> {
    let Some((head, body)) = request(&mut client).await? else {
        return Ok(());
    };
    let mut words = head.split_whitespace();
    let mut word = || words.next().unwrap_or_default().to_owned();
    let asked = Request {
        method: word(),
        path: word(),
    };
    let fault = fault_of(script, &asked);
    let ignores_conditions = {
        let mut script = locked(script);
        script.seen.push(asked);
        script.ignores_conditions
    };
    match fault {
        Some(Fault::CutBefore) => return Ok(()),
        Some(Fault::Refuse(status, code)) => {
            return client.write_all(&answer(status, code)).await;
        }
        Some(Fault::StatusAfter(_) | Fault::CutAfter) | None => {}
    }
    let mut upstream = TcpStream::connect(server).await?;
    let (line, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    let head = format!("{line}\r\nConnection: close\r\n{rest}");
    upstream.write_all(head.as_bytes()).await?;
    upstream.write_all(&body).await?;
    let mut answered = Vec::new();
    upstream.read_to_end(&mut answered).await?;
    // The request is signed, so its condition stays, and the refusal becomes a success.
    if ignores_conditions && answered.starts_with(b"HTTP/1.1 412") {
        let success =
            b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(success).await;
    }
    match fault {
        Some(Fault::CutAfter) => Ok(()),
        Some(Fault::StatusAfter(status)) => {
            client.write_all(&answer(status, "InternalError")).await
        }
        _ => client.write_all(&answered).await,
    }
}

fn fault_of(script: &Mutex<Script>, asked: &Request) -> Option<Fault> {
    let mut script = locked(script);
    let applies = |rule: &&mut Rule| {
        rule.times > 0 && rule.method == asked.method && asked.path.contains(&rule.part)
    };
    let rule = script.rules.iter_mut().find(applies)?;
    rule.times -= 1;
    let fault = rule.fault;
    script.hit += 1;
    Some(fault)
}

fn answer(status: u16, code: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code><Message>scripted</Message></Error>");
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {length}\r\n");
    format!("{head}Content-Type: application/xml\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

/// The head of a request, and its body; `None` when the client has closed the connection.
async fn request(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = client.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let mut body = bytes.split_off(end + 4);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        while body.len() < length.unwrap_or_default() {
            let read = client.read(&mut buffer).await?;
            if read == 0 {
                return Ok(None);
            }
            body.extend_from_slice(&buffer[..read]);
        }
        return Ok(Some((head, body)));
    }
}
