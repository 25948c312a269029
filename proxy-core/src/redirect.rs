//! Requests that are sent elsewhere, or away, for how they came: without TLS, or for another domain.

use serde::{Deserialize, Serialize};

use crate::{
    closed::closed_set,
    domain::{Domain, DomainPattern},
    options::is_default,
};

/// The most domains of which one destination's requests are redirected. HAProxy reads 64 words a line.
pub const MAX_REDIRECTED_DOMAINS: usize = 40;

closed_set! {
    /// The status of a redirect.
    #[derive(Default)]
    RedirectCode {
        /// Moved for good.
        Moved = "301",
        /// Found elsewhere for now.
        #[default]
        Found = "302",
        /// To be got elsewhere, whatever the method was.
        SeeOther = "303",
        /// Elsewhere for now, with the same method.
        Temporary = "307",
        /// Elsewhere for good, with the same method.
        Permanent = "308",
    }
}

closed_set! {
    /// What becomes of a request that came without TLS.
    #[derive(Default)]
    PlainHttp {
        /// It is served as any.
        #[default]
        Served = "served",
        /// It is redirected to https.
        Redirected = "redirected",
        /// It is answered with 403.
        Denied = "denied",
    }
}

closed_set! {
    /// What becomes of a request for what `X-Forwarded-Proto` said when it came: for proxies behind
    /// something that ends TLS. Where it is looked at, the service is told the same.
    #[derive(Default)]
    ForwardedProto {
        /// The header is not looked at.
        #[default]
        Ignored = "ignored",
        /// `http` is redirected to https.
        RedirectHttp = "redirect-http",
        /// All but `https` is redirected to https; without the header, all that came without TLS.
        RedirectUnlessHttps = "redirect-unless-https",
    }
}

/// Which requests a destination redirects to https or denies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpsRules {
    /// Requests without TLS.
    #[serde(skip_serializing_if = "is_default")]
    pub plain_http: PlainHttp,
    /// With which status requests are redirected to https.
    #[serde(skip_serializing_if = "is_default")]
    pub redirect_code: RedirectCode,
}

/// Domains whose requests are redirected (301) to the same path of another one. They are among the
/// destination's domains, so that their requests reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WireRedirect", into = "WireRedirect")]
pub struct DomainRedirect {
    from: Vec<DomainPattern>,
    to: Domain,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRedirect {
    from: Vec<DomainPattern>,
    to: DomainPattern,
}

/// Why domains cannot be redirected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedirectError {
    /// There is no domain to redirect to.
    #[error("serviceDomain names no whole domain to redirect to")]
    NoTarget,
    /// The destination serves the domain.
    #[error("{0} covers the serviceDomain {1}, which would not be served")]
    Served(DomainPattern, DomainPattern),
    /// It is compared in another way than as a whole or by its end.
    #[error("{0} is neither a whole domain nor a wildcard")]
    Compared(DomainPattern),
}

// === impl DomainRedirect ===

impl DomainRedirect {
    /// Redirects to the first whole domain of those that a destination serves.
    ///
    /// # Errors
    /// When it serves none, or one of the others would be redirected.
    pub fn new(from: Vec<DomainPattern>, served: &[DomainPattern]) -> Result<Self, RedirectError> {
        let to = served.iter().find_map(|domain| match domain {
            DomainPattern::Exact(domain) => Some(domain.clone()),
            _ => None,
        });
        let to = to.ok_or(RedirectError::NoTarget)?;
        for pattern in &from {
            if !matches!(
                pattern,
                DomainPattern::Exact(_) | DomainPattern::Wildcard(_)
            ) {
                return Err(RedirectError::Compared(pattern.clone()));
            }
            // A wildcard may cover the target itself, which is never redirected.
            let covered = served.iter().find(|domain| match (pattern, domain) {
                (DomainPattern::Wildcard(_), DomainPattern::Exact(served)) => {
                    *served != to && pattern.matches(served.as_str())
                }
                (pattern, served) => *pattern == **served,
            });
            if let Some(covered) = covered {
                return Err(RedirectError::Served(pattern.clone(), covered.clone()));
            }
        }
        Ok(Self { from, to })
    }

    /// The domains whose requests are redirected.
    #[must_use]
    pub fn from(&self) -> &[DomainPattern] {
        &self.from
    }

    /// Where to.
    #[must_use]
    pub fn to(&self) -> &Domain {
        &self.to
    }
}

impl TryFrom<WireRedirect> for DomainRedirect {
    type Error = RedirectError;

    fn try_from(wire: WireRedirect) -> Result<Self, RedirectError> {
        Self::new(wire.from, &[wire.to])
    }
}

impl From<DomainRedirect> for WireRedirect {
    fn from(redirect: DomainRedirect) -> Self {
        Self {
            from: redirect.from,
            to: DomainPattern::Exact(redirect.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(texts: &[&str]) -> Vec<DomainPattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_first_whole_domain_is_the_target() {
        let redirect = DomainRedirect::new(
            domains(&["old.com", "*.acme.com"]),
            &domains(&["*.x.com", "www.acme.com", "b.com"]),
        );
        assert_eq!(redirect.unwrap().to().as_str(), "www.acme.com");
    }

    #[test]
    fn what_is_served_is_not_redirected() {
        let refused = |from: &[&str], served: &[&str]| {
            DomainRedirect::new(domains(from), &domains(served)).unwrap_err()
        };
        assert_eq!(refused(&["a.com"], &["*.b.com"]), RedirectError::NoTarget);
        assert!(matches!(
            refused(&["a.com"], &["a.com"]),
            RedirectError::Served(..)
        ));
        assert!(matches!(
            refused(&["*.acme.com"], &["www.acme.com", "api.acme.com"]),
            RedirectError::Served(..)
        ));
        assert!(matches!(
            refused(&["*.a.com"], &["b.com", "*.a.com"]),
            RedirectError::Served(..)
        ));
    }
}
