//! Hostile values, through the parser and the renderer, with a real `haproxy -c` as the judge.

use std::{collections::BTreeSet, time::Duration};

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestCaseError, TestRunner},
};
use proxy_core::{Params, RouteTable, parse_reconfigure};
use proxy_haproxy::{
    AddressBook, ConfigDir, RenderSettings, Template, Validate, ValidateError, Validator, render,
};

use crate::bench::Bench;

const CASES: u32 = 150;

/// What means something to HAProxy, to the template, to a shell or to C.
pub(crate) const PIECES: [&str; 40] = [
    "a",
    "Z",
    "0",
    "/",
    "-",
    "--",
    "_",
    ".",
    "..",
    "*",
    "*.",
    ",",
    ":",
    "%",
    "%[src]",
    "%%",
    "$",
    "$HOME",
    "${HOME}",
    "'",
    "\"",
    "`",
    "\\",
    "\\n",
    "{",
    "}",
    "{{ 7 }}",
    "{% raw %}",
    "(",
    ")",
    "[",
    "]",
    "|",
    "&",
    "^",
    "~",
    "=",
    "if",
    "unless",
    "!",
];
pub(crate) const WORSE: [&str; 9] = [
    " ",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "#",
    "é",
    "\u{202e}",
    "\nfrontend evil\n    bind *:1\n",
];
const KINDS: [&str; 6] = [
    "path", "path_beg", "path_end", "path_sub", "path_dir", "path_reg",
];

/// Mostly what the parser takes, so that the renderer is tested too.
fn value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        40 => select(&PIECES[..]).prop_map(str::to_owned),
        1 => select(&WORSE[..]).prop_map(str::to_owned),
        2 => "[!-~]{1,20}",
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![9 => "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", 1 => value()]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => "[a-z0-9_][a-z0-9_-]{0,10}(\\.[a-z0-9_][a-z0-9_-]{0,10}){0,2}",
        1 => select(&["::1", "[::1]", "127.0.0.1", "7", "0x7f", "1.2.3", "localhost", "*", "unix@/x"][..])
            .prop_map(str::to_owned),
        1 => value(),
    ]
}

fn parameters() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let path = prop_oneof![9 => value().prop_map(|value| format!("/{value}")), 2 => value()];
    let domain = prop_oneof![3 => host(), 1 => host().prop_map(|host| format!("*.{host}"))];
    let kind = prop_oneof![9 => select(&KINDS[..]).prop_map(str::to_owned), 1 => value()];
    (name(), path, domain, kind, name(), host(), 0..16_u8).prop_map(
        |(name, path, domain, kind, acl, host, which)| {
            let mut all = vec![("serviceName", name), ("port", "8080".to_owned())];
            let optional = [
                ("servicePath", path),
                ("serviceDomain", domain),
                ("pathType", kind),
                ("aclName", acl),
            ];
            for (number, pair) in optional.into_iter().enumerate() {
                // Paths mostly: without one the others are of little use.
                if number == 0 || which & (1 << number) != 0 {
                    all.push(pair);
                }
            }
            all.push(("outboundHostname", host));
            all
        },
    )
}

/// No value adds a line: sections and servers are as many as the table says, and every line begins
/// with a word of the template.
fn check_lines(text: &str, destinations: usize) -> Result<(), TestCaseError> {
    let begin = |word: &str| {
        text.lines()
            .filter(|line| line.trim_start().split(' ').next() == Some(word))
            .count()
    };
    prop_assert_eq!(begin("backend"), destinations + 1);
    prop_assert_eq!(begin("server"), destinations);
    for (word, count) in [
        ("global", 1),
        ("defaults", 1),
        ("frontend", 1),
        ("resolvers", 1),
        ("bind", 1),
    ] {
        prop_assert_eq!(begin(word), count, "{}", word);
    }
    let known: BTreeSet<&str> = [
        "",
        "global",
        "stats",
        "hard-stop-after",
        "mworker-max-reloads",
        "fd-hard-limit",
        ".if",
        ".endif",
        "httpclient.ssl.verify",
        "defaults",
        "mode",
        "option",
        "retries",
        "timeout",
        "resolvers",
        "nameserver",
        "accepted_payload_size",
        "resolve_retries",
        "hold",
        "frontend",
        "bind",
        "http-request",
        "acl",
        "use_backend",
        "default_backend",
        "backend",
        "default-server",
        "server",
        "userlist",
        "user",
        "http-response",
    ]
    .into();
    for line in text.lines() {
        let first = line.trim_start().split(' ').next().unwrap_or_default();
        prop_assert!(known.contains(first), "{line:?}");
    }
    Ok(())
}

async fn judged(
    settings: &RenderSettings,
    dir: &ConfigDir,
    validator: &Validator,
    parameters: &[(&str, String)],
) -> Result<bool, TestCaseError> {
    let mut params = Params::default();
    let inserted = parameters
        .iter()
        .all(|(name, value)| params.insert((*name).to_owned(), value.clone()).is_ok());
    let Some(parsed) = parse_reconfigure(&params).ok().filter(|_| inserted) else {
        return Ok(false);
    };
    let service = parsed.value.service;
    let destinations = service.destinations().len();
    let table: RouteTable = [service].into_iter().collect();
    let config = render(&table, settings, &AddressBook::new()).map_err(|error| {
        TestCaseError::fail(format!("what the parser takes is rendered: {error:?}"))
    })?;
    check_lines(config.main_text(), destinations)?;
    // The same text to the engine, and an operator's own: its values are looked at, and all of them stand well.
    let own = Template::new(format!("{}{{# #}}", Template::DEFAULT_TEXT)).unwrap();
    let own = render(
        &table,
        &settings.clone().with_template(own),
        &AddressBook::new(),
    );
    let own =
        own.map_err(|error| TestCaseError::fail(format!("an operator's own takes it: {error:?}")))?;
    prop_assert_eq!(own.main_text(), config.main_text());
    let staged = dir.stage(&config).unwrap();
    let judgement = validator.validate(&staged.main_path()).await;
    if let Err(error) = &judgement {
        // An expression must compile in HAProxy too, which only HAProxy can tell.
        let is_expression = parameters.contains(&("pathType", "path_reg".to_owned()));
        let first = error
            .alerts()
            .next()
            .map(ToString::to_string)
            .unwrap_or_default();
        prop_assert!(
            is_expression && first.contains("regex"),
            "{:?}\n{}",
            error,
            config.main_text()
        );
        return Ok(true);
    }
    prop_assert_eq!(
        judgement.unwrap(),
        vec![],
        "no warnings either\n{}",
        config.main_text()
    );
    Ok(true)
}

#[test]
fn haproxy_takes_whatever_the_parser_takes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = runtime.block_on(async { Bench::new() });
    let dir = bench.dir();
    let settings = bench
        .render_settings()
        .with_nameservers(vec!["127.0.0.1:53".parse().unwrap()]);
    let validator = Validator::new(bench.sandbox.binary());
    let taken = std::cell::Cell::new(0_u32);
    let mut runner = TestRunner::new(Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    });
    let outcome = runner.run(&parameters(), |parameters| {
        let was = runtime.block_on(judged(&settings, &dir, &validator, &parameters))?;
        taken.set(taken.get() + u32::from(was));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(
        taken.get() > CASES / 4,
        "only {} of {CASES} came through the parser",
        taken.get()
    );
}

/// A service, a user or a header may be called what means something elsewhere in a line, also under a template of the operator's.
#[tokio::test]
async fn haproxy_takes_names_that_are_words_of_its_own() {
    let bench = Bench::new();
    let dir = bench.dir();
    let settings = bench
        .render_settings()
        .with_nameservers(vec!["127.0.0.1:53".parse().unwrap()]);
    let validator = Validator::new(bench.sandbox.binary());
    for (name, user, path, kind, header) in [
        ("if", "if", "/a", "path_beg", "if"),
        ("or", "a(b", "/a", "path", "%"),
        ("unless", "x%[y", "if", "path_sub", "or"),
        ("server", "{", "or", "path_end", "%ci"),
        ("realm", "}", "lt", "path_sub", "unless"),
        ("a", "eq", "eq", "path_reg", "||"),
        ("b", "c", "ge", "path_dir", "!"),
    ] {
        let users = format!("{user}:secret");
        let line = format!("{header} x");
        let given = [
            ("serviceName", name),
            ("port", "8080"),
            ("outboundHostname", "127.0.0.1"),
            ("servicePath", path),
            ("pathType", kind),
            ("users", &*users),
            ("addReqHeader", &*line),
            ("setReqHeader", &*line),
            ("delReqHeader", header),
            ("addResHeader", &*line),
            ("setResHeader", &*line),
            ("delResHeader", header),
        ];
        let given: Vec<_> = given
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
        let taken = judged(&settings, &dir, &validator, &given).await;
        assert!(taken.unwrap(), "{name} {user} {path} {header}");
    }
}

#[tokio::test]
async fn a_refusal_says_where_and_why() {
    let bench = Bench::new();
    let dir = bench.dir();
    let validator = Validator::new(bench.sandbox.binary());
    let config = proxy_haproxy::RenderedConfig::new("defaults\n    mode foo\n");
    let staged = dir.stage(&config).unwrap();
    let error = validator.validate(&staged.main_path()).await.unwrap_err();
    let first = error.alerts().next().unwrap();
    assert_eq!(first.line, Some(2));
    assert_eq!(first.file.as_deref(), Some(staged.main_path().as_path()));
    assert!(
        error
            .to_string()
            .contains("line 2: unknown proxy mode 'foo'"),
        "{error}"
    );
    assert!(!error.is_retryable());

    let missing = Validator::new("/no/haproxy")
        .validate(&staged.main_path())
        .await;
    assert!(matches!(missing, Err(ValidateError::Run { .. })));
}

#[tokio::test]
async fn a_check_that_hangs_is_ended() {
    let bench = Bench::new();
    let slow = bench.sandbox.folder().join("slow");
    let pid = bench.sandbox.folder().join("pid");
    std::fs::write(
        &slow,
        format!("#!/bin/sh\necho $$ > {}\nexec sleep 60\n", pid.display()),
    )
    .unwrap();
    std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let deadline = Duration::from_millis(500);
    let validator = Validator::new(slow).with_deadline(deadline);
    let begun = std::time::Instant::now();
    let late = validator.validate("/dev/null".as_ref()).await;
    assert!(matches!(late, Err(ValidateError::Deadline(_))), "{late:?}");
    assert!(begun.elapsed() < deadline * 10);
    let pid: i32 = std::fs::read_to_string(pid)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    crate::bench::eventually("the child is gone", async || {
        crate::bench::equal(
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_err(),
            true,
        )
    })
    .await;
}

#[tokio::test]
async fn checks_run_at_once_within_their_bound() {
    let bench = Bench::new();
    let log = bench.sandbox.folder().join("log");
    let script = bench.sandbox.folder().join("script");
    // Says when it begins and when it ends.
    let text = format!(
        "#!/bin/sh\necho + >> {0}\nsleep 0.2\necho - >> {0}\n",
        log.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let validator = Validator::new(script).with_parallel(2);
    let mut checks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let validator = validator.clone();
        checks.spawn(async move { validator.validate("/dev/null".as_ref()).await });
    }
    while let Some(check) = checks.join_next().await {
        assert_eq!(check.unwrap().unwrap(), vec![]);
    }
    let mut running = 0;
    let most = std::fs::read_to_string(log)
        .unwrap()
        .lines()
        .map(|line| {
            running += if line == "+" { 1 } else { -1 };
            running
        })
        .max();
    assert_eq!(most, Some(2));
}
