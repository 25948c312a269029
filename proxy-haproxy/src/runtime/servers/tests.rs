use tokio::{net::UnixListener, task::JoinHandle};

use super::{super::tests::converse, *};

const CONFIG: &str = "\
frontend services
    bind *:80

backend a-be80
    mode http
    server a 10.0.0.1:80

backend b-be80
    mode http
    default-server init-addr last,10.0.0.7,none resolvers dns resolve-prefer ipv4
    server b b:80
    server o o:80 init-addr last,none check

listen six
    server c [::1]:80 check
";

fn moves(edits: &[(&str, &str)]) -> Option<Vec<String>> {
    let mut new = CONFIG.to_owned();
    for (from, to) in edits {
        assert!(new.contains(from), "{from}");
        new = new.replace(from, to);
    }
    let moves = changes_between(CONFIG, &new)?;
    let told = moves
        .iter()
        .map(|step| format!("{step} {} {}", step.from, step.to));
    Some(told.collect())
}

#[test]
fn servers_that_moved_are_found_by_their_backends() {
    assert_eq!(moves(&[]), Some(vec![]));
    let both = moves(&[("10.0.0.1:80", "10.0.0.2:81"), ("[::1]", "[::2]")]).unwrap();
    assert_eq!(
        both,
        [
            "the server a-be80/a ready at 10.0.0.1:80 ready at 10.0.0.2:81",
            "the server six/c ready at [::1]:80 ready at [::2]:80"
        ]
    );
    // Where a name is looked for first is read at a start.
    for begin in ["last,10.0.0.8,none", "last,none"] {
        assert_eq!(moves(&[("last,10.0.0.7,none", begin)]), Some(vec![]));
        let own = [(
            "o:80 init-addr last,none",
            &*format!("o:80 init-addr {begin}"),
        )];
        assert_eq!(moves(&own), Some(vec![]));
    }
}

#[test]
fn everything_else_is_another_configuration() {
    for edit in [
        ("server a 10.0.0.1:80", "server a 10.0.0.1:80 check"),
        ("server a 10.0.0.1:80", "server a2 10.0.0.2:80"),
        ("server a 10.0.0.1:80", "server a name:80"),
        ("server a 10.0.0.1:80", "server a 10.0.0.1:0"),
        ("server a 10.0.0.1:80", "server a 0.0.0.0:80"),
        ("server a 10.0.0.1:80", "# server a 10.0.0.2:80"),
        ("server b b:80", "server b 10.0.0.1:80"),
        ("[::1]:80 check", "[::2]:80"),
        ("bind *:80", "bind *:81"),
        ("listen six\n", ""),
        ("last,10.0.0.7,none", "last,libc,none"),
        ("o:80 init-addr last,none", "o:80 init-addr last,libc,none"),
        (
            "o:80 init-addr last,none",
            "p:80 init-addr last,10.0.0.8,none",
        ),
        ("none check", "10.0.0.8,none"),
        ("resolve-prefer ipv4", "resolve-prefer ipv6"),
        ("check\n", "check\nbackend new\n"),
    ] {
        assert_eq!(moves(&[edit]), None, "{edit:?}");
    }
    // A server of no backend, and names that are no single words on the command line.
    for (section, server) in [
        ("peers p", "a"),
        ("backend \"b x\"", "a"),
        ("backend b", "a;show"),
        ("backend b", "a/b"),
    ] {
        let text = |ip: &str| format!("backend x\n{section}\n    server {server} {ip}:80\n");
        assert_eq!(
            changes_between(&text("10.0.0.1"), &text("10.0.0.2")),
            None,
            "{section} {server}"
        );
    }
}

#[test]
fn more_than_a_few_are_another_configuration() {
    let text = |count: usize, ip: &str| {
        let servers = (0..count).map(|n| format!("backend b{n}\n    server s {ip}:80\n"));
        servers.collect::<String>()
    };
    let count = |count| {
        let moves = changes_between(&text(count, "10.0.0.1"), &text(count, "10.0.0.2"));
        moves.map(|moves| moves.len())
    };
    assert_eq!(count(MAX_CHANGES), Some(MAX_CHANGES));
    assert_eq!(count(MAX_CHANGES + 1), None);
}

fn place(address: &str, admission: Admission) -> ServerPlace {
    ServerPlace {
        address: address.parse().unwrap(),
        admission,
    }
}

#[test]
fn servers_come_before_others_go() {
    let text = |one: &str, two: &str| format!("backend a\n    server a-1 {one} check{two}\n");
    let slots = |one: &str, two: &str| text(one, &format!("\n    server a-2 {two} check"));
    let gone = slots("127.0.0.1:1", "10.0.0.2:80").replacen("check", "check disabled", 1);
    let old = slots("10.0.0.1:80", "127.0.0.1:1") + "    # disabled\n";
    let old = old.replace("127.0.0.1:1 check", "127.0.0.1:1 check disabled");
    let new = gone + "    # disabled\n";
    let changes = changes_between(&old, &new).unwrap();
    let told: Vec<_> = changes.iter().flat_map(commands).collect();
    assert_eq!(
        told,
        [
            "set server a/a-2 addr 10.0.0.2 port 80\n",
            "set server a/a-2 state ready\n",
            "set server a/a-1 state maint\n",
            "set server a/a-1 addr 127.0.0.1 port 1\n",
        ]
    );
    // A slot more or less is another configuration, and so are other options.
    let one = "backend a\n    server a-1 10.0.0.1:80 disabled\n";
    assert_eq!(
        changes_between(one, &one.replace(" disabled", " backup")),
        None
    );
    assert_eq!(changes_between(one, "backend a\n"), None);
}

#[test]
fn what_a_server_is_is_read_from_all_its_states() {
    let change = ServerChange {
        backend: "a".to_owned(),
        server: "a-1".to_owned(),
        from: place("10.0.0.1:80", Admission::Ready),
        to: place("10.0.0.1:80", Admission::Ready),
        line: ServerLine::Own,
    };
    let admission = |bits: u32| {
        let state = format!(
            "1\n# be_name srv_name srv_addr srv_admin_state srv_fqdn srv_port\na a-1 10.0.0.1 {bits} - 80\n"
        );
        place_of(&state, &change).map(|place| place.admission)
    };
    // As configured, disabled by the configuration, and ready after that.
    assert_eq!(admission(0), Some(Admission::Ready));
    assert_eq!(admission(5), Some(Admission::Disabled));
    assert_eq!(admission(4), Some(Admission::Ready));
    assert_eq!(admission(1), Some(Admission::Disabled));
    // Drained by hand, or without an address: not for us to say.
    assert_eq!(admission(8), None);
    assert_eq!(admission(32), None);
}

#[test]
fn what_is_under_way_on_a_server_is_read_by_its_column() {
    let filled = ServerChange {
        backend: "a".to_owned(),
        server: "a-1".to_owned(),
        from: place("127.0.0.1:1", Admission::Disabled),
        to: place("10.0.0.1:80", Admission::Ready),
        line: ServerLine::Own,
    };
    let used = |text: &str| connections_of(text, &filled);
    let head = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max\n";
    let known =
        format!("{head}a/a-10 3/9 10.0.0.9 80 - 5000 7 9\na/a-1 3/1 10.0.0.1 80 - 5000 2 9\n");
    assert_eq!(used(&known), Some(2));
    assert_eq!(used(&known.replace("a/a-1 ", "a/a-2 ")), None);
    assert_eq!(used(&known.replace("used_cur", "used")), None);
    assert_eq!(used("Can't find backend.\n"), None);

    let is_filled = |from: ServerPlace, to: ServerPlace| {
        let change = filled.clone();
        ServerChange { from, to, ..change }.is_filled()
    };
    let (free, there) = (filled.from, filled.to);
    assert!(is_filled(free, there));
    assert!(!is_filled(there, free), "it goes");
    assert!(
        !is_filled(place("10.0.0.1:80", Admission::Disabled), there),
        "it is there already"
    );
}

/// What a worker does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    IsElsewhere,
    FollowsAName,
    KnowsNoSuchServer,
    ForgetsWhatItIsTold,
    HangsUpAtAChange,
}

/// A worker with the process number 7 and two servers, for one conversation; gives what it was told.
fn worker(listener: UnixListener, fault: Fault) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let start = match fault {
            Fault::IsElsewhere => "10.9.9.9",
            _ => "10.0.0.1",
        };
        let mut at = BTreeMap::from(["a", "b"].map(|name| (name.to_owned(), start.to_owned())));
        let mut told = Vec::new();
        let answer = |words: &[&str]| match words {
            ["show", "servers", "state", _] if fault == Fault::KnowsNoSuchServer => {
                Some("Can't find backend.\n".to_owned())
            }
            ["show", "servers", "state", backend] => {
                let name = backend.trim_end_matches("-be");
                let fqdn = if fault == Fault::FollowsAName {
                    "x"
                } else {
                    "-"
                };
                Some(format!(
                    "1\n# be_id be_name srv_id srv_name srv_addr srv_admin_state srv_fqdn srv_port\n\
                     3 {backend} 1 {name} {} 0 {fqdn} 80\n",
                    at[name]
                ))
            }
            ["set", ..] if fault == Fault::HangsUpAtAChange => None,
            ["set", "server", server, "addr", ip, "port", "80"] => {
                told.push(format!("{server} {ip}"));
                if fault != Fault::ForgetsWhatItIsTold {
                    let (_, name) = server.split_once('/').unwrap();
                    at.insert(name.to_owned(), (*ip).to_owned());
                }
                Some("IP changed by 'stats socket command'\n".to_owned())
            }
            _ => Some("Unknown command\n".to_owned()),
        };
        converse(listener, answer).await;
        told
    })
}

async fn told(fault: Fault, workers: &[u32]) -> (Result<(), RuntimeError>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    let worker = worker(UnixListener::bind(&socket).unwrap(), fault);
    let moves = ["a", "b"].map(|name| ServerChange {
        backend: format!("{name}-be"),
        server: name.to_owned(),
        from: place("10.0.0.1:80", Admission::Ready),
        to: place("10.0.0.2:80", Admission::Ready),
        line: ServerLine::Own,
    });
    let outcome = change_servers(&socket, workers, &moves).await;
    (outcome, worker.await.unwrap())
}

#[tokio::test]
async fn every_server_is_told_once_all_are_where_they_were() {
    let (outcome, told) = told(Fault::None, &[7]).await;
    outcome.unwrap();
    assert_eq!(told, ["a-be/a 10.0.0.2", "b-be/b 10.0.0.2"]);
}

#[tokio::test]
async fn a_move_is_looked_up_before_and_afterwards() {
    for (fault, may_be_served) in [
        (Fault::IsElsewhere, false),
        (Fault::FollowsAName, false),
        (Fault::KnowsNoSuchServer, false),
        (Fault::ForgetsWhatItIsTold, true),
        (Fault::HangsUpAtAChange, true),
    ] {
        let (outcome, told) = told(fault, &[7]).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.may_be_served(), may_be_served, "{fault:?}: {error}");
        assert!(error.to_string().contains("the server a-be/a"), "{error}");
        assert_eq!(
            told.is_empty(),
            fault != Fault::ForgetsWhatItIsTold,
            "{told:?}"
        );
    }
    let (outcome, told) = told(Fault::None, &[6]).await;
    assert!(matches!(outcome, Err(RuntimeError::OtherWorker { pid: 7 })));
    assert!(told.is_empty());
}
