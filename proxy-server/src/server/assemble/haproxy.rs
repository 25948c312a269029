//! What HAProxy is told in every configuration, from the settings.

use std::{fs, net::SocketAddr};

use anyhow::Context;
use proxy_haproxy::{
    AccessLog, Bind, BindAddress, NameResolver, RenderSettings, RunPath, Template, Timeouts,
    TlsMode,
};

use crate::{
    carrier::CarrierSettings,
    patience::Patience,
    server::error_files::extras,
    settings::{self, EntryTls, HaproxySettings},
};

/// Looks up names as the settings say.
pub(super) fn resolver(settings: &HaproxySettings) -> anyhow::Result<NameResolver> {
    let resolver = match settings.dns_servers.as_slice() {
        [] => NameResolver::system()?,
        servers => NameResolver::new(servers.to_vec(), Vec::new())?,
    };
    Ok(resolver.with_hosts_file(&settings.hosts_file))
}

/// What the carrier needs to know.
pub(super) fn carrier_settings(
    settings: &HaproxySettings,
    resolver: &NameResolver,
    api: SocketAddr,
) -> anyhow::Result<CarrierSettings> {
    let run = RunPath::new(&settings.run_path).context("RUN_PATH cannot be used")?;
    let address = settings
        .bind_address
        .map_or(BindAddress::Any, BindAddress::Ip);
    let binds = settings.ports.iter().map(|entry| {
        Bind::plain(address, entry.port).with_tls(match entry.tls {
            EntryTls::Plain => TlsMode::Plain,
            EntryTls::WhenCertificate => TlsMode::TlsWhenCertificate,
        })
    });
    let timeouts = &settings.timeouts;
    let mut haproxy = Timeouts::default();
    haproxy.connect = timeouts.connect;
    haproxy.client = timeouts.client;
    haproxy.server = timeouts.server;
    haproxy.queue = timeouts.queue;
    haproxy.http_request = timeouts.http_request;
    haproxy.http_keep_alive = timeouts.http_keep_alive;
    haproxy.tunnel = timeouts.tunnel;
    // Every password is there: the settings were read so.
    let users = settings.users.resolve(None, &[]).context("USERS")?;
    let mut render = RenderSettings::new(run.clone())
        .with_binds(binds.collect())
        .with_nameservers(resolver.nameservers().to_vec())
        .with_timeouts(haproxy)
        .with_extras(extras(settings))
        .with_compression(settings.compression.clone())
        .with_routing(settings.routing)
        .with_order(settings.route_order)
        .with_users(users)
        .with_access_log(match settings.access_log {
            settings::AccessLog::Off => AccessLog::Off,
            settings::AccessLog::Stdout => AccessLog::Stdout,
        });
    if let Some(path) = &settings.template {
        let patience = Patience::with("CFG_TEMPLATE_PATH", path);
        let text = patience.read(|| fs::read_to_string(path));
        let text =
            text.with_context(|| format!("CFG_TEMPLATE_PATH: {} cannot be read", path.display()))?;
        let template = Template::new(text).context("CFG_TEMPLATE_PATH is no template")?;
        render = render.with_template(template);
    }
    Ok(CarrierSettings {
        program: settings.program(),
        configs_path: settings.configs_path.clone(),
        run,
        render,
        api,
        refused: settings.refused,
    })
}
