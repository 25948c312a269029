use proxy_core::{Params, RouteTable, UserList, parse_reconfigure};
use secrecy::SecretString;

use super::*;
use crate::{
    AccessLog, AddressBook, Bind, BindAddress, Extras, RenderSettings, RunPath, StatsPage,
    render::whole,
};

/// Services of every kind of backend that the template tells apart.
fn table(count: usize) -> RouteTable {
    let kinds = [
        "",
        "&outboundHostname=h.acme.com",
        "&addReqHeader=X-A%20a&backendExtra=retries%202",
        "&users=admin:secret",
        "&httpsOnly=true&sessionType=sticky-server",
        "&serviceDomain=acme.com,*.b.com&serviceHeader=X-A:%25[src]&userAgent=a/8&srcPort=81",
        "&servicePathExclude=/a/%25b&reqPathSearchReplace=^/a(.*),/b%5C1&reqMode=http",
        "&serviceDomain=www.acme.com&redirectFromDomain=old.com,*.old.org&deniedMethods=PUT",
        "&addResHeader=X-B%20%25[src]&delReqHeader=X-C&sslVerifyNone=true&verifyClientSsl=true",
        "&reqMode=sni&srcPort=9443&serviceDomain=sni.acme.com",
        "&httpsPort=8443&timeoutServer=9&compressionAlgo=gzip&compressionType=text/html",
    ];
    let query = |nth: usize| {
        let kind = kinds.get(nth % kinds.len()).unwrap();
        let path = match kind.contains("reqMode=sni") {
            true => String::new(),
            false => format!("&servicePath=/s{nth}"),
        };
        format!("serviceName=s{nth}&port=80{path}{kind}")
    };
    let service = |query: String| {
        let params = Params::from_query(&query).unwrap();
        parse_reconfigure(&params).unwrap().value.service
    };
    (0..count).map(query).map(service).collect()
}

fn settings(template: &str) -> RenderSettings {
    let password = SecretString::from("geheim".to_owned());
    let users = UserList::of_one("ann".parse().unwrap(), &password).unwrap();
    let mut extras = Extras::default();
    extras.log.http = Some("%ci [%tr] %{+Q}r".parse().unwrap());
    extras.log.tcp = Some("%ci %b".parse().unwrap());
    extras.captures = vec!["Host:40".parse().unwrap()];
    extras.stats = Some(StatsPage::new("/a(b)?stats".parse().unwrap(), users));
    RenderSettings::new(RunPath::new("/r").unwrap())
        .with_binds(vec![Bind::plain(BindAddress::Any, "80".parse().unwrap())])
        .with_access_log(AccessLog::Stdout)
        .with_extras(extras)
        .with_nameservers(vec!["127.0.0.11:53".parse().unwrap()])
        .with_template(Template::new(template).unwrap())
}

fn rendered(table: &RouteTable, template: &str, sections: &mut Sections) -> String {
    let whole = whole(table, &settings(template), &AddressBook::new(), sections);
    whole.unwrap().config.main_text().to_owned()
}

#[test]
fn parts_make_what_the_whole_template_makes() {
    // The same text to the engine, and not the suite's own.
    let whole = format!("{}{{# #}}", Template::DEFAULT_TEXT);
    for count in [0, 1, 40, MANY + 500] {
        let table = table(count);
        let in_parts = rendered(&table, Template::DEFAULT_TEXT, &mut Sections::default());
        let at_once = rendered(&table, &whole, &mut Sections::default());
        assert!(
            in_parts == at_once,
            "with {count} services:\n{in_parts}\n---\n{at_once}"
        );
    }
}

#[test]
fn what_stays_as_it_is_is_not_rendered_again() {
    let mut sections = Sections::default();
    let places = |sections: &Sections| -> Vec<_> {
        let groups = sections.groups.iter();
        groups.map(|group| group.text.as_ptr()).collect()
    };
    let before = table(400);
    let first = rendered(&before, Template::DEFAULT_TEXT, &mut sections);
    let known = places(&sections);
    assert!(known.len() > 4, "{} groups", known.len());

    let after = table(401);
    let second = rendered(&after, Template::DEFAULT_TEXT, &mut sections);
    let new = places(&sections);
    let rendered_again = new.iter().filter(|place| !known.contains(place)).count();
    assert!(rendered_again <= 2, "{rendered_again} of {}", new.len());
    let anew = rendered(&after, Template::DEFAULT_TEXT, &mut Sections::default());
    assert_eq!(second, anew);
    let back = rendered(&before, Template::DEFAULT_TEXT, &mut sections);
    assert_eq!(back, first);
}
