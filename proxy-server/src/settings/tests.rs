use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Settings, SettingsErrors> {
    Settings::read(&MapSource::new(pairs.iter().copied()))
}

#[test]
fn the_defaults_are_usable() {
    let settings = read(&[]).unwrap();
    assert!(settings.store.consul.is_none());
    assert!(matches!(settings.peers.discovery, Discovery::None));
    let ports: Vec<_> = settings
        .haproxy
        .ports
        .iter()
        .map(|p| (p.port.get(), p.tls))
        .collect();
    assert_eq!(
        ports,
        [(80, EntryTls::Plain), (443, EntryTls::WhenCertificate)]
    );
}

#[test]
fn the_environment_of_the_story_is_understood() {
    let settings = read(&[
        ("MODE", "swarm"),
        (
            "CONSUL_ADDRESS",
            "10.0.0.1:8500 \n ,10.0.0.2:8500,10.0.0.3:8500",
        ),
    ])
    .unwrap();
    assert_eq!(settings.store.consul.unwrap().len(), 3);
    assert!(matches!(settings.peers.discovery, Discovery::Dns(name) if name == "tasks.proxy"));
}

#[test]
fn an_address_with_a_password_is_refused_and_not_shown() {
    for (name, address) in [
        ("LISTENER_ADDRESS", "http://user:hush@listener:8080"),
        ("LISTENER_ADDRESS", "user:hush@listener"),
        ("LISTENER_ADDRESS", "a,http://user:hu,sh@b"),
        ("DOCKER_HOST", "tcp://user:hush@docker:2375"),
        ("CONSUL_ADDRESS", "http://user:hush@consul:8500"),
    ] {
        let errors = read(&[(name, address)]).unwrap_err();
        let (said, shown) = (errors.to_string(), format!("{errors:?}"));
        assert!(said.contains(name) && said.contains("…@"), "{said}");
        assert!(
            !said.contains("hu") && !shown.contains("hu"),
            "{said} {shown}"
        );
    }
}

#[test]
fn hashed_users_of_the_settings_are_read() {
    let hashed = |users: &str, form: &str| {
        read(&[("USERS", users), ("USERS_PASS_ENCRYPTED", form)]).map(|read| {
            let list = read.haproxy.users.resolve(None, &[]).unwrap();
            let hashes = list.iter().map(|(_, hash)| hash.expose().to_owned());
            hashes.collect::<Vec<_>>()
        })
    };
    assert_eq!(
        hashed("ann:abvOVwEVZZ8hM", "true").unwrap(),
        ["abvOVwEVZZ8hM"]
    );
    assert!(hashed("ann:geheim", "false").unwrap()[0].starts_with("$6$rounds="));
    for (users, form) in [
        ("ann:geheim", "true"),
        ("ann", "false"),
        ("geh heim:x", "false"),
    ] {
        let errors = hashed(users, form).unwrap_err();
        assert_eq!(errors.errors[0].name, "USERS");
        assert!(!errors.to_string().contains("geh"), "{errors}");
    }
}

#[test]
fn what_docker_flow_proxy_calls_otherwise_is_understood() {
    let settings = read(&[
        ("BIND_PORTS", "8080:ssl, 80,9090"),
        (
            "RESOLVERS",
            "nameserver dns1 10.0.0.1:53, nameserver dns2 10.0.0.2,resolve_retries 3",
        ),
        ("SERVICE_DOMAIN_ALGO", "hdr_beg(host)"),
        ("SEPARATOR", ";"),
        ("DEFAULT_REQ_MODE", "tcp"),
        ("DEBUG", "true"),
        ("DEBUG_ERRORS_ONLY", "true"),
        ("DEBUG_TCP_FORMAT", r#""%ci \"%b\"""#),
        ("EXTRA_GLOBAL", "nosplice,tune.bufsize 32768"),
        ("HEALTHCHECK", "false"),
    ]);
    let settings = settings.unwrap();
    let haproxy = settings.haproxy;
    let ports: Vec<u16> = haproxy.ports.iter().map(|entry| entry.port.get()).collect();
    assert_eq!(ports, [80, 443, 8080, 9090]);
    let servers: Vec<_> = haproxy
        .dns_servers
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(servers, ["10.0.0.1:53", "10.0.0.2:53"]);
    assert_eq!(haproxy.access_log, AccessLog::Stdout);
    assert_eq!(haproxy.extras.log.which, proxy_haproxy::Logged::Errors);
    let form = haproxy.extras.log.tcp.as_ref().map(|form| form.as_str());
    assert_eq!(form, Some(r#"%ci "%b""#));
    let global: Vec<_> = haproxy.extras.global.iter().collect();
    assert_eq!(global, ["nosplice", "tune.bufsize 32768"]);
    assert_eq!(settings.rules.separator.as_str(), ";");
    assert_eq!(settings.rules.default_mode, proxy_core::ReqMode::Tcp);
    assert_eq!(settings.idle[0].0, "HEALTHCHECK");
    let idle = super::idle::IDLE_SETTINGS
        .iter()
        .map(|(name, _)| (*name, "1"));
    let idle: Vec<_> = idle.collect();
    assert_eq!(read(&idle).unwrap().idle.len(), idle.len());

    let own = read(&[
        ("DNS_SERVER", "10.0.0.9"),
        ("RESOLVERS", "nameserver a 10.0.0.1:53"),
    ]);
    assert_eq!(
        own.unwrap().haproxy.dns_servers[0].to_string(),
        "10.0.0.9:53"
    );
    let wrong = [
        ("BIND_PORTS", "a"),
        ("RESOLVERS", "timeout retry 1s"),
        ("SERVICE_DOMAIN_ALGO", "hdr_reg(host)"),
        ("DEFAULT_REQ_MODE", "udp"),
        ("CAPTURE_REQUEST_HEADER", "X-A"),
        ("EXTRA_GLOBAL", "nosplice,frontend evil"),
        ("EXTRA_FRONTEND", "backend evil"),
        ("DEBUG_HTTP_FORMAT", "\"open"),
        ("DEBUG", "yes"),
    ];
    let mut found: Vec<_> = read(&wrong)
        .unwrap_err()
        .errors
        .iter()
        .map(|e| e.name)
        .collect();
    found.sort_unstable();
    let mut names = wrong.map(|(name, _)| name);
    names.sort_unstable();
    assert_eq!(found, names);
}

#[test]
fn an_acl_of_the_operators_own_is_no_services() {
    let with = |line: &str| read(&[("EXTRA_FRONTEND", line)]);
    let free = "acl office src 10.0.0.0/8\\nhttp-request deny unless office";
    assert_eq!(
        with(free).unwrap().haproxy.extras.frontend.iter().count(),
        2
    );
    let refused = with("acl office src 10.0.0.0/8\\nacl url_go-demo8080 path_beg /other");
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("EXTRA_FRONTEND"), "{told}");
    assert!(
        told.contains("it declares the acl url_go-demo8080; names that begin with agent_"),
        "{told}"
    );
}

#[test]
fn what_services_may_ask_is_a_setting() {
    let rules = |pairs: &[(&str, &str)]| read(pairs).unwrap().rules;
    assert_eq!(rules(&[]).raw, proxy_core::RawConfig::Allowed);
    assert_eq!(rules(&[]).plain_http, proxy_core::PlainHttp::Served);
    let strict = rules(&[("ALLOW_RAW_CONFIG", "false"), ("HTTPS_ONLY", "true")]);
    assert_eq!(strict.raw, proxy_core::RawConfig::Refused);
    assert_eq!(strict.plain_http, proxy_core::PlainHttp::Redirected);
    let raw = [("ALLOW_RAW_CONFIG", "0"), ("EXTRA_GLOBAL", "nosplice")];
    assert_eq!(read(&raw).unwrap_err().errors[0].name, "EXTRA_GLOBAL");
    let compression = |pairs: &[(&str, &str)]| read(pairs).unwrap().haproxy.compression;
    assert_eq!(compression(&[]), proxy_core::Compression::default());
    let some = compression(&[
        ("COMPRESSION_ALGO", "gzip deflate"),
        ("COMPRESSION_TYPE", "text/html,text/css"),
    ]);
    assert_eq!((some.algos.len(), some.types.len()), (2, 2));
    let wrong = read(&[("COMPRESSION_ALGO", "zip"), ("ALLOW_RAW_CONFIG", "perhaps")]);
    assert_eq!(wrong.unwrap_err().errors.len(), 2);
}

#[test]
fn every_error_is_reported_at_once_and_no_secret_is_shown() {
    let errors = read(&[
        ("PORT", "eighty"),
        ("MODE", "cluster"),
        ("DEFAULT_PORTS", "80,443:tls"),
        ("CONSUL_TOKEN", "hush"),
        ("TIMEOUT_CLIENT", "0"),
        ("CONSUL_CERT_FILE", "/c.pem"),
        ("CONSUL_ADDRESS", ", ,"),
    ])
    .unwrap_err();
    let names: Vec<_> = errors.errors.iter().map(|error| error.name).collect();
    assert_eq!(
        names,
        [
            "CONSUL_ADDRESS",
            "CONSUL_KEY_FILE",
            "MODE",
            "PORT",
            "DEFAULT_PORTS",
            "TIMEOUT_CLIENT"
        ]
    );
    assert!(!format!("{errors}{:?}", read(&[("API_TOKEN", "hush")])).contains("hush"));
}

#[test]
fn the_first_source_wins() {
    let flags = MapSource::new([("PORT", "1")]);
    let env = MapSource::new([("PORT", "2"), ("IP", "127.0.0.1")]);
    let layered = Layered::new(vec![Box::new(flags), Box::new(env)]);
    let settings = Settings::read(&layered).unwrap();
    assert_eq!(settings.api.port.get(), 1);
    assert_eq!(settings.api.ip, IpAddr::from([127, 0, 0, 1]));
}

#[test]
fn a_secret_file_ends_where_its_line_ends() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("dfp_api_token"), "hush\n").unwrap();
    let secrets = SecretFiles::new(folder.path().to_owned());
    assert_eq!(secrets.get("API_TOKEN").unwrap().as_deref(), Some("hush"));
    assert_eq!(secrets.get("PEER_SECRET"), Ok(None));
    let folder_away = SecretFiles::new(folder.path().join("nowhere"));
    assert_eq!(folder_away.get("API_TOKEN"), Ok(None));
    // A secret that is there and cannot be read is no open door.
    for broken in ["", "\n"] {
        std::fs::write(folder.path().join("dfp_api_token"), broken).unwrap();
        assert!(secrets.get("API_TOKEN").is_err());
    }
    // Nor one in a folder that is no folder: it cannot be listed, and that is not the same as empty.
    let broken = SecretFiles::new(folder.path().join("dfp_api_token"));
    assert!(broken.get("API_TOKEN").is_err());
    // One that leads nowhere is not there, listed or not.
    std::os::unix::fs::symlink("nowhere", folder.path().join("dfp_peer_secret")).unwrap();
    let secrets = SecretFiles::new(folder.path().to_owned());
    assert_eq!(secrets.get("PEER_SECRET"), Ok(None));
    std::fs::write(folder.path().join("dfp_api_token"), [0xff]).unwrap();
    let refused = Settings::read(&secrets).unwrap_err();
    assert_eq!(refused.errors[0].name, "API_TOKEN");
}

#[test]
fn a_map_holds_no_order_by_acl_name() {
    let by_name = |routing| {
        let source = MapSource::new([("ROUTE_ORDER", "acl-name"), ("ROUTING", routing)]);
        Settings::read(&source).map(|settings| settings.haproxy.route_order)
    };
    for routing in ["auto", "acl"] {
        assert_eq!(by_name(routing).unwrap(), proxy_core::RouteOrder::AclName);
    }
    let refused = by_name("map").unwrap_err();
    assert_eq!(refused.errors[0].name, "ROUTE_ORDER");
    let unknown = Settings::read(&MapSource::new([("ROUTE_ORDER", "name")])).unwrap_err();
    assert!(unknown.to_string().contains("acl-name"), "{unknown}");
}

#[test]
fn draining_leaves_time_to_finish() {
    let end = |delay, timeout| {
        read(&[("DRAIN_DELAY", delay), ("SHUTDOWN_TIMEOUT", timeout)]).map(|settings| settings.end)
    };
    let none = end("0", "1").unwrap();
    assert_eq!(none.drain_delay, Duration::ZERO);
    assert_eq!(none.timeout, Duration::from_secs(1));
    let refused = end("8", "8").unwrap_err();
    assert_eq!(refused.errors[0].name, "DRAIN_DELAY");
    assert!(
        refused.to_string().contains("SHUTDOWN_TIMEOUT (8 s)"),
        "{refused}"
    );
}

#[test]
fn haproxy_is_ended_whatever_else_the_settings_say() {
    let source = MapSource::new([
        ("RUN_PATH", "/run/here".to_owned()),
        ("SHUTDOWN_TIMEOUT", "soon".to_owned()),
        ("PORT", "none".to_owned()),
    ]);
    let left = LeftSettings::read(&source);
    assert_eq!(left.run_path, PathBuf::from("/run/here"));
    assert_eq!(left.end, read(&[]).unwrap().end, "the defaults");
    let source = MapSource::new([
        ("DRAIN_DELAY", "3"),
        ("SHUTDOWN_TIMEOUT", "30"),
        ("ON_END", "leav"),
    ]);
    let end = LeftSettings::read(&source).end;
    assert_eq!((end.drain_delay.as_secs(), end.timeout.as_secs()), (3, 30));
}

#[test]
fn an_instance_is_told_apart_from_its_past() {
    assert_ne!(instance_id([1; 4]), instance_id([2; 4]));
}

/// The README's table is made from the definitions: change them and paste what this prints.
#[test]
fn the_readme_has_every_setting() {
    let readme = include_str!("../../../README.md");
    let mut table = String::from("| setting | default | means |\n|---|---|---|\n");
    for definition in DEFINITIONS {
        let default = match definition.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let name = definition.name;
        table.push_str(&format!("| `{name}` | {default} | {} |\n", definition.help));
    }
    let start = "<!-- settings: checked by a test of proxy-server -->\n";
    let end = "<!-- end of settings -->";
    let between = readme
        .split_once(start)
        .and_then(|(_, rest)| rest.split_once(end));
    assert_eq!(
        between.unwrap().0.trim(),
        table.trim(),
        "paste this:\n{table}"
    );
}

#[test]
fn the_page_of_figures_wants_a_user_and_a_password() {
    let page = |pairs: &[(&str, &str)]| read(pairs).map(|settings| settings.haproxy.extras.stats);
    assert_eq!(page(&[]).unwrap(), None);
    let both = [("STATS_USER", "ann"), ("STATS_PASS", "a,b:c")];
    let shared = page(&both).unwrap().unwrap();
    assert_eq!((shared.uri.as_str(), shared.port), ("/admin?stats", None));
    let of = |port: &'static str| {
        let mut pairs = both.to_vec();
        pairs.push(("STATS_PORT", port));
        page(&pairs).unwrap().unwrap().port.map(|port| port.get())
    };
    assert_eq!((of("80"), of("1936")), (None, Some(1936)));
    let named = page(&[
        ("STATS_USER_ENV", "WHO"),
        ("WHO", "ann"),
        ("STATS_PASS_ENV", "WORD"),
        ("WORD", "a,b:c"),
        ("STATS_URI_ENV", "WHERE"),
        ("WHERE", "/figures"),
    ]);
    let named = named.unwrap().unwrap();
    assert_eq!(
        (named.uri.as_str(), named.users),
        ("/figures", shared.users)
    );
    for wrong in [
        [("STATS_USER", "ann"), ("STATS_URI", "/x")],
        [("STATS_PASS", "geheim"), ("STATS_URI", "/x")],
    ] {
        let refused = page(&wrong).unwrap_err();
        assert!(!refused.to_string().contains("geheim"), "{refused}");
    }
    assert!(page(&[both[0], both[1], ("STATS_URI", "x y")]).is_err());
}
