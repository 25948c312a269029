//! Services that use every parameter there is, with every setting that shapes the configuration: HAProxy
//! takes it, in each form, without a warning. `HAPROXY_BIN` names another release.

use std::collections::BTreeSet;

use proxy_core::{
    CatalogUse, Credentials, PARAMETERS, ParameterStanding, Params, PasswordForm, ReconfigureRules,
    RouteOrder, RouteTable, SecretUsers, TemplateSource, TemplateSources, UserList, UserRules,
    parse_reconfigure_with,
};
use proxy_haproxy::{
    AccessLog, AddressBook, Alpn, BindOption, CertificateList, CertificateSet, ClientAuthorities,
    ErrorAnswer, ErrorStatus, Extras, RenderSettings, Routing, StatsPage, TlsSettings,
    Validate as _, Validator, render,
};
use secrecy::SecretString;
use testkit::haproxy::{ReservedPort, find_binary};

use crate::tls::{TlsBench, file};

/// Each is a service; `{a}` and so on are ports that are free.
const SERVICES: &[&str] = &[
    "serviceName=http&aclName=00-http&serviceColor=blue&distribute=true&replicas=3&proxyInstanceName=p&checkResolvers=true\
     &sessionType=sticky-server&isDefaultBackend=true&connectionMode=http-server-close&compressionAlgo=gzip deflate\
     &compressionType=text/html,text/plain&addReqHeader=X-A %[src],X-B it\\'s&setReqHeader=X-C c c&delReqHeader=X-D\
     &addResHeader=X-E e&setResHeader=X-F \"#f\"&delResHeader=Server&redirectUnlessHttpsProto=true\
     &reqPathSearch=^/a&reqPathReplace=/b&backendExtra=retries 2&users=ann&usersSecret=s&serviceCert=x\
     &servicePath.1=/http,/more&pathType.1=path_beg&servicePathExclude.1=/http/not&serviceDomain.1=acme.com,*.acme.com\
     &redirectFromDomain.1=old.com,*.old.com&port.1=8080&srcPort.1=80&httpsPort.1=8443&srcHttpsPort.1=443\
     &outboundHostname.1=other&userAgent.1=Mobile,Tablet&serviceHeader.1=X-V:3,X-W:a:b&allowedMethods.1=GET,HEAD\
     &deniedMethods.1=PUT&httpsOnly.1=true&httpsRedirectCode.1=308&reqPathSearchReplace.1=^/x,/y:z,\
     &sslVerifyNone.1=true&verifyClientSsl.1=true&timeoutServer.1=60&timeoutTunnel.1=120\
     &servicePath.2=\\.php$,^/v[0-9]+&pathType.2=path_reg&port.2=81&denyHttp.2=true&ignoreAuthorization.2=true",
    "serviceName=older&servicePath=/older&port=80&serviceDomain=old&serviceDomainMatchAll=true&addHeader=X-A a&setHeader=X-B b\
     &redirectWhenHttpProto=true&debug=true&debugFormat=x&userDef=y",
    "serviceName=algo&serviceDomain=a.b&serviceDomainAlgo=hdr_sub(host)&port=80&discoveryType=DNS&users=bob:geheim",
    "serviceName=catalog&servicePath=/catalog&discoveryType=catalog&skipCheck=true",
    "serviceName=hashed&servicePath=/hashed&port=80&usersPassEncrypted=true&users=carl:$5$saltsalt$cKRA0A5uaKu0/NNi2WMrB.mMOAVMowckrDNQ4fKUJ06",
    "serviceName=own&templateFePath=fe&templateBePath=be",
    "serviceName=tcp&reqMode=tcp&srcPort={a}&port=81&serviceGroup=g&balanceGroup=leastconn&checkTcp=true&clitcpka=true&timeoutClient=60",
    "serviceName=tcp2&reqMode=tcp&srcPort={a}&port=82&serviceGroup=g",
    "serviceName=sni&reqMode=sni&srcPort={b}&port=83&servicePath=one.com,two.com",
    "serviceName=sni2&reqMode=tcp&srcPort={b}&port=84&serviceDomain=*.wild.com&discoveryType=DNS",
];

fn rules() -> ReconfigureRules {
    let credentials = |text| Credentials::parse(text, PasswordForm::Clear).unwrap();
    let users = UserRules::default()
        .with_global(credentials("ann:global"))
        .with_secret(SecretUsers::Text("ann:secret".to_owned().into()));
    let text = |text: &str| TemplateSource::Text(text.to_owned());
    ReconfigureRules::default()
        .with_catalog(CatalogUse::WithoutPort)
        .with_users(users)
        .with_templates(TemplateSources::new(
            text("acl own path_beg /own\nhttp-request set-header X-Own own if own\nuse_backend {{ backend }} if own"),
            text("backend {{ backend }}\nbalance leastconn\nserver a 10.0.0.1:80 check\nserver b {{ host }}:81"),
        ))
}

fn services() -> RouteTable {
    let ports = [ReservedPort::new().unwrap(), ReservedPort::new().unwrap()];
    let [a, b] = ports.map(|port| port.get().to_string());
    let service = |text: &&str| {
        let mut query = String::new();
        for (name, value) in text
            .split('&')
            .filter_map(|pair| pair.trim().split_once('='))
        {
            let value = value.replace("{a}", &a).replace("{b}", &b);
            let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            query.push_str(&format!("&{name}={value}"));
        }
        let params = Params::from_query(query.trim_start_matches('&')).unwrap();
        let parsed = parse_reconfigure_with(&params, &rules());
        parsed
            .unwrap_or_else(|refused| panic!("{text}: {refused}"))
            .value
            .service
    };
    SERVICES.iter().map(service).collect()
}

fn settings(bench: &TlsBench) -> RenderSettings {
    let files = ["a", "b"].map(|name| file(name, &bench.issue(&[&format!("{name}.com")])));
    let list: CertificateList = "b [alpn http/1.1 ssl-min-ver TLSv1.3] b.com *.b.com !x.b.com\na"
        .parse()
        .unwrap();
    let mut tls = TlsSettings::default();
    tls.alpn = Alpn::Http2;
    tls.options = BindOption::list("no-tls-tickets ssl-min-ver TLSv1.2").unwrap();
    tls.ciphers = Some("ECDHE+AESGCM".parse().unwrap());
    let user = |name: &str| {
        UserList::of_one(name.parse().unwrap(), &SecretString::from("geheim")).unwrap()
    };
    let mut extras = Extras::default();
    extras.captures = vec!["X-Request-Id:64".parse().unwrap()];
    extras.global = "maxconn 200".parse().unwrap();
    extras.frontend = "http-request set-header X-Front front".parse().unwrap();
    extras.connection_mode = Some("http-keep-alive".parse().unwrap());
    let answer = ErrorAnswer::new("HTTP/1.0 503 Gone\r\nContent-Length: 0\r\n\r\n").unwrap();
    extras.error_files = [(ErrorStatus::new(503).unwrap(), answer)].into();
    let mut page = StatsPage::new("/admin?stats".parse().unwrap(), user("root"));
    page.port = Some(
        ReservedPort::new()
            .unwrap()
            .get()
            .to_string()
            .parse()
            .unwrap(),
    );
    extras.stats = Some(page);
    let compression = services();
    let compression = compression
        .iter()
        .find(|service| service.name().as_str() == "http");
    let compression = compression.unwrap().options().compression.clone();
    bench
        .settings(CertificateSet::listed(files, &[], &list))
        .with_tls(tls)
        .with_client_authorities(Some(
            ClientAuthorities::parse(bench.authority.pem()).unwrap(),
        ))
        .with_nameservers(vec!["127.0.0.11:53".parse().unwrap()])
        .with_access_log(AccessLog::Stdout)
        .with_users(user("ann"))
        .with_compression(compression)
        .with_extras(extras)
}

#[test]
fn every_parameter_is_used_by_some_service() {
    let texts = SERVICES.iter().flat_map(|text| text.split('&'));
    let names = texts.filter_map(|pair| pair.trim().split_once('='));
    let used: BTreeSet<&str> = names
        .map(|(name, _)| name.split('.').next().unwrap_or(name))
        .collect();
    let known = PARAMETERS.iter();
    let known = known.filter(|parameter| parameter.standing != ParameterStanding::Refused);
    let known: BTreeSet<&str> = known.map(|parameter| parameter.name).collect();
    assert_eq!(used, known);
}

#[tokio::test]
async fn haproxy_takes_every_parameter_at_once_without_a_warning() {
    let bench = TlsBench::new();
    let settings = settings(&bench);
    let table = services();
    let dir = bench.bench.dir();
    let validator = Validator::new(find_binary().unwrap());
    for (form, settings) in [
        ("acl", settings.clone().with_routing(Routing::Acl)),
        ("map", settings.clone().with_routing(Routing::Map)),
        ("acl-name", settings.with_order(RouteOrder::AclName)),
    ] {
        let config = render(&table, &settings, &AddressBook::new()).unwrap();
        let staged = dir.stage(&config).unwrap();
        let text = config.main_text();
        let warnings = validator.validate(&staged.main_path()).await;
        let warnings =
            warnings.unwrap_or_else(|error| panic!("{form}: {error}: {error:?}\n{text}"));
        assert!(warnings.is_empty(), "{form}: {warnings:#?}\n{text}");
    }
}
