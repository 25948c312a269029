//! What of our environment HAProxy must not have, for whoever starts it.

use proxy_haproxy::Program;

use super::{DEFINITIONS, HaproxySettings, Sensitivity, elsewhere::PREFIX};

impl HaproxySettings {
    /// The HAProxy that is checked with and run, without our secrets.
    pub(crate) fn program(&self) -> Program {
        Program::new(&self.binary).without_variables(secret_variables())
    }
}

/// The variables that hold secrets. HAProxy puts `${NAME}` into whatever its configuration says, and parts of
/// that come from others: templates and raw lines of services, the catalog's values in them.
fn secret_variables() -> Vec<String> {
    let secrets = DEFINITIONS
        .iter()
        .filter(|definition| definition.sensitivity == Sensitivity::Secret);
    let services = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with(PREFIX));
    secrets
        .map(|definition| definition.name.to_owned())
        .chain(services)
        .collect()
}
