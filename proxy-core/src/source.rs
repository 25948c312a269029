//! Where a service comes from, where that is not an operator.

use serde::{Deserialize, Serialize};

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
}

// === impl Source ===

impl Source {
    /// One word for answers, logs and documents.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Docker => "docker",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Document, Params, Service, parse_reconfigure};

    #[test]
    fn a_source_is_in_the_document_and_costs_no_one_else() {
        let params = Params::from_query("serviceName=a&servicePath=/a&port=80").unwrap();
        let own = parse_reconfigure(&params).unwrap().value.service;
        assert_eq!(own.source(), None);
        let plain = Document::from_service(Arc::clone(&own)).unwrap();
        assert!(plain.raw().contains("\"version\":1"), "{}", plain.raw());
        for source in [Source::Listener, Source::Docker] {
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
