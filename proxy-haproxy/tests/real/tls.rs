//! Certificates: which one HAProxy shows to whom.

use std::{net::SocketAddr, path::Path, sync::Arc};

use proxy_core::RouteTable;
use proxy_haproxy::{
    AddressBook, Applied, Applier, ApplyStep, Bind, BindAddress, Certificate, CertificateFile,
    CertificateProbe, CertificateSet, ClientAuthorities, Glob, Haproxy, RenderSettings,
    RenderedConfig, TlsMode, TlsSettings, Validator, render,
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
    // Hashes of passwords stand in the other files.
    for entry in std::fs::read_dir(&current).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
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

#[tokio::test]
async fn tls_to_the_service_and_certificates_of_clients() {
    let bench = TlsBench::new();
    let shown = bench.issue(&["acme.com"]);
    // A service that speaks TLS: a second HAProxy that is asked for by name.
    let inner = TlsBench::new();
    let wanted = inner.issue(&["acme.com"]);
    let first = inner.issue(&["aaa.com"]);
    let demo = DemoBackend::start("demo").await.unwrap();
    let inside = table(&[at("demo", "/", demo.address())]);
    let files = [("a", &first), ("b", &wanted)];
    let (inner_haproxy, _applier) = inner.serve(&inside, set(&files, &[])).await;

    let open = at("open", "/", demo.address());
    let closed = format!(
        "{}&verifyClientSsl=true",
        at("closed", "/closed", demo.address())
    );
    let over_tls = format!(
        "{}&sslVerifyNone=true",
        at("inner", "/inner", inner.https())
    );
    let not_tls = at("wrong", "/wrong", inner.https());
    let table = table(&[open, closed, over_tls, not_tls]);
    let mut settings = bench.settings(set(&[("acme", &shown)], &[]));
    let mut tls = TlsSettings::default();
    let authority = bench.authority.pem();
    let authorities = format!("# ours\n\n{authority}\n");
    tls.client_authorities = Some(ClientAuthorities::parse(&authorities).unwrap());
    settings = settings.with_tls(tls.clone());
    let config = render(&table, &settings, &AddressBook::new()).unwrap();
    let probe = CertificateProbe::new(
        Validator::new(bench.bench.sandbox.binary()),
        tls,
        bench.bench.sandbox.folder().to_path_buf(),
    );
    probe.probe(vec![file("acme", &shown)]).await.unwrap();
    let (haproxy, mut applier) = bench.bench.serve::<&str>(&[]).await;
    applier.apply(&config).await.unwrap();

    let stranger = Authority::new("another authority").unwrap();
    let nobody = TlsClient::default();
    let member = TlsClient::default().with_identity(bench.issue(&["client"]));
    let intruder = TlsClient::default().with_identity(stranger.issue(&["client"]).unwrap());
    for (who, client, status) in [
        ("nobody", &nobody, 403),
        ("a member", &member, 200),
        ("an intruder", &intruder, 403),
    ] {
        for (path, wanted) in [("/closed", status), ("/", 200)] {
            let answer = client.get(bench.https(), "acme.com", path).await.unwrap();
            assert_eq!(answer.http.status, wanted, "{who} {path}");
        }
    }
    assert_eq!(bench.bench.get("/closed").await.status, 403, "without TLS");

    let answer = bench.bench.get("/inner").await;
    assert_eq!((answer.status, &*answer.body), (200, "demo"));
    assert!(
        demo.last_head().contains("x-forwarded-proto: https"),
        "the inner one saw TLS"
    );
    let plain = bench.bench.get("/wrong").await;
    assert!(plain.status >= 400, "plain bytes to a port of TLS");
    for haproxy in [haproxy, inner_haproxy] {
        haproxy.shutdown(std::time::Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_redirect_to_https_leads_to_the_port_that_speaks_it() {
    let bench = TlsBench::new();
    let issued = bench.issue(&["acme.com"]);
    let demo = DemoBackend::start("demo").await.unwrap();
    let only = |name: &str, more: &str| {
        let place = at(name, &format!("/{name}"), demo.address());
        format!("{place}&httpsOnly=true{more}")
    };
    let plain = bench.bench.address().port();
    let own = format!("&httpsPort=81&srcPort={plain}&srcHttpsPort=9443");
    let proto = "&redirectWhenHttpProto=true";
    let services = [only("a", ""), only("own", &own), only("behind", proto)];
    let set = set(&[("acme", &issued)], &[]);
    let (haproxy, _applier) = bench.serve(&table(&services), set).await;

    let (plain, secure) = (plain.to_string(), bench.https().port().to_string());
    // A client that says no port came to 80, which is not ours here, and what maps it to ours maps 443 too.
    for (host, path, to) in [
        (
            format!("acme.com:{plain}"),
            "/a/x?y=:1",
            format!("https://acme.com:{secure}/a/x?y=:1"),
        ),
        ("acme.com".to_owned(), "/a", "https://acme.com/a".to_owned()),
        (
            format!("[::1]:{plain}"),
            "/a",
            format!("https://[::1]:{secure}/a"),
        ),
        (
            format!("acme.com:{plain}"),
            "/own",
            "https://acme.com:9443/own".to_owned(),
        ),
        (
            format!("acme.com:{plain}"),
            "/behind",
            format!("https://acme.com:{plain}/behind"),
        ),
    ] {
        let answer = testkit::haproxy::get(bench.bench.address(), &host, path);
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 302, "{host} {path}: {}", answer.head);
        let line = format!("location: {to}\r\n");
        let head = answer.head.to_ascii_lowercase();
        assert!(head.contains(&line), "{host} {path}: {head}");
    }
    let client = TlsClient::default();
    let answer = client.get(bench.https(), "acme.com", "/a").await.unwrap();
    assert_eq!(answer.http.status, 200);
    haproxy.shutdown(std::time::Duration::from_secs(5)).await;
}

/// Asks over TLS again and again, a connection each time. Gives how many were answered, and what failed.
struct TlsLoad {
    stop: tokio::sync::watch::Sender<bool>,
    answered: Arc<std::sync::atomic::AtomicUsize>,
    tasks: tokio::task::JoinSet<Vec<String>>,
}

impl TlsLoad {
    fn start(address: SocketAddr, name: &'static str) -> Self {
        let stop = tokio::sync::watch::Sender::new(false);
        let answered = Arc::<std::sync::atomic::AtomicUsize>::default();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (stop, answered) = (stop.subscribe(), Arc::clone(&answered));
            tasks.spawn(async move {
                let mut failed = Vec::new();
                while !*stop.borrow() {
                    match TlsClient::default().get(address, name, "/").await {
                        Ok(answer) if answer.http.status == 200 => {
                            answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                        other => failed.push(format!("{other:?}")),
                    }
                }
                failed
            });
        }
        Self {
            stop,
            answered,
            tasks,
        }
    }

    /// Waits for so many more answers.
    async fn more(&self, count: usize) {
        let seen = || self.answered.load(std::sync::atomic::Ordering::Relaxed);
        let wanted = seen() + count;
        crate::bench::eventually("answers over TLS", async || match seen() >= wanted {
            true => Ok(()),
            false => Err(format!("{} of {wanted}", seen())),
        })
        .await;
    }

    async fn end(self) -> (usize, Vec<String>) {
        self.stop.send_replace(true);
        let failed = self.tasks.join_all().await.concat();
        let answered = self.answered.load(std::sync::atomic::Ordering::Relaxed);
        (answered, failed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_without_a_reload() {
    let bench = TlsBench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let table = table(&[at("demo", "/", demo.address())]);
    let steady = bench.issue(&["steady.com"]);
    let with = |certificates: &[(&str, &Issued)]| {
        let first = [("0-steady", &steady)];
        bench.render(&table, set(&[&first[..], certificates].concat(), &[]))
    };
    let (haproxy, mut applier) = bench
        .serve(&table, set(&[("0-steady", &steady)], &[]))
        .await;
    let before = crate::bench::running(&haproxy, None).await;
    let load = TlsLoad::start(bench.https(), "steady.com");
    load.more(5).await;
    for round in 0..10 {
        // It comes, is renewed, and goes.
        let (new, renewed) = (bench.issue(&["acme.com"]), bench.issue(&["acme.com"]));
        for (certificates, shown) in [
            (vec![("acme", &new)], &new),
            (vec![("acme", &renewed)], &renewed),
            (vec![], &steady),
        ] {
            let config = with(&certificates);
            assert_eq!(applier.step_to(&config), ApplyStep::Runtime);
            let applied = applier.apply(&config).await.unwrap();
            assert!(
                matches!(applied, Applied::Runtime { .. }),
                "{round}: {applied:?}"
            );
            let (certificate, status) = bench.ask("acme.com").await;
            assert!(shown.is(&certificate), "{round}: at once");
            assert_eq!(status, 200);
        }
    }
    // The first of all is renewed in its place.
    let renewed = bench.issue(&["steady.com"]);
    let config = bench.render(&table, set(&[("0-steady", &renewed)], &[]));
    let applied = applier.apply(&config).await.unwrap();
    assert!(matches!(applied, Applied::Runtime { .. }), "{applied:?}");
    for name in ["steady.com", "nobody.example"] {
        assert!(renewed.is(&bench.ask(name).await.0), "{name}");
    }
    load.more(5).await;
    assert_eq!(
        crate::bench::running(&haproxy, None).await,
        before,
        "no reload"
    );

    // Reloads lose none either.
    for _ in 0..5 {
        applier.reload_again().await.unwrap();
        load.more(3).await;
    }
    let (answered, failed) = load.end().await;
    assert_eq!(failed, Vec::<String>::new(), "{answered} were answered");
    assert!(
        renewed.is(&bench.ask("steady.com").await.0),
        "also after a reload"
    );

    // What HAProxy does not take over its command line it reads from disk, or keeps what it has.
    let bad = CertificateFile::new("bad".parse().unwrap(), Arc::new("rubbish".into()));
    let files = [file("0-steady", &renewed), bad];
    let config = bench.render(&table, CertificateSet::new(files, &[]));
    assert!(applier.apply(&config).await.is_err());
    assert!(renewed.is(&bench.ask("steady.com").await.0));
    haproxy.shutdown(std::time::Duration::from_secs(5)).await;
}
