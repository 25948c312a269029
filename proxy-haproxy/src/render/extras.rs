//! What an operator adds to every configuration, as templates see it.

use serde::Serialize;

use crate::{
    extras::{Extras, LogFormat, Logged},
    raw::RawText,
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
}

#[derive(Debug, Serialize)]
struct ErrorFile {
    status: u16,
    path: String,
}

#[derive(Debug, Serialize)]
struct LogModel {
    errors_only: bool,
    http: Option<String>,
    tcp: Option<String>,
}

#[derive(Debug, Serialize)]
struct CaptureModel {
    name: String,
    length: u16,
}

// === impl ExtraLines ===

impl ExtraLines {
    pub(super) fn new(extras: &Extras) -> Self {
        let form = |form: &Option<LogFormat>| form.as_ref().map(|form| form.as_str().to_owned());
        let captures = extras.captures.iter();
        let files = extras.error_files.iter();
        Self {
            error_files: files
                .map(|(status, path)| ErrorFile {
                    status: status.get(),
                    path: path.display().to_string(),
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
        }
    }
}
