//! A service under Docker Flow Proxy's capitalised names.

use proxy_core::{
    Authorization, Balance, Checks, ClientCertificates, Destination, GroupName, HostChecks, Leg,
    PathPattern, Seconds, Service, ServiceTls,
};
use serde_json::{Map, Value, json};

mod options;

/// `ServiceName`, `AclName`, ..., with the destinations in `ServiceDest`. The fields of the first
/// destination also stand at the top, where the version of 2016 has them.
pub(super) fn service_json(service: &Service) -> Map<String, Value> {
    let mut fields = Map::new();
    let destinations: Vec<Value> = service
        .destinations()
        .iter()
        .filter(|destination| !destination.is_listed_again())
        .map(|destination| Value::Object(destination_json(destination)))
        .collect();
    if let Some(first) = service.destinations().first() {
        fields = destination_json(first);
        fields.remove("Index");
    }
    fields.insert("ServiceName".into(), service.name().as_str().into());
    fields.insert("AclName".into(), service.acl_name().as_str().into());
    let color = service.color().map(|color| color.as_str());
    fields.insert("ServiceColor".into(), color.into());
    options::add_to_service(&mut fields, service.options());
    let source = service.source().map(proxy_core::Source::word);
    fields.insert("Source".into(), source.into());
    let overruled = service
        .overruled()
        .map(|overruled| overruled.source().word());
    fields.insert("Overrules".into(), overruled.into());
    let upstream = &service.options().upstream;
    fields.insert("DiscoveryType".into(), upstream.discovery.word().into());
    fields.insert("SessionType".into(), upstream.session.word().into());
    let checked = upstream.host_checks == HostChecks::On;
    fields.insert("CheckResolvers".into(), checked.into());
    let replicas = upstream.replicas.map(proxy_core::Replicas::get);
    fields.insert("Replicas".into(), replicas.into());
    let skipped = upstream.checks == Checks::Skipped;
    fields.insert("SkipCheck".into(), skipped.into());
    fields.insert("ServiceDest".into(), destinations.into());
    // Without their passwords, hashed as they are.
    let users = service.options().users.iter();
    let users = users.map(|(name, _)| json!({ "Username": name.as_str(), "PassEncrypted": true }));
    fields.insert("Users".into(), users.collect());
    fields
}

fn destination_json(destination: &Destination) -> Map<String, Value> {
    let paths: Vec<&str> = destination.paths().iter().map(PathPattern::text).collect();
    let redirect = destination.options().domain_redirect.as_ref();
    let redirected = redirect.map(|redirect| redirect.from()).unwrap_or_default();
    let domains: Vec<String> = destination
        .domains()
        .iter()
        .filter(|domain| !redirected.contains(domain))
        .map(ToString::to_string)
        .collect();
    let kind = destination.paths().first().map(|path| path.kind().fetch());
    let host = destination.outbound_hostname().map(ToString::to_string);
    let excluded: Vec<&str> = destination
        .excluded_paths()
        .iter()
        .map(PathPattern::text)
        .collect();
    let agents: Vec<&str> = destination
        .user_agents()
        .iter()
        .map(|agent| agent.as_str())
        .collect();
    let headers: Map<String, Value> = destination
        .headers()
        .iter()
        .map(|header| (header.name().to_owned(), header.value().into()))
        .collect();
    let https = destination.options().https;
    // One for HTTPS alone has no other port.
    let port = match (destination.leg(), destination.port()) {
        (Leg::Plain, Some(port)) => port.to_string(),
        _ => String::new(),
    };
    let tcp = &destination.options().tcp;
    let object = json!({
        "Index": destination.index(),
        "Port": port,
        "HttpsPort": https.map(|https| https.port.get()),
        "SrcHttpsPort": https.map(|https| https.entry_port.get()),
        "ServicePath": paths,
        "ServiceDomain": domains,
        "PathType": kind,
        "OutboundHostname": host,
        "ReqMode": destination.mode().as_str(),
        "ServiceGroup": tcp.group.as_ref().map(GroupName::as_str),
        "BalanceGroup": tcp.balance.map(Balance::as_str),
        "CheckTCP": tcp.check,
        "Clitcpka": tcp.client_keep_alive,
        "TimeoutClient": tcp.client_timeout.map(Seconds::get),
        "SslVerifyNone": destination.options().tls.to_service == ServiceTls::Unverified,
        "VerifyClientSsl": destination.options().tls.clients == ClientCertificates::Required,
        "SrcPort": destination.entry_port().map(proxy_core::Port::get),
        "ServicePathExclude": excluded,
        "UserAgent": { "Value": agents },
        "ServiceHeader": headers,
        "IgnoreAuthorization": destination.options().authorization == Authorization::Ignored,
    });
    let mut fields = match object {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    options::add_to_destination(&mut fields, destination.options());
    fields
}
