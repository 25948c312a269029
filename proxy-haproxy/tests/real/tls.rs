//! Certificates: which one HAProxy shows to whom.

use std::{net::SocketAddr, path::Path, sync::Arc};

use proxy_core::RouteTable;
use proxy_haproxy::{
    AddressBook, Applier, Bind, BindAddress, Certificate, CertificateFile, CertificateProbe,
    CertificateSet, Glob, Haproxy, RenderSettings, RenderedConfig, TlsMode, TlsSettings, Validator,
    render,
};
use testkit::{
    haproxy::{DemoBackend, HaproxySandbox, ReservedPort},
    tls::{Authority, Issued, TlsClient},
};

use crate::bench::{Bench, at, table};

/// A bench with a second port, which speaks TLS.
pub(crate) struct TlsBench {
    pub(crate) bench: Bench,
    port: ReservedPort,
    pub(crate) authority: Authority,
}

impl TlsBench {
    pub(crate) fn new() -> Self {
        Self {
            bench: Bench::new(),
            port: ReservedPort::new().unwrap(),
            authority: Authority::new("test authority").unwrap(),
        }
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.port.address()
    }

    pub(crate) fn settings(&self, set: CertificateSet) -> RenderSettings {
        let settings = self.bench.render_settings();
        let address = BindAddress::Ip(self.https().ip());
        let port = self.https().port().to_string().parse().unwrap();
        let mut binds = settings.binds().to_vec();
        binds.push(Bind::plain(address, port).with_tls(TlsMode::TlsWhenCertificate));
        settings.with_binds(binds).with_certificates(set)
    }

    pub(crate) fn render(&self, table: &RouteTable, set: CertificateSet) -> RenderedConfig {
        render(table, &self.settings(set), &AddressBook::new()).unwrap()
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.authority.issue(names).unwrap()
    }

    /// The certificate that is shown for a name, and the status of a request for it.
    pub(crate) async fn ask(&self, name: &str) -> (Vec<u8>, u16) {
        let answer = TlsClient::default().get(self.https(), name, "/").await;
        let answer = answer.unwrap();
        (answer.certificate, answer.http.status)
    }

    pub(crate) async fn serve(
        &self,
        table: &RouteTable,
        set: CertificateSet,
    ) -> (Arc<Haproxy>, Applier<Arc<Haproxy>>) {
        let (haproxy, mut applier) = self.bench.serve::<&str>(&[]).await;
        applier.apply(&self.render(table, set)).await.unwrap();
        (haproxy, applier)
    }
}

pub(crate) fn file(name: &str, issued: &Issued) -> CertificateFile {
    let certificate = Certificate::parse(&issued.bundle()).unwrap();
    certificate.file(name.parse().unwrap())
}

pub(crate) fn set(files: &[(&str, &Issued)], preferred: &[&str]) -> CertificateSet {
    let preferred: Vec<Glob> = preferred.iter().map(|glob| glob.parse().unwrap()).collect();
    let files = files.iter().map(|(name, issued)| file(name, issued));
    CertificateSet::new(files, &preferred)
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_name_that_a_client_asks_for_picks_the_certificate() {
    let bench = TlsBench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let table = table(&[at("demo", "/", demo.address())]);
    let acme = bench.issue(&["acme.com", "www.acme.com"]);
    let wild = bench.issue(&["*.acme.org"]);
    let other = bench.issue(&["other.net"]);
    let files = [("acme", &acme), ("other.pem", &other), ("wild.pem", &wild)];
    let (haproxy, mut applier) = bench.serve(&table, set(&files, &["oth*"])).await;

    for (name, shown) in [
        ("acme.com", &acme),
        ("www.acme.com", &acme),
        ("x.acme.org", &wild),
        ("other.net", &other),
        ("nobody.example", &other),
    ] {
        let (certificate, status) = bench.ask(name).await;
        assert!(shown.is(&certificate), "{name}");
        assert_eq!(status, 200);
    }
    assert!(
        demo.last_head().contains("x-forwarded-proto: https"),
        "{}",
        demo.last_head()
    );
    let h2 = TlsClient::default().offering_h2();
    let answer = h2.get(bench.https(), "acme.com", "/").await.unwrap();
    assert_eq!(answer.alpn.as_deref(), Some("h2"));

    // Whoever may read the configuration reads no key.
    let current = bench.bench.sandbox.configs_path().join("current");
    assert_eq!(mode(&current.join("cert-acme.pem")), 0o600);
    let text = applier.active_text().await.unwrap().unwrap();
    assert!(
        text.contains(" ssl crt-list crt-list.txt alpn h2,http/1.1\n"),
        "{text}"
    );
    assert!(!text.contains("PRIVATE"));

    // Without a certificate the port is plain again.
    let plain = bench.render(&table, CertificateSet::default());
    applier.apply(&plain).await.unwrap();
    let answer = testkit::haproxy::get(bench.https(), "acme.com", "/").await;
    assert_eq!(answer.unwrap().body, "demo");
    assert!(!plain.main_text().contains("ssl "), "{}", plain.main_text());
    haproxy.shutdown(std::time::Duration::from_secs(5)).await;
}

#[tokio::test]
async fn haproxy_is_asked_before_it_is_given_a_certificate() {
    let sandbox = HaproxySandbox::new().unwrap();
    let folder = sandbox.folder().to_path_buf();
    let validator = Validator::new(sandbox.binary());
    let probe = |tls| CertificateProbe::new(validator.clone(), tls, folder.clone());
    let authority = Authority::new("test authority").unwrap();
    let good = file("good", &authority.issue(&["acme.com"]).unwrap());
    let strict = probe(TlsSettings::default());
    strict.probe(vec![good.clone()]).await.unwrap();
    strict.probe(Vec::new()).await.unwrap();

    let bad = CertificateFile::new("bad".parse().unwrap(), Arc::new("rubbish".into()));
    let error = strict.probe(vec![good.clone(), bad]).await.unwrap_err();
    assert!(error.is_refusal(), "{error}");
    let mut tls = TlsSettings::default();
    tls.ciphers = Some("NO-SUCH-CIPHER".parse().unwrap());
    let error = probe(tls).probe(vec![good]).await.unwrap_err();
    assert!(error.is_refusal(), "{error}");
    let left = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(left, 0, "nothing of it is left on disk");
}
