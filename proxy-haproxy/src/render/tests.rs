use std::sync::Arc;

use proxy_core::{Params, Service, parse_reconfigure};

use super::*;
use crate::{Bind, BindAddress, RunPath};

fn service(query: &str) -> Arc<Service> {
    let params = Params::from_query(query).unwrap();
    parse_reconfigure(&params).unwrap().value.service
}

fn table(queries: &[&str]) -> RouteTable {
    queries.iter().map(|query| service(query)).collect()
}

fn settings() -> RenderSettings {
    let binds = ["80", "443"].map(|port| Bind::plain(BindAddress::Any, port.parse().unwrap()));
    RenderSettings::new(RunPath::new("/var/run/proxy").unwrap())
        .with_binds(binds.to_vec())
        .with_nameservers(vec!["127.0.0.11:53".parse().unwrap()])
}

#[test]
fn story() {
    let table = table(&["serviceName=go-demo&servicePath=/demo&port=8080", "serviceName=b&serviceDomain=*.Acme.com,acme.com&port=80"]);
    println!("{}", render(&table, &settings(), &AddressBook::new()).unwrap().main_text());
}
