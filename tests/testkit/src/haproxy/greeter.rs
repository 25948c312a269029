//! A server and a client of plain connections, and the hello of a TLS client.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Nothing that is tested here takes as long, a client that says nothing at first included.
const DEADLINE: Duration = Duration::from_secs(15);

/// A server that says its name on every connection, on a line of its own, and then sends back every byte
/// that it hears. Dropping it ends it.
#[derive(Debug)]
pub struct Greeter {
    address: SocketAddr,
    _task: JoinSet<()>,
}

/// A connection to a [`Greeter`], through whatever leads there.
#[derive(Debug)]
pub struct Greeted {
    /// Who greeted.
    pub name: String,
    stream: BufReader<TcpStream>,
}

// === impl Greeter ===

impl Greeter {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(name: &str) -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), name).await
    }

    /// Starts at an address.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn start_at(address: SocketAddr, name: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let greeting = format!("{name}\n");
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        connections.spawn(greet(stream, greeting.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self {
            address,
            _task: task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

// === impl Greeted ===

impl Greeted {
    /// Connects, says something first, and reads who greets.
    ///
    /// # Errors
    /// When nobody greets within 15 seconds, or the connection ends before.
    pub async fn connect(address: SocketAddr, first: &[u8]) -> io::Result<Self> {
        let exchange = async {
            let mut stream = BufReader::new(TcpStream::connect(address).await?);
            stream.write_all(first).await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let name = line
                .strip_suffix('\n')
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let mut greeted = Self {
                name: name.to_owned(),
                stream,
            };
            greeted.expect(first).await?;
            Ok(greeted)
        };
        timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends bytes and reads them back.
    ///
    /// # Errors
    /// When they do not come back, all of them and unchanged, within 15 seconds.
    pub async fn echo(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        timeout(DEADLINE, self.expect(bytes))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Waits until the other side ends the connection.
    ///
    /// # Errors
    /// When it does not within 15 seconds.
    pub async fn ended(mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        timeout(DEADLINE, self.stream.read_to_end(&mut rest))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map(drop)
    }

    async fn expect(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut back = vec![0; bytes.len()];
        self.stream.read_exact(&mut back).await?;
        match back == bytes {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The first bytes of a TLS client that asks for this server name, or for none (RFC 8446, section 4.1.2;
/// RFC 6066, section 3). No server answers it: there is no key in it.
#[must_use]
pub fn client_hello(server_name: Option<&str>) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(name) = server_name {
        let mut host_name = vec![0];
        host_name.extend(sized(name.as_bytes()));
        extensions.extend([0, 0]);
        extensions.extend(sized(&sized(&host_name)));
    }
    // supported_versions: TLS 1.2, so that there is an extension in any case.
    extensions.extend([0, 43, 0, 3, 2, 3, 3]);
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.push(0);
    hello.extend([0, 2, 0x13, 0x01, 1, 0]);
    hello.extend(sized(&extensions));
    let mut handshake = vec![1, 0];
    handshake.extend(sized(&hello));
    let mut record = vec![22, 3, 1];
    record.extend(sized(&handshake));
    record
}

/// Bytes behind their length in two bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), bytes].concat()
}

async fn greet(mut stream: TcpStream, greeting: String) -> io::Result<()> {
    let (mut read, mut write) = stream.split();
    write.write_all(greeting.as_bytes()).await?;
    tokio::io::copy(&mut read, &mut write).await.map(drop)
}
