//! What somebody wants of a service, read from its parameters in the same way wherever they come from.

use std::sync::Arc;

use proxy_core::{
    FieldErrors, ParamWarning, Params, Parsed, Reconfigure, Remove, parse_reconfigure_with,
    parse_remove,
};

use super::ParameterRules;

/// How parameters are read.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(Default))]
pub(crate) struct Rules {
    /// The name of this proxy, where services that name another are left alone.
    pub(crate) only_instance: Option<Arc<str>>,
    /// What parameters may say.
    pub(crate) parameters: ParameterRules,
}

/// What somebody wants.
#[derive(Clone, Debug)]
pub(crate) enum Intent {
    /// That a service is so.
    Put(Parsed<Reconfigure>),
    /// That it is gone: it has no replica.
    Remove(Parsed<Remove>),
    /// Nothing of this proxy, but of the one with this name.
    NotOurs(String),
}

// === impl Rules ===

impl Rules {
    /// Reads what is wanted.
    ///
    /// # Errors
    /// Every parameter that is missing or wrong, at once.
    pub(crate) async fn read(&self, params: &Params) -> Result<Intent, FieldErrors> {
        let mut params = params.clone();
        let instance = params.take("proxyInstanceName");
        match (&self.only_instance, instance) {
            (Some(own), Some(other)) if **own != *other => return Ok(Intent::NotOurs(other)),
            _ => {}
        }
        if params.get("replicas") == Some("0") {
            // Whatever else is said of it is moot.
            let mut named = Params::default();
            for name in ["serviceName", "aclName", "distribute"] {
                let value = params.take(name).unwrap_or_default();
                // Three short names: neither limit can be passed.
                let _ = named.insert(name.to_owned(), value);
            }
            return parse_remove(&named).map(Intent::Remove);
        }
        let rules = self.parameters.for_call(&params).await;
        let hashes = ["users", "usersSecret"].map(|name| params.get(name).is_some());
        let mut parsed = match hashes.contains(&true) {
            false => parse_reconfigure_with(&params, &rules)?,
            true => {
                // A hash takes a millisecond, and there may be hundreds: it keeps nobody else waiting.
                let (asked, by) = (params.clone(), Arc::clone(&rules));
                let read = move || parse_reconfigure_with(&asked, &by);
                let read = tokio::task::spawn_blocking(read).await;
                read.unwrap_or_else(|_| parse_reconfigure_with(&params, &rules))?
            }
        };
        parsed.warnings.retain(|warning| {
            !matches!(warning, ParamWarning::Unknown { parameter } if parameter == "replicas")
        });
        Ok(Intent::Put(parsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(rules: &Rules, query: &str) -> Result<Intent, FieldErrors> {
        let params = Params::from_query(query).unwrap();
        rules.read(&params).await
    }

    #[tokio::test]
    async fn a_service_without_a_replica_is_to_go() {
        let rules = Rules::default();
        let query = "serviceName=a&servicePath=/a&port=80&replicas=";
        for some in ["1", "2", ""] {
            let intent = read(&rules, &format!("{query}{some}")).await.unwrap();
            match intent {
                Intent::Put(parsed) => assert_eq!(parsed.warnings, []),
                other => panic!("{some}: {other:?}"),
            }
        }
        let intent = read(&rules, &format!("{query}0&distribute=true"))
            .await
            .unwrap();
        match intent {
            Intent::Remove(parsed) => assert_eq!(parsed.value.service.as_str(), "a"),
            other => panic!("{other:?}"),
        }
        assert!(read(&rules, "replicas=0").await.is_err());
    }

    #[tokio::test]
    async fn a_service_of_another_proxy_is_left_alone_where_that_is_asked_for() {
        let query = "serviceName=a&servicePath=/a&port=80&proxyInstanceName=";
        let open = Rules::default();
        let only = Rules {
            only_instance: Some("here".into()),
            ..Rules::default()
        };
        for (rules, instance, ours) in [
            (&open, "there", true),
            (&only, "here", true),
            (&only, "", true),
            (&only, "there", false),
        ] {
            let intent = read(rules, &format!("{query}{instance}")).await.unwrap();
            let put = matches!(&intent, Intent::Put(parsed) if parsed.warnings.is_empty());
            assert_eq!(put, ours, "{instance}: {intent:?}");
        }
    }
}
