use super::*;
use crate::{
    Change, DeadRoute, FieldErrors, ParamWarning, Params, ReconfigureRules, ReqMode, RequestHead,
    document::Document, parse_reconfigure, parse_reconfigure_with, plan,
};

fn ask(query: &str) -> Result<crate::Parsed<crate::Reconfigure>, FieldErrors> {
    parse_reconfigure(&Params::from_query(query).unwrap())
}

fn service(query: &str) -> std::sync::Arc<Service> {
    ask(query).unwrap().value.service
}

fn table(queries: &[&str]) -> RouteTable {
    queries.iter().map(|query| service(query)).collect()
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

/// Who gets a connection on port 1.
fn who(table: &RouteTable, name: Option<&str>) -> Option<String> {
    let found = table.resolve_tcp(port(1), name.map(str::as_bytes))?;
    Some(found.service.name().to_string())
}

fn refused(query: &str) -> Vec<String> {
    let errors = ask(query).unwrap_err().errors;
    errors.into_iter().map(|error| error.parameter).collect()
}

#[test]
fn a_port_goes_to_its_service_and_requests_never_do() {
    let table = table(&[
        "serviceName=redis&reqMode=tcp&srcPort=1&port=6379",
        "serviceName=other&reqMode=tcp&srcPort=2&port=6379",
        "serviceName=web&servicePath=/&port=80",
    ]);
    for name in [None, Some("acme.com"), Some("not a name")] {
        assert_eq!(who(&table, name).as_deref(), Some("redis"), "{name:?}");
    }
    assert!(table.resolve_tcp(port(80), None).is_none());
    assert_eq!(table.tcp_ports().collect::<Vec<_>>(), [port(1), port(2)]);
    let request = RequestHead::new(None, b"/").on_port(port(1));
    let found = table.resolve(&request).unwrap();
    assert_eq!(found.service.name().as_str(), "web");
    let gone = table.with(&Change::Remove("redis".parse().unwrap()));
    assert_eq!(gone.tcp_ports().collect::<Vec<_>>(), [port(2)]);
    assert_eq!(who(&gone, None), None);
}

#[test]
fn the_most_specific_server_name_wins() {
    let table = table(&[
        "serviceName=a-default&reqMode=tcp&srcPort=1&port=1",
        "serviceName=wide&reqMode=tcp&serviceDomain=*.acme.com&srcPort=1&port=2",
        "serviceName=narrow&reqMode=sni&servicePath=*.eu.acme.com&srcPort=1&port=3",
        "serviceName=exact&reqMode=sni&serviceDomain=a.eu.acme.com&srcPort=1&port=4",
        "serviceName=part&reqMode=sni&servicePath=longest-part-of-a-name&pathType=req_ssl_sni+-m+sub&srcPort=1&port=5",
    ]);
    for (name, wanted) in [
        (Some("A.eu.Acme.com"), "exact"),
        (Some("b.eu.acme.com"), "narrow"),
        (Some("b.acme.com"), "wide"),
        (Some("the-longest-part-of-a-name.acme.com"), "part"),
        (Some("acme.com"), "a-default"),
        (Some(".acme.com"), "a-default"),
        (Some("a.acme.com:1"), "a-default"),
        (None, "a-default"),
    ] {
        assert_eq!(who(&table, name).as_deref(), Some(wanted), "{name:?}");
    }
}

#[test]
fn a_second_claim_is_told_and_loses_by_name() {
    let default = "serviceName=m&reqMode=tcp&srcPort=1&port=1";
    let before = table(&[default]);
    for (name, outcome) in [
        ("a", ConflictOutcome::HidesOther),
        ("z", ConflictOutcome::Hidden),
    ] {
        let query = format!("serviceName={name}&reqMode=tcp&srcPort=1&port=9");
        let plan = plan(&before, &[Change::Put(service(&query))]).unwrap();
        let conflict = &plan.conflicts[0];
        assert_eq!((conflict.other.as_str(), conflict.outcome), ("m", outcome));
        assert_eq!(conflict.claim.to_string(), "port 1");
        let winner = who(&plan.after, None).unwrap();
        assert_eq!(winner, if name == "a" { "a" } else { "m" });
        assert_eq!(plan.dead, Vec::<DeadRoute>::new());
    }
    for beside in [
        "serviceName=z&reqMode=tcp&srcPort=2&port=1",
        "serviceName=z&reqMode=tcp&serviceDomain=a.com&srcPort=1&port=1",
        "serviceName=z&servicePath=/&srcPort=1&port=1",
    ] {
        let plan = plan(&before, &[Change::Put(service(beside))]).unwrap();
        assert!(plan.conflicts.is_empty(), "{beside}");
    }
}

/// Of equal claims the ACL name decides, then the index, then the service's name; the text of the domain
/// never does.
#[test]
fn equal_claims_go_by_acl_name_and_index() {
    let part = |name: &str, domain: &str| {
        format!(
            "serviceName={name}&reqMode=sni&srcPort=1&port=1&pathType=req_ssl_sni+-i+-m+sub&servicePath={domain}"
        )
    };
    let two = "serviceName=m&reqMode=sni&srcPort.1=1&port.1=1&servicePath.1=zz&srcPort.2=1&port.2=2&servicePath.2=aa&pathType=req_ssl_sni+-i+-m+sub";
    let (late, early) = (part("z", "yy"), part("b", "yy") + "&aclName=zzz");
    let index = |table: &RouteTable| {
        let found = table.resolve_tcp(port(1), Some(b"aazzyy")).unwrap();
        (found.service.name().to_string(), found.destination.index())
    };
    assert_eq!(index(&table(&[two, &late])), ("m".to_owned(), 1));
    assert_eq!(index(&table(&[two, &early])), ("m".to_owned(), 1));
    let first = part("q", "yy") + "&aclName=a";
    assert_eq!(index(&table(&[two, &first])), ("q".to_owned(), 0));
}

#[test]
fn a_group_shares_its_port() {
    let member = |name: &str| {
        format!(
            "serviceName={name}&reqMode=tcp&serviceGroup=db&balanceGroup=leastconn&srcPort=1&port=9"
        )
    };
    let before = table(&[&member("b")]);
    let plan = plan(&before, &[Change::Put(service(&member("a")))]).unwrap();
    assert!(plan.conflicts.is_empty());
    let routes = plan.after.tcp_routes(port(1));
    let backends: Vec<_> = routes.iter().map(TcpRoute::backend_name).collect();
    assert_eq!(backends, ["tcpListen_db_1", "tcpListen_db_1"]);
}

#[test]
fn every_wrong_parameter_is_named() {
    assert_eq!(refused("serviceName=a&reqMode=tcp"), ["srcPort", "port"]);
    assert_eq!(
        refused("serviceName=a&reqMode=sni&srcPort=1&port=1"),
        ["serviceDomain"]
    );
    assert_eq!(
        refused("serviceName=a&reqMode=sni&servicePath=/x&pathType=path_reg&srcPort=1&port=1"),
        ["pathType", "servicePath"]
    );
    assert_eq!(
        refused(
            "serviceName=a&reqMode=tcp&srcPort=0&port=1&serviceGroup=a+b&balanceGroup=uri&checkTcp=yes&clitcpka=on&timeoutClient=1s"
        ),
        [
            "serviceGroup",
            "balanceGroup",
            "checkTcp",
            "clitcpka",
            "timeoutClient",
            "srcPort"
        ]
    );
    assert_eq!(
        refused("serviceName=a&reqMode=udp&servicePath=/&port=1"),
        ["reqMode"]
    );
    assert_eq!(
        refused("serviceName=a&reqMode.1=tcp&port.1=1"),
        ["srcPort.1"]
    );
}

#[test]
fn what_means_nothing_in_a_mode_is_told() {
    let told = |query: &str| -> Vec<String> {
        let warnings = ask(query).unwrap().warnings.into_iter();
        let parameter = |warning| match warning {
            ParamWarning::NoEffect { parameter, .. } => parameter.to_owned(),
            ParamWarning::Unknown { parameter } => format!("unknown {parameter}"),
            ParamWarning::WouldBeRefused { error } => format!("wrong {}", error.parameter),
        };
        warnings.map(parameter).collect()
    };
    assert_eq!(
        told("serviceName=a&servicePath=/&port=1&checkTcp=true&serviceGroup=x"),
        ["serviceGroup", "checkTcp"]
    );
    assert_eq!(
        told("serviceName=a&reqMode=tcp&srcPort=1&port=1&servicePath=/&userAgent=x"),
        ["servicePath", "userAgent"]
    );
    // Docker Flow Proxy looks at none of them, so they are told and not refused.
    assert_eq!(
        told(
            "serviceName=a&servicePath=/&port=1&serviceGroup=x%20y&balanceGroup=best&checkTcp=maybe&clitcpka=1&timeoutClient=5s"
        ),
        [
            "serviceGroup",
            "balanceGroup",
            "checkTcp",
            "clitcpka",
            "timeoutClient",
            "wrong serviceGroup",
            "wrong balanceGroup",
            "wrong checkTcp",
            "wrong timeoutClient",
        ]
    );
    let two = "serviceName=a&servicePath.1=/&port.1=1&servicePath.2=/b&port.2=1&timeoutClient=5s";
    assert_eq!(told(two), ["timeoutClient", "wrong timeoutClient"]);
    let warnings = ask(two).unwrap().warnings;
    let words = warnings.last().unwrap().to_string();
    assert!(
        words.contains("\"5s\"") && words.contains("whole number of seconds"),
        "{words}"
    );
    let sni = "serviceName=a&reqMode=sni&srcPort=1&port=1&servicePath=a.com&pathType=req_ssl_sni";
    assert_eq!(told(sni), Vec::<String>::new());
}

#[test]
fn one_service_may_take_both_requests_and_connections() {
    let both = service(
        "serviceName=a&servicePath.1=/x&port.1=80&reqMode.2=tcp&srcPort.2=1&port.2=81&checkTcp.2=true&clitcpka.2=true&timeoutClient.2=60",
    );
    let table: RouteTable = [std::sync::Arc::clone(&both)].into_iter().collect();
    let found = table.resolve_tcp(port(1), None).unwrap();
    assert_eq!(found.backend_name(), "a-be81_2");
    let tcp = &found.destination.options().tcp;
    assert!(tcp.check && tcp.client_keep_alive);
    assert_eq!(tcp.client_timeout.map(crate::Seconds::get), Some(60));
    assert_eq!(table.routes_by_rank().len(), 1);
    // A document holds all of it.
    let document = Document::from_service(std::sync::Arc::clone(&both)).unwrap();
    let read = Document::parse(document.raw().as_bytes()).unwrap();
    assert_eq!(read.service().unwrap(), &both);
}

#[test]
fn a_destination_that_says_no_mode_has_the_rules_own() {
    let rules = ReconfigureRules::default().with_default_mode(ReqMode::Tcp);
    let ask = |query: &str| parse_reconfigure_with(&Params::from_query(query).unwrap(), &rules);
    let asked = ask("serviceName=a&srcPort=1&port=1").unwrap().value.service;
    assert_eq!(asked.destinations()[0].mode(), ReqMode::Tcp);
    let asked = ask("serviceName=a&servicePath=/&port=1&reqMode=http").unwrap();
    assert_eq!(asked.value.service.destinations()[0].mode(), ReqMode::Http);
}

#[test]
fn a_port_of_connections_is_bound_for_them_and_needs_no_other() {
    let rules = ReconfigureRules::default().with_entry_ports(vec![Port::new(80).unwrap()]);
    let told = |query: &str| {
        let params = Params::from_query(query).unwrap();
        let parsed = parse_reconfigure_with(&params, &rules).unwrap();
        parsed.warnings.len()
    };
    assert_eq!(told("serviceName=a&reqMode=tcp&srcPort=6379&port=1"), 0);
    assert_eq!(told("serviceName=a&servicePath=/&srcPort=80&port=1"), 0);
    assert_eq!(told("serviceName=a&servicePath=/&srcPort=6379&port=1"), 1);
}
