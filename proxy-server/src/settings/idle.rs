//! Settings of Docker Flow Proxy that have nothing to set here, and why.

use super::SettingsSource;

/// Each with what is done instead. They are accepted, and named once at the start.
pub(super) const IDLE_SETTINGS: &[(&str, &str)] = &[
    (
        "CERTS",
        "certificates are read from CERTS_PATH and from secrets",
    ),
    (
        "DEFAULT_PROTOCOL",
        "services from the environment take DEFAULT_REQ_MODE, as all others do",
    ),
    (
        "DNS_LOOKUP_PAUSE_MS",
        "names are looked up all at once and followed, and nothing waits for them",
    ),
    (
        "DO_NOT_RESOLVE_ADDR",
        "a name that does not resolve keeps no service from being configured",
    ),
    (
        "HEALTHCHECK",
        "the image's health check asks /readyz; leave it out with `docker service create --no-healthcheck`",
    ),
    (
        "RECONFIGURE_ATTEMPTS",
        "a change is checked once, and what could not be done is tried again without a limit",
    ),
    ("RELOAD_ATTEMPTS", "listeners are asked until they answer"),
    (
        "SKIP_ADDRESS_VALIDATION",
        "addresses are never a reason to refuse a service",
    ),
    (
        "TERMINATE_ON_RELOAD",
        "a replaced worker finishes what it has begun, for at most an hour",
    ),
];

/// Those of them that a source has, and why they do nothing.
pub(crate) fn idle(source: &dyn SettingsSource) -> Vec<(&'static str, &'static str)> {
    let given = |name: &str| source.get(name).is_ok_and(|value| value.is_some());
    let idle = IDLE_SETTINGS.iter().copied();
    idle.filter(|(name, _)| given(name)).collect()
}
