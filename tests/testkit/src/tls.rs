//! Certificates for tests, and a client that says which one it was shown.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    PKCS_RSA_SHA256,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use crate::haproxy::{HttpAnswer, Request, read_answer};

/// Nothing that is tested here takes as long.
const DEADLINE: Duration = Duration::from_secs(10);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate that an [`Authority`] signed, with its key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate and the authority's.
    pub chain: String,
    /// The key.
    pub key: String,
    der: Vec<u8>,
}

/// What a server said over TLS.
#[derive(Clone, Debug)]
pub struct TlsAnswer {
    /// The answer.
    pub http: HttpAnswer,
    /// The certificate that it showed.
    pub certificate: Vec<u8>,
    /// The protocol that it chose of `h2` and `http/1.1`, where it chose one.
    pub alpn: Option<String>,
}

/// How a client meets a server.
#[derive(Clone, Debug, Default)]
pub struct TlsClient {
    identity: Option<Issued>,
    offers_h2: bool,
}

// === impl Authority ===

impl Authority {
    /// An authority of this name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(name);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let own = params.self_signed(&key).map_err(io::Error::other)?;
        Ok(Self {
            pem: own.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Its own certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these names, good for 90 days.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn issue(&self, names: &[&str]) -> io::Result<Issued> {
        self.issue_for(names, 90 * DAY)
    }

    /// The same with an RSA key, where others have one of ECDSA.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn issue_rsa(&self, names: &[&str]) -> io::Result<Issued> {
        let key = KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(io::Error::other)?;
        self.issue_with(names, 90 * DAY, &key)
    }

    /// A certificate for these names that ends so much later.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn issue_for(&self, names: &[&str], life: Duration) -> io::Result<Issued> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        self.issue_with(names, life, &key)
    }

    fn issue_with(&self, names: &[&str], life: Duration, key: &KeyPair) -> io::Result<Issued> {
        let alternatives: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(alternatives).map_err(io::Error::other)?;
        params.distinguished_name = named(names.first().unwrap_or(&"nobody"));
        let now = SystemTime::now();
        params.not_before = (now - DAY).into();
        params.not_after = (now + life).into();
        let signed = params.signed_by(key, &self.issuer);
        let signed = signed.map_err(io::Error::other)?;
        Ok(Issued {
            chain: format!("{}{}", signed.pem(), self.pem),
            key: key.serialize_pem(),
            der: signed.der().to_vec(),
        })
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

// === impl Issued ===

impl Issued {
    /// Certificate, chain and key in one text.
    #[must_use]
    pub fn bundle(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }

    /// The middle of the key, which must stand nowhere else.
    #[must_use]
    pub fn secret(&self) -> &str {
        self.key.lines().nth(1).unwrap_or_default()
    }

    /// Whether this is the certificate that a server showed.
    #[must_use]
    pub fn is(&self, shown: &[u8]) -> bool {
        self.der == shown
    }
}

// === impl TlsClient ===

impl TlsClient {
    /// A client that shows this certificate when it is asked for one.
    #[must_use]
    pub fn with_identity(self, identity: Issued) -> Self {
        Self {
            identity: Some(identity),
            ..self
        }
    }

    /// A client that would rather speak HTTP/2. It then asks nothing.
    #[must_use]
    pub fn offering_h2(self) -> Self {
        Self {
            offers_h2: true,
            ..self
        }
    }

    /// GETs a path on a connection of its own, for this name and host.
    ///
    /// # Errors
    /// When there is no handshake, or no whole answer within 10 seconds.
    pub async fn get(&self, address: SocketAddr, name: &str, path: &str) -> io::Result<TlsAnswer> {
        let exchange = self.exchange(address, name, path);
        timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// A connection to a server of this name, once both have shaken hands.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        connector.connect(server, stream).await
    }

    async fn exchange(&self, address: SocketAddr, name: &str, path: &str) -> io::Result<TlsAnswer> {
        let mut stream = self.connect(address, name).await?;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        let certificate = shown.map(|shown| shown.to_vec()).unwrap_or_default();
        let alpn = session.alpn_protocol();
        let alpn = alpn.map(|chosen| String::from_utf8_lossy(chosen).into_owned());
        let http = if alpn.as_deref() == Some("h2") {
            HttpAnswer {
                status: 0,
                head: String::new(),
                body: String::new(),
            }
        } else {
            let request = Request::get(path).with_header("Host", name);
            stream.write_all(&request.bytes(true)).await?;
            read_answer(&mut stream).await?
        };
        Ok(TlsAnswer {
            http,
            certificate,
            alpn,
        })
    }

    fn config(&self) -> io::Result<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakesAny(provider)));
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes());
                let chain = chain.collect::<Result<Vec<_>, _>>();
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes());
                let (chain, key) = (
                    chain.map_err(io::Error::other)?,
                    key.map_err(io::Error::other)?,
                );
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(io::Error::other)?
            }
        };
        if self.offers_h2 {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Ok(config)
    }
}

/// Takes any certificate: which one it was is the test's to judge.
#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
