//! What an operator adds to every configuration, as templates see it.

use serde::Serialize;

use proxy_core::ConnectionMode;

use super::users::Lists;
use crate::{
    expression::Expression,
    extras::{ErrorStatus, Extras, LogFormat, Logged},
    raw::RawText,
    rendered::{FileName, RenderedConfig},
    routing::rule::Names,
    settings::{Bind, RenderSettings},
};

#[derive(Debug, Serialize)]
pub(super) struct ExtraLines {
    error_files: Vec<ErrorFile>,
    /// The statuses of those files.
    error_statuses: Vec<u16>,
    log: LogModel,
    captures: Vec<CaptureModel>,
    global: RawText,
    frontend: RawText,
    connection_mode: Option<&'static str>,
    stats: Option<StatsModel>,
    /// Something in `global` may use HAProxy's own HTTP client.
    http_client: bool,
}

#[derive(Debug, Serialize)]
struct StatsModel {
    /// What an operator said.
    uri: Expression,
    /// The condition that one who may see it meets.
    known: Expression,
    backend: String,
    /// The frontend and the binds where it has a port for itself.
    frontend: Option<String>,
    binds: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ErrorFile {
    status: u16,
    /// Beside the configuration.
    path: String,
}

#[derive(Debug, Serialize)]
struct LogModel {
    errors_only: bool,
    http: Option<Expression>,
    tcp: Option<Expression>,
}

#[derive(Debug, Serialize)]
struct CaptureModel {
    name: String,
    length: u16,
}

/// The name of the file with the answer for a status.
fn file_of(status: ErrorStatus) -> String {
    format!("error-{}.http", status.get())
}

/// Puts the answers that HAProxy gives itself beside the configuration.
pub(super) fn with_error_files(config: RenderedConfig, extras: &Extras) -> RenderedConfig {
    let files = extras.error_files.iter();
    files.fold(config, |config, (status, answer)| {
        config.with_file(FileName::known(&file_of(*status)), answer.as_str())
    })
}

// === impl ExtraLines ===

impl ExtraLines {
    pub(super) fn new(settings: &RenderSettings, lists: &mut Lists, names: &mut Names) -> Self {
        let extras = &settings.extras;
        let form = |form: &Option<LogFormat>| form.as_ref().map(|form| form.as_str().into());
        let captures = extras.captures.iter();
        let files = extras.error_files.iter();
        Self {
            error_files: files
                .map(|(status, _)| ErrorFile {
                    status: status.get(),
                    path: file_of(*status),
                })
                .collect(),
            error_statuses: extras
                .error_files
                .keys()
                .map(|status| status.get())
                .collect(),
            log: LogModel {
                errors_only: extras.log.which == Logged::Errors,
                http: form(&extras.log.http),
                tcp: form(&extras.log.tcp),
            },
            captures: captures
                .map(|capture| CaptureModel {
                    name: capture.name().to_string(),
                    length: capture.length(),
                })
                .collect(),
            global: RawText::from(&extras.global),
            frontend: RawText::from(&extras.frontend),
            connection_mode: extras.connection_mode.map(ConnectionMode::option),
            http_client: extras.may_use_http_client(),
            stats: extras.stats.as_ref().map(|page| {
                let mut binds: Vec<_> = settings.binds.iter().map(|bind| bind.address).collect();
                binds.sort_unstable();
                binds.dedup();
                let own = page.port.map(|port| {
                    let binds = binds.into_iter();
                    let binds = binds.map(|address| Bind::plain(address, port).to_string());
                    (names.take("stats".to_owned()), binds.collect())
                });
                let (frontend, binds) = own.unzip();
                StatsModel {
                    uri: page.uri.as_str().into(),
                    known: lists.of_stats(&page.users, names),
                    backend: names.take("stats-page".to_owned()),
                    frontend,
                    binds: binds.unwrap_or_default(),
                }
            }),
        }
    }
}
