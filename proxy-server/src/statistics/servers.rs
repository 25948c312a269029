//! Whether a backend has a server that takes requests, as `show stat` has it.

use super::exposition::is_up;

/// Why none does; none where one does, or where the backend is not there.
pub(super) fn why_none_is_up(csv: &str, backend: &str) -> Option<&'static str> {
    let csv = csv.trim_start_matches("# ").as_bytes();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(csv);
    let headers = reader.headers().ok()?.clone();
    let column = |name: &str| headers.iter().position(|header| header == name);
    let (proxy, server) = (column("pxname")?, column("svname")?);
    let status = column("status")?;
    let mut found = Vec::new();
    for record in reader.records() {
        let record = record.ok()?;
        let is = |column: usize, name: &str| record.get(column) == Some(name);
        if is(proxy, backend) && !is(server, "BACKEND") && !is(server, "FRONTEND") {
            found.push(record.get(status)?.to_owned());
        }
    }
    let any = |word: &str| found.iter().any(|status| status.starts_with(word));
    if found.is_empty() || found.iter().any(|status| is_up(status)) {
        return None;
    }
    Some(match (any("DOWN"), any("MAINT (resolution)")) {
        (true, _) => "down",
        (false, true) => "its name does not resolve",
        (false, false) => "there is none, or all are in maintenance",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_that_is_up_has_a_reason() {
        let csv = "# pxname,svname,status\n\
            services,FRONTEND,OPEN\n\
            up,a,DOWN\nup,b,UP 1/2\nup,BACKEND,UP\n\
            unchecked,a,no check\nunchecked,BACKEND,UP\n\
            down,a,DOWN 1/2\ndown,b,MAINT (resolution)\ndown,BACKEND,DOWN\n\
            nowhere,a,MAINT (resolution)\nnowhere,BACKEND,UP\n\
            empty,a,MAINT\nempty,BACKEND,DOWN\n";
        for (backend, why) in [
            ("up", None),
            ("unchecked", None),
            ("services", None),
            ("another", None),
            ("down", Some("down")),
            ("nowhere", Some("its name does not resolve")),
            ("empty", Some("there is none, or all are in maintenance")),
        ] {
            assert_eq!(why_none_is_up(csv, backend), why, "{backend}");
        }
        assert_eq!(why_none_is_up("", "up"), None);
        assert_eq!(why_none_is_up("# pxname\nup\n", "up"), None);
    }
}
