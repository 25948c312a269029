//! What HAProxy says about a configuration, line by line.

use std::{fmt, path::PathBuf};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// The configuration is refused.
    Alert,
    /// The configuration is taken, and probably not what was meant.
    Warning,
    /// Something to know.
    Notice,
}

/// One thing that HAProxy says about a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file it is about, where HAProxy names one.
    pub file: Option<PathBuf>,
    /// The line of that file, from 1.
    pub line: Option<usize>,
    /// What it is.
    pub message: String,
}

impl Diagnostic {
    /// Reads what HAProxy wrote to its standard error. What is no message of its own continues the
    /// one before it.
    pub(crate) fn parse_all(text: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for line in text.lines() {
            if let Some(diagnostic) = Self::parse(line) {
                found.push(diagnostic);
            } else if let Some(last) = found.last_mut()
                && !line.trim().is_empty()
            {
                last.message.push('\n');
                last.message.push_str(line.trim());
            }
        }
        found
    }

    /// `[ALERT]    (1234) : config : parsing [/cfg/haproxy.cfg:7] : unknown proxy mode 'foo'.`
    fn parse(line: &str) -> Option<Self> {
        let (level, rest) = line.strip_prefix('[')?.split_once(']')?;
        let severity = match level {
            "ALERT" | "EMERG" | "CRIT" => Severity::Alert,
            "WARNING" => Severity::Warning,
            "NOTICE" | "INFO" | "DIAG" => Severity::Notice,
            _ => return None,
        };
        let rest = rest.trim_start();
        let message = match rest.strip_prefix('(') {
            Some(process) => process
                .split_once(") : ")
                .map_or(rest, |(_, message)| message),
            None => rest.strip_prefix(": ").unwrap_or(rest),
        };
        let message = message.strip_prefix("config : ").unwrap_or(message);
        let place = message
            .split_once('[')
            .and_then(|(before, rest)| {
                rest.split_once(']')
                    .map(|(place, after)| (before, place, after))
            })
            .and_then(|(before, place, after)| {
                let (file, line) = place.rsplit_once(':')?;
                Some((before, PathBuf::from(file), line.parse().ok()?, after))
            });
        Some(match place {
            Some((before, file, line, after)) => Self {
                severity,
                file: Some(file),
                line: Some(line),
                message: match before {
                    "parsing " => after.trim_start_matches([' ', ':']).to_owned(),
                    _ => format!("{}{after}", before.trim_end()),
                },
            },
            None => Self {
                severity,
                file: None,
                line: None,
                message: message.to_owned(),
            },
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_file_and_line() {
        let text = "[NOTICE]   (7) : haproxy version is 2.6.12\n\
            [ALERT]    (7) : config : parsing [/cfg/haproxy.cfg:7] : unknown proxy mode 'foo'.\n\
            [ALERT]    (7) : Binding [/a:11] for frontend x: cannot bind [::1:80]\n\
            \x20 more of it\n\
            [WARNING]  (7) : config : proxy 'x' has no server\n";
        let found = Diagnostic::parse_all(text);
        assert_eq!(found.len(), 4);
        assert_eq!(found[1].to_string(), "line 7: unknown proxy mode 'foo'.");
        assert_eq!(found[1].file.as_deref(), Some("/cfg/haproxy.cfg".as_ref()));
        assert_eq!(found[2].line, Some(11));
        assert!(found[2].message.ends_with("\nmore of it"));
        assert_eq!(found[3].severity, Severity::Warning);
        assert_eq!(found[3].message, "proxy 'x' has no server");
    }

    #[test]
    fn what_is_no_message_is_none() {
        assert!(Diagnostic::parse_all("Configuration file is valid\n").is_empty());
        assert!(Diagnostic::parse_all("[x] y\n[\n").is_empty());
    }
}
