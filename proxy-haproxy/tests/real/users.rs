//! Who may come in: names and passwords, as clients send them.

use std::time::Duration;

use proxy_core::{Credentials, PasswordForm};
use proxy_haproxy::{AddressBook, Haproxy, Validate as _, Validator, render};
use testkit::haproxy::{DemoBackend, HttpAnswer, Request, request};

use crate::bench::{Bench, at, table};

/// What mkpasswd makes of "geheim".
const SHA_512: &str = "$6$saltsalt$sfZR6YSW/Dp0uCiyF9fDipa6ORr5LVLOwXNgtzRlXXhkC7xA3w4zy97VIC3vL14AUXGJp3yBjZVztkdiBzJnX1";

async fn ask(bench: &Bench, path: &str, user: Option<&str>) -> HttpAnswer {
    let mut asked = Request::get(path).with_header("Host", "acme.com");
    if let Some(user) = user {
        asked = asked.with_header("Authorization", format!("Basic {}", base64(user)));
    }
    request(bench.address(), &asked).await.unwrap()
}

/// As clients do it; the crate has no use for it but here.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, i| {
            bits << 8 | u32::from(chunk.get(i).copied().unwrap_or(0))
        });
        for i in 0..4 {
            match i <= chunk.len() {
                true => out.push(char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize])),
                false => out.push('='),
            }
        }
    }
    out
}

#[tokio::test]
async fn who_knows_the_password_comes_in_and_nobody_else() {
    let bench = Bench::new();
    let demo = DemoBackend::start("demo").await.unwrap();
    let long = "x".repeat(128);
    let odd = "p%24:%20%27%22%5C%23%25ä";
    let queries = [
        format!(
            "{}&users=ann:geheim,bob:{long},odd:{odd}",
            at("own", "/own", demo.address())
        ),
        format!(
            "{}&users=ann:other",
            at("default", "/other", demo.address())
        ),
        format!(
            "{}&usersPassEncrypted=true&users=ann:{}",
            at("hashed", "/hashed", demo.address()),
            SHA_512.replace('/', "%2F")
        ),
        at("plain", "/plain", demo.address()),
        format!(
            "{}&ignoreAuthorization=true",
            at("open", "/open", demo.address())
        ),
    ];
    let global = Credentials::parse("root:toor", PasswordForm::Clear).unwrap();
    let settings = bench
        .render_settings()
        .with_users(global.resolve(None, &[]).unwrap());
    let config = render(&table(&queries), &settings, &AddressBook::new()).unwrap();
    let mut dir = bench.dir();
    let staged = dir.stage(&config).unwrap();
    let warned = Validator::new(bench.sandbox.binary())
        .validate(&staged.main_path())
        .await
        .unwrap();
    assert!(warned.is_empty(), "{warned:?}\n{}", config.main_text());
    dir.activate(staged).unwrap();
    let haproxy = Haproxy::start(bench.process_settings(&dir)).await.unwrap();

    for (path, user, status) in [
        ("/own", None, 401),
        ("/own", Some("ann:geheim"), 200),
        ("/own", Some("ann:geheim "), 401),
        ("/own", Some("ann:"), 401),
        ("/own", Some("nobody:geheim"), 401),
        ("/own", Some(&*format!("bob:{long}")), 200),
        ("/own", Some("odd:p$: '\"\\#%ä"), 200),
        // Who may come in everywhere else may not here.
        ("/own", Some("root:toor"), 401),
        // Same name, another service.
        ("/other", Some("ann:geheim"), 401),
        ("/other", Some("ann:other"), 200),
        ("/hashed", Some("ann:geheim"), 200),
        ("/hashed", Some("ann:other"), 401),
        ("/plain", None, 401),
        ("/plain", Some("root:toor"), 200),
        ("/plain", Some("ann:geheim"), 401),
        ("/open", None, 200),
    ] {
        let answer = ask(&bench, path, user).await;
        assert_eq!(answer.status, status, "{path} {user:?}");
        if status == 401 {
            let head = answer.head.to_ascii_lowercase();
            assert!(head.contains("www-authenticate: basic realm="), "{head}");
        } else if path != "/open" {
            let head = demo.last_head().to_ascii_lowercase();
            assert!(
                !head.contains("authorization"),
                "the service sees the password: {head}"
            );
        }
    }
    haproxy.shutdown(Duration::from_secs(5)).await;
}
