//! Whether two routes can match the same request. Says yes where it cannot tell.

use proxy_core::{DomainPattern, PathKind, PathPattern, Route};

pub(super) fn may_overlap(a: &Route<'_>, b: &Route<'_>) -> bool {
    let ports = (a.destination.entry_port(), b.destination.entry_port());
    let ports_apart = matches!(ports, (Some(a), Some(b)) if a != b);
    !ports_apart && domains_may_overlap(a.domain, b.domain) && paths_may_overlap(a.path, b.path)
}

fn domains_may_overlap(a: Option<&DomainPattern>, b: Option<&DomainPattern>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return true;
    };
    match (a, b) {
        (DomainPattern::Exact(a), DomainPattern::Exact(b)) => a == b,
        (DomainPattern::Exact(exact), wildcard @ DomainPattern::Wildcard(_))
        | (wildcard @ DomainPattern::Wildcard(_), DomainPattern::Exact(exact)) => {
            wildcard.matches(exact.as_str())
        }
        (DomainPattern::Wildcard(a), DomainPattern::Wildcard(b)) => {
            let below =
                |a: &str, b: &str| a.strip_suffix(b).is_some_and(|rest| rest.ends_with('.'));
            a == b || below(a.as_str(), b.as_str()) || below(b.as_str(), a.as_str())
        }
        _ => true,
    }
}

fn paths_may_overlap(a: &PathPattern, b: &PathPattern) -> bool {
    let nested =
        |inside: fn(&str, &str) -> bool| inside(a.text(), b.text()) || inside(b.text(), a.text());
    match (a.kind(), b.kind()) {
        (PathKind::Exact, PathKind::Exact) => a.text() == b.text(),
        // Compiling an expression for a guess that may be answered with yes is not worth it.
        (PathKind::Regex, _) | (_, PathKind::Regex) => true,
        (PathKind::Exact, _) => b.matches(a.text().as_bytes()),
        (_, PathKind::Exact) => a.matches(b.text().as_bytes()),
        (PathKind::Prefix, PathKind::Prefix) => nested(|a, b| a.starts_with(b)),
        (PathKind::Suffix, PathKind::Suffix) => nested(|a, b| a.ends_with(b)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(kind: &str, text: &str) -> PathPattern {
        PathPattern::new(kind.parse().unwrap(), text).unwrap()
    }

    #[test]
    fn paths_that_share_no_request_are_apart() {
        let apart = [
            (path("path_beg", "/a"), path("path_beg", "/b")),
            (path("path", "/a"), path("path_beg", "/ab")),
            (path("path", "/a"), path("path_end", ".php")),
            (path("path_end", ".js"), path("path_end", ".php")),
        ];
        for (a, b) in &apart {
            assert!(
                !paths_may_overlap(a, b) && !paths_may_overlap(b, a),
                "{a} and {b}"
            );
        }
        let together = [
            (path("path_beg", "/a"), path("path_beg", "/a/b")),
            (path("path", "/a/x"), path("path_beg", "/a")),
            (path("path_beg", "/a"), path("path_end", ".php")),
            (path("path_reg", "^/b"), path("path_beg", "/a")),
        ];
        for (a, b) in &together {
            assert!(
                paths_may_overlap(a, b) && paths_may_overlap(b, a),
                "{a} and {b}"
            );
        }
    }

    #[test]
    fn domains_that_share_no_host_are_apart() {
        let overlap = |a: &str, b: &str| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            let there = domains_may_overlap(Some(&a), Some(&b));
            assert_eq!(there, domains_may_overlap(Some(&b), Some(&a)));
            there
        };
        assert!(!overlap("a.com", "b.com"));
        assert!(!overlap("*.acme.com", "acme.com"));
        assert!(!overlap("*.acme.com", "*.xacme.com"));
        assert!(overlap("*.acme.com", "a.acme.com"));
        assert!(overlap("*.acme.com", "*.a.acme.com"));
        let any = "a.com".parse().unwrap();
        assert!(domains_may_overlap(None, Some(&any)));
    }
}
