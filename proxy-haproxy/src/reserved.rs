//! The names of ACLs that are kept for routes and for templates of services: for whoever lets an operator
//! declare others beside them.
//!
//! HAProxy joins ACLs of one name by "or", whoever declared them. A line that declares one that is made from
//! a route sends other requests to that route's service, and HAProxy says nothing.

use proxy_core::RawLines;

use crate::line::{declared_acl, words};

/// What the names begin with that are made from routes.
pub const RESERVED_ACL_PREFIXES: [&str; 6] =
    ["agent_", "domain_", "excluded_", "header_", "port_", "url_"];

/// Stands between a service and the name that its template declares.
const OF_TEMPLATES: &str = "::";

/// The ACLs that these lines declare, and that a route or a template of a service may have as well: those that begin
/// with one of [`RESERVED_ACL_PREFIXES`], or hold `::`.
#[must_use]
pub fn reserved_acls(lines: &RawLines) -> Vec<String> {
    let is_reserved = |name: &String| {
        name.contains(OF_TEMPLATES)
            || RESERVED_ACL_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
    };
    let declared = lines.iter().filter_map(|line| {
        let words = words(line);
        declared_acl(&words).map(crate::line::Word::text)
    });
    declared.filter(is_reserved).collect()
}

#[cfg(test)]
mod tests {
    use proxy_core::{Params, RouteTable, parse_reconfigure};

    use super::*;
    use crate::{AddressBook, RenderSettings, Routing, RunPath, render};

    fn reserved(lines: &str) -> Vec<String> {
        reserved_acls(&lines.parse().unwrap())
    }

    #[test]
    fn names_of_an_operators_own_are_free() {
        let free = "acl office src 10.0.0.0/8\nacl my_url_x path /x\nacl\n# acl url_x path /\n\
                    http-request deny if url_x !office\nacl URL_x path /";
        assert!(reserved(free).is_empty());
        let taken = "acl office src 10.0.0.0/8\nacl url_web8080 path /\nacl 'domain_web' path /\n\
                     acl \\x75rl_b path /\nacl web::a path /";
        assert_eq!(
            reserved(taken),
            ["url_web8080", "domain_web", "url_b", "web::a"]
        );
    }

    #[test]
    fn every_name_that_is_made_from_a_route_is_kept() {
        let query = "serviceName=web&port=80&servicePath=/a&serviceDomain=acme.com&userAgent=curl\
                     &serviceHeader=X-A:b&srcPort=81&servicePathExclude=/a/b";
        let params = Params::from_query(query).unwrap();
        let service = parse_reconfigure(&params).unwrap().value.service;
        let table: RouteTable = [service].into_iter().collect();
        let settings = RenderSettings::new(RunPath::new("/r").unwrap()).with_routing(Routing::Acl);
        let config = render(&table, &settings, &AddressBook::new()).unwrap();
        let lines = config.main_text().lines().map(str::trim);
        let declared: Vec<&str> = lines.filter(|line| line.starts_with("acl ")).collect();
        let kept = reserved(&declared.join("\n"));
        assert_eq!(kept.len(), declared.len(), "{declared:#?}");
        for prefix in RESERVED_ACL_PREFIXES {
            let is_made = kept.iter().any(|name| name.starts_with(prefix));
            assert!(is_made, "{prefix} of {kept:?}");
        }
    }
}
