//! `show stat` under the names of HAProxy's exporter.

use std::{collections::BTreeMap, fmt::Write as _};

use csv::StringRecord;

/// The most rows that become metrics: each has up to thirty series, and scrapers hold all of them.
const MOST_ROWS: usize = 5_000;

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Frontend,
    Backend,
    Server,
}

/// A column of the CSV and what it is called as a metric.
struct Family {
    column: &'static str,
    name: &'static str,
    kinds: &'static [Kind],
    /// The label `code`, of the columns that are one metric.
    code: Option<&'static str>,
}

const ALL: &[Kind] = &[Kind::Frontend, Kind::Backend, Kind::Server];
const FRONTEND: &[Kind] = &[Kind::Frontend];
const BEHIND: &[Kind] = &[Kind::Backend, Kind::Server];
const SERVER: &[Kind] = &[Kind::Server];

const fn family(column: &'static str, name: &'static str, kinds: &'static [Kind]) -> Family {
    Family {
        column,
        name,
        kinds,
        code: None,
    }
}

const fn responses(column: &'static str, code: &'static str) -> Family {
    Family {
        column,
        name: "http_responses_total",
        kinds: ALL,
        code: Some(code),
    }
}

const FAMILIES: &[Family] = &[
    family("qcur", "current_queue", BEHIND),
    family("qmax", "max_queue", BEHIND),
    family("scur", "current_sessions", ALL),
    family("smax", "max_sessions", ALL),
    family("slim", "limit_sessions", ALL),
    family("stot", "connections_total", ALL),
    family("bin", "bytes_in_total", ALL),
    family("bout", "bytes_out_total", ALL),
    family("dreq", "requests_denied_total", FRONTEND),
    family("ereq", "request_errors_total", FRONTEND),
    family("econ", "connection_errors_total", BEHIND),
    family("eresp", "response_errors_total", BEHIND),
    family("wretr", "retry_warnings_total", BEHIND),
    family("wredis", "redispatch_warnings_total", BEHIND),
    family("status", "up", BEHIND),
    family("weight", "weight", BEHIND),
    family("chkfail", "check_failures_total", SERVER),
    family("downtime", "downtime_seconds_total", SERVER),
    family("rate", "current_session_rate", ALL),
    family("rate_lim", "limit_session_rate", FRONTEND),
    family("rate_max", "max_session_rate", ALL),
    family("check_duration", "check_duration_milliseconds", SERVER),
    responses("hrsp_1xx", "1xx"),
    responses("hrsp_2xx", "2xx"),
    responses("hrsp_3xx", "3xx"),
    responses("hrsp_4xx", "4xx"),
    responses("hrsp_5xx", "5xx"),
    responses("hrsp_other", "other"),
    family("req_tot", "http_requests_total", FRONTEND),
];

/// The metrics of a CSV; without one HAProxy is down.
pub(super) fn text(csv: Option<&str>, scrapes: u64) -> String {
    let mut samples: BTreeMap<String, String> = BTreeMap::new();
    let (mut bad, mut rows) = (0_usize, 0_usize);
    if let Some(csv) = csv {
        let csv = csv.trim_start_matches("# ");
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .from_reader(csv.as_bytes());
        let headers = reader.headers().cloned().unwrap_or_default();
        for record in reader.records() {
            match record {
                Ok(_) if rows >= MOST_ROWS => rows += 1,
                Ok(record) => {
                    rows += 1;
                    add(&mut samples, &headers, &record);
                }
                Err(_) => bad += 1,
            }
        }
    }
    let mut text = String::new();
    for (name, value) in [
        ("haproxy_up", usize::from(csv.is_some())),
        (
            "haproxy_exporter_total_scrapes",
            usize::try_from(scrapes).unwrap_or(usize::MAX),
        ),
        ("haproxy_exporter_csv_parse_failures", bad),
        (
            "haproxy_exporter_rows_left_out",
            rows.saturating_sub(MOST_ROWS),
        ),
    ] {
        let _ = writeln!(text, "# TYPE {name} gauge\n{name} {value}");
    }
    for (name, lines) in samples {
        let (kind, family) = match name.strip_suffix("_total") {
            Some(family) => ("counter", family),
            None => ("gauge", name.as_str()),
        };
        let _ = writeln!(text, "# TYPE {family} {kind}");
        text.push_str(&lines);
    }
    text
}

fn add(samples: &mut BTreeMap<String, String>, headers: &StringRecord, record: &StringRecord) {
    let value = |column: &str| {
        let at = headers.iter().position(|header| header == column)?;
        record.get(at).filter(|value| !value.is_empty())
    };
    let (Some(proxy), Some(row)) = (value("pxname"), value("svname")) else {
        return;
    };
    let kind = match row {
        "FRONTEND" => Kind::Frontend,
        "BACKEND" => Kind::Backend,
        _ => Kind::Server,
    };
    let proxy = escaped(proxy);
    let (prefix, labels) = match kind {
        Kind::Frontend => ("frontend", format!("frontend=\"{proxy}\"")),
        Kind::Backend => ("backend", format!("backend=\"{proxy}\"")),
        Kind::Server => (
            "server",
            format!("backend=\"{proxy}\",server=\"{}\"", escaped(row)),
        ),
    };
    for family in FAMILIES
        .iter()
        .filter(|family| family.kinds.contains(&kind))
    {
        let Some(found) = value(family.column) else {
            continue;
        };
        let number = match family.column {
            "status" => Some(u64::from(is_up(found))),
            _ => found.parse::<u64>().ok(),
        };
        let Some(number) = number else { continue };
        let name = format!("haproxy_{prefix}_{}", family.name);
        let code = family.code.map(|code| format!(",code=\"{code}\""));
        let code = code.unwrap_or_default();
        let lines = samples.entry(name.clone()).or_default();
        let _ = writeln!(lines, "{name}{{{labels}{code}}} {number}");
    }
}

/// A server whose checks are on their way, or that is not checked, takes requests.
pub(super) fn is_up(status: &str) -> bool {
    let up = ["UP", "OPEN", "no check", "DRAIN"];
    up.iter().any(|word| status.starts_with(word))
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "# pxname,svname,qcur,scur,stot,bin,status,hrsp_2xx,req_tot,chkfail,new_column\n\
        services,FRONTEND,,1,7,100,OPEN,6,7,,x\n\
        a-be80,a,0,0,5,50,DOWN 1/2,5,,2,\n\
        a-be80,BACKEND,3,0,5,50,UP,5,5,,\n";

    #[test]
    fn rows_become_what_dashboards_look_for() {
        let text = text(Some(CSV), 2);
        for line in [
            "haproxy_up 1",
            "haproxy_exporter_total_scrapes 2",
            "# TYPE haproxy_frontend_connections counter",
            "haproxy_frontend_connections_total{frontend=\"services\"} 7",
            "haproxy_frontend_http_requests_total{frontend=\"services\"} 7",
            "haproxy_backend_current_queue{backend=\"a-be80\"} 3",
            "haproxy_backend_up{backend=\"a-be80\"} 1",
            "haproxy_server_up{backend=\"a-be80\",server=\"a\"} 0",
            "haproxy_server_check_failures_total{backend=\"a-be80\",server=\"a\"} 2",
            "haproxy_server_http_responses_total{backend=\"a-be80\",server=\"a\",code=\"2xx\"} 5",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        // What DFP has for backends and servers only.
        assert!(
            !text.contains("haproxy_frontend_up")
                && !text.contains("haproxy_backend_http_requests")
        );
    }

    #[test]
    fn without_haproxy_it_is_down_and_too_many_rows_are_counted() {
        assert!(text(None, 1).contains("haproxy_up 0\n"));
        let rows: String = (0..MOST_ROWS + 3)
            .map(|i| format!("b{i},BACKEND,0\n"))
            .collect();
        let text = text(Some(&format!("# pxname,svname,qcur\n{rows}")), 1);
        assert!(
            text.contains("haproxy_exporter_rows_left_out 3\n"),
            "{}",
            text.len()
        );
    }
}
