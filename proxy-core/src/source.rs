//! Where a service comes from, where that is not an operator, and which source's wish an operator has
//! overruled.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{document::Document, service::Service};

/// Whoever keeps a service as it is, and may take it away again. A service without a source is an
/// operator's: no list that lacks it removes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Source {
    /// The list of a swarm listener, which is fetched again and again.
    Listener,
    /// The labels of a service of Docker Swarm.
    Docker,
    /// The environment of the replicas, which is read when one starts.
    Environment,
}

/// What a source wanted of a service when an operator wanted something else: the operator's word stands
/// until the source wants another thing than this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overruled {
    source: Source,
    wish: String,
}

// === impl Source ===

impl Source {
    /// One word for answers, logs and documents.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Docker => "docker",
            Self::Environment => "environment",
        }
    }
}

// === impl Overruled ===

impl Overruled {
    /// The source.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether this is what the source wanted then.
    #[must_use]
    pub fn is(&self, wish: &Service) -> bool {
        self.wish == digest(wish)
    }
}

// === impl Service ===

impl Service {
    /// The same service, kept by this source.
    #[must_use]
    pub fn with_source(self, source: Option<Source>) -> Self {
        let mut options = self.options().clone();
        (options.source, options.overruled) = (source, None);
        self.with_options(options)
    }

    /// Who keeps it as it is, where that is not an operator.
    #[must_use]
    pub fn source(&self) -> Option<Source> {
        self.options().source
    }

    /// Whose wish an operator has overruled with this.
    #[must_use]
    pub fn overruled(&self) -> Option<&Overruled> {
        self.options().overruled.as_ref()
    }

    /// Whether another version of the service is the same but for who keeps it.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.options().says_the_same_as(other.options()) && self.is_same_but_for_options(other)
    }

    /// The same service as an operator says it who has it from a record of what was: whoever kept it then does
    /// not say it now.
    #[must_use]
    pub fn said_by_an_operator(self: Arc<Self>) -> Arc<Self> {
        match self.source() {
            Some(_) => Arc::new(Arc::unwrap_or_clone(self).with_source(None)),
            None => self,
        }
    }

    /// This service as an operator puts it in the place of what is there: what says the same stays whose it
    /// is, and of what a source keeps it is noted what the source wanted. What comes from a source is left
    /// as it is.
    #[must_use]
    pub fn put_over(self: Arc<Self>, there: Option<&Arc<Self>>) -> Arc<Self> {
        let Some(there) = there.filter(|_| self.source().is_none()) else {
            return self;
        };
        if self.says_the_same_as(there) {
            return Arc::clone(there);
        }
        let overruled = match there.source() {
            Some(source) => Some(Overruled {
                source,
                wish: digest(there),
            }),
            None => there.overruled().cloned(),
        };
        if overruled.as_ref() == self.overruled() {
            return self;
        }
        let mut options = self.options().clone();
        options.overruled = overruled;
        Arc::new(Arc::unwrap_or_clone(self).with_options(options))
    }
}

/// What a service says, whoever keeps it: the first half of a SHA-256 over its document.
fn digest(service: &Service) -> String {
    let nobodys = Arc::new(service.clone().with_source(None));
    let document = Document::from_service(nobodys);
    let mut sha = Sha256::new();
    // One that is too large for a document is in no table, and nothing is held against it.
    sha.update(document.as_ref().map_or("", Document::raw));
    let half = sha.finalize().into_iter().take(16);
    half.map(|byte| Hex(byte).to_string()).collect()
}

struct Hex(u8);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Params, parse_reconfigure};

    fn service(query: &str) -> Arc<Service> {
        let params = Params::from_query(query).unwrap();
        parse_reconfigure(&params).unwrap().value.service
    }

    fn of(source: Source, query: &str) -> Arc<Service> {
        Arc::new(Arc::unwrap_or_clone(service(query)).with_source(Some(source)))
    }

    const FIRST: &str = "serviceName=a&servicePath=/a&port=80";
    const SECOND: &str = "serviceName=a&servicePath=/a&port=81";
    const THIRD: &str = "serviceName=a&servicePath=/a&port=80&sessionType=sticky-server";

    #[test]
    fn an_operators_word_says_what_it_overrules() {
        let kept = of(Source::Docker, FIRST);
        let put = service(SECOND).put_over(Some(&kept));
        let overruled = put.overruled().unwrap();
        assert_eq!(put.source(), None);
        assert_eq!(overruled.source(), Source::Docker);
        assert!(overruled.is(&kept) && overruled.is(&service(FIRST)));
        assert!(!overruled.is(&of(Source::Docker, SECOND)));
        assert!(!overruled.is(&of(Source::Docker, THIRD)));
        // It survives the next word, and the way through a document.
        let again = service(THIRD).put_over(Some(&put));
        assert_eq!(again.overruled(), put.overruled());
        let document = Document::from_service(again).unwrap();
        let read = Document::parse(document.raw().as_bytes()).unwrap();
        assert_eq!(read.service().unwrap().overruled(), put.overruled());
        // And ends with what a source puts.
        assert_eq!(of(Source::Docker, THIRD).overruled(), None);
        let mine = Arc::unwrap_or_clone(put).with_source(Some(Source::Docker));
        assert_eq!(mine, *of(Source::Docker, SECOND));
    }

    #[test]
    fn what_says_the_same_stays_whose_it_is() {
        let kept = of(Source::Docker, FIRST);
        assert!(Arc::ptr_eq(&service(FIRST).put_over(Some(&kept)), &kept));
        let put = service(SECOND).put_over(Some(&kept));
        assert!(Arc::ptr_eq(&service(SECOND).put_over(Some(&put)), &put));
        assert!(!service(THIRD).says_the_same_as(&kept));
        assert!(!service(SECOND).says_the_same_as(&kept));
        // A source says for itself whose it is.
        let theirs = of(Source::Listener, FIRST);
        assert!(Arc::ptr_eq(
            &Arc::clone(&theirs).put_over(Some(&kept)),
            &theirs
        ));
        let plain = service(FIRST);
        assert!(Arc::ptr_eq(&Arc::clone(&plain).put_over(None), &plain));
    }

    #[test]
    fn a_source_is_in_the_document_and_costs_no_one_else() {
        let params = Params::from_query("serviceName=a&servicePath=/a&port=80").unwrap();
        let own = parse_reconfigure(&params).unwrap().value.service;
        assert_eq!(own.source(), None);
        let plain = Document::from_service(Arc::clone(&own)).unwrap();
        assert!(plain.raw().contains("\"version\":1"), "{}", plain.raw());
        for source in [Source::Listener, Source::Docker, Source::Environment] {
            let marked = Service::clone(&own).with_source(Some(source));
            let document = Document::from_service(Arc::new(marked.clone())).unwrap();
            assert!(
                document.raw().contains("\"version\":2"),
                "{}",
                document.raw()
            );
            assert!(document.raw().contains(source.word()), "{}", document.raw());
            let read = Document::parse(document.raw().as_bytes()).unwrap();
            assert_eq!(read.service().unwrap().source(), Some(source));
            assert_eq!(marked.with_source(None), *own);
        }
    }
}
