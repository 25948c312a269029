//! Answers for human readers: short, aligned, and free of whatever could move the
//! terminal's cursor.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Columns of an explanation: the answer's field, and its heading.
const ROUTE_COLUMNS: [(&str, &str); 4] = [
    ("ServiceName", "SERVICE"),
    ("Rule", "RULE"),
    ("Backend", "BACKEND"),
    ("Why", "WHY"),
];

/// Columns of the table of replicas: the answer's field, and its heading.
const REPLICA_COLUMNS: [(&str, &str); 5] = [
    ("Address", "REPLICA"),
    ("Instance", "INSTANCE"),
    ("Status", "STATUS"),
    ("Milliseconds", "MS"),
    ("Reason", "REASON"),
];

/// Columns of the table of where replicas stand: the way to the value, and the heading.
const STANDING_COLUMNS: [(&str, &str); 9] = [
    ("/Address", "REPLICA"),
    ("/Instance", "INSTANCE"),
    ("/Place", "PLACE"),
    ("/Behind", "BEHIND"),
    ("/Revision/Number", "REVISION"),
    ("/TableDigest", "TABLE"),
    ("/Store", "STORE"),
    ("/Haproxy", "HAPROXY"),
    ("/Reason", "REASON"),
];

/// Where a replica stands, and every other one where that was asked.
pub(crate) fn status(answer: &Value) -> String {
    let peers = list(answer, "Peers");
    if peers.is_empty() {
        return fields(answer);
    }
    let mut rest = answer.clone();
    if let Value::Object(fields) = &mut rest {
        fields.remove("Peers");
    }
    format!("{}\n{}", fields(&rest), pointed(&STANDING_COLUMNS, peers))
}

/// Rows of objects, each column by the way to its value.
fn pointed(columns: &[(&str, &str)], rows: &[Value]) -> String {
    let heading = columns.iter().map(|(_, heading)| (*heading).to_owned());
    let rows = rows.iter().map(|row| {
        let value = |(way, _): &(&str, &str)| row.pointer(way).map(cell).unwrap_or_default();
        columns.iter().map(value).collect()
    });
    table(std::iter::once(heading.collect()).chain(rows).collect())
}

/// The answer to a change: what happened, what to know, and who has it.
pub(crate) fn change(answer: &Value, done: bool) -> String {
    let mut out = String::new();
    let errors = list(answer, "Errors");
    // The message of a refusal repeats its errors, which have a line each below.
    let mut headline = match errors.len() {
        0 => message(answer, if done { "done" } else { "refused" }),
        1 => "1 parameter was refused; nothing was changed".to_owned(),
        count => format!("{count} parameters were refused; nothing was changed"),
    };
    if let Some(revision) = answer
        .get("Revision")
        .filter(|revision| revision.is_object())
    {
        let number = revision.get("Number").map(cell).unwrap_or_default();
        let _ = write!(headline, " (revision {number})");
    }
    let _ = writeln!(out, "{headline}");
    if let Some(id) = answer.get("Id").map(cell).filter(|_| !done) {
        let _ = writeln!(out, "to learn what became of it: proxyctl status --id {id}");
    }
    for error in errors {
        let _ = writeln!(out, "  {}", problem(error));
    }
    for warning in list(answer, "Warnings") {
        let _ = writeln!(out, "warning: {}", cell(warning));
    }
    out.push_str(&diff(answer));
    let peers = list(answer, "Peers");
    if !peers.is_empty() {
        out.push_str(&replicas(peers));
    }
    out
}

/// What a dry run says of the config, line by line.
fn diff(answer: &Value) -> String {
    let text = answer.get("Diff").and_then(Value::as_str).unwrap_or("");
    let lines = text.lines().map(|line| format!("{}\n", clean(line)));
    let mut out: String = lines.collect();
    let left_out = answer.get("DiffLeftOut").and_then(Value::as_u64);
    if let Some(count) = left_out.filter(|count| *count > 0) {
        let _ = writeln!(out, "({count} more lines are left out)");
    }
    out
}

/// The message of an answer, or what to say without one.
pub(crate) fn message(answer: &Value, otherwise: &str) -> String {
    match answer.get("Message").and_then(Value::as_str) {
        Some(text) if !text.is_empty() => clean(text),
        _ => otherwise.to_owned(),
    }
}

/// Where a request goes, and a row for each route that it could have taken or nearly could.
pub(crate) fn explanation(answer: &Value) -> String {
    let mut out = format!("{}\n", message(answer, "done"));
    let winner = answer.get("Winner").filter(|winner| winner.is_object());
    let routes = winner
        .map(|route| ("wins", route))
        .into_iter()
        .chain(list(answer, "RunnersUp").iter().map(|row| ("loses", row)))
        .chain(list(answer, "Misses").iter().map(|row| ("misses", row)));
    let rows: Vec<Vec<String>> = routes
        .map(|(result, route)| {
            let cells = ROUTE_COLUMNS.map(|(field, _)| route.get(field).map(cell));
            let cells = cells.into_iter().map(Option::unwrap_or_default);
            std::iter::once(result.to_owned()).chain(cells).collect()
        })
        .collect();
    if !rows.is_empty() {
        let names = ROUTE_COLUMNS.map(|(_, heading)| heading.to_owned());
        let heading = std::iter::once("RESULT".to_owned()).chain(names).collect();
        out.push_str(&table(std::iter::once(heading).chain(rows).collect()));
    }
    if let Some(more) = answer.get("LeftOut").and_then(Value::as_u64)
        && more > 0
    {
        let _ = writeln!(out, "and {more} more");
    }
    out
}

/// Any other answer: a line per value, nested names joined by dots, and lists of
/// objects as tables.
pub(crate) fn fields(answer: &Value) -> String {
    let mut lines = Vec::new();
    let mut tables = Vec::new();
    flatten("", answer, &mut lines, &mut tables);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut out = String::new();
    for (name, value) in lines {
        let _ = writeln!(out, "{name:<width$}  {value}");
    }
    for (name, rows) in tables {
        let _ = write!(out, "\n{name}\n{rows}");
    }
    out
}

/// The first lines of an answer that is no JSON.
pub(crate) fn raw(body: &str) -> String {
    const LINES: usize = 5;
    const LINE_CHARACTERS: usize = 200;
    body.lines()
        .take(LINES)
        .map(|line| clean(&line.chars().take(LINE_CHARACTERS).collect::<String>()))
        .collect::<Vec<_>>()
        .join("\n")
}

fn problem(error: &Value) -> String {
    let field = |name: &str| error.get(name).map(cell).filter(|text| !text.is_empty());
    let Some(parameter) = field("Parameter") else {
        return cell(error);
    };
    let mut out = parameter;
    if let Some(value) = error.get("Value").and_then(Value::as_str) {
        let _ = write!(out, " {:?}", clean(value));
    }
    if let Some(problem) = field("Problem") {
        let _ = write!(out, ": {problem}");
    }
    if let Some(allowed) = field("Allowed") {
        let _ = write!(out, " (allowed: {allowed})");
    }
    out
}

fn replicas(peers: &[Value]) -> String {
    let heading = REPLICA_COLUMNS.map(|(_, heading)| heading.to_owned());
    let rows = peers.iter().map(|peer| {
        REPLICA_COLUMNS
            .map(|(field, _)| peer.get(field).map(cell).unwrap_or_default())
            .to_vec()
    });
    table(std::iter::once(heading.to_vec()).chain(rows).collect())
}

fn flatten(
    prefix: &str,
    value: &Value,
    lines: &mut Vec<(String, String)>,
    tables: &mut Vec<(String, String)>,
) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = clean(name);
                let name = if prefix.is_empty() {
                    name
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&name, value, lines, tables);
            }
        }
        Value::Array(rows) if rows.iter().any(Value::is_object) => {
            tables.push((prefix.to_owned(), table_of(rows)));
        }
        // What is not so is not worth a line.
        Value::Null => {}
        value => lines.push((prefix.to_owned(), cell(value))),
    }
}

/// A list of objects, with every name that occurs as a column.
fn table_of(rows: &[Value]) -> String {
    let mut names: Vec<&String> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        for name in row.keys() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let heading = names
        .iter()
        .map(|name| clean(name).to_uppercase())
        .collect();
    let empty = Map::new();
    let cells = rows.iter().map(|row| {
        let row = row.as_object().unwrap_or(&empty);
        names
            .iter()
            .map(|&name| row.get(name).map(cell).unwrap_or_default())
            .collect()
    });
    table(std::iter::once(heading).chain(cells).collect())
}

/// Aligned columns, with nothing behind the last word of a line.
fn table(rows: Vec<Vec<String>>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// One value on one line.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => clean(&other.to_string()),
    }
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Control characters made visible: an answer may repeat what somebody else sent.
fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let visible = !character.is_control();
            let escaped = (!visible).then(|| character.escape_default());
            escaped
                .into_iter()
                .flatten()
                .chain(visible.then_some(character))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_shows_a_row_per_replica() {
        let answer = json!({
            "Status": "OK", "Message": "go-demo was reconfigured",
            "Revision": {"Epoch": "e", "Number": 7, "Id": "i"},
            "Warnings": ["unknown parameter x"],
            "Peers": [
                {"Address": "127.0.0.2:8080", "Instance": "aa", "Status": "applied", "Milliseconds": 12, "Reason": null},
                {"Address": "127.0.0.13:8080", "Instance": null, "Status": "unconfirmed", "Milliseconds": 1500, "Reason": "no connection"},
            ],
        });
        assert_eq!(
            change(&answer, true),
            "go-demo was reconfigured (revision 7)\n\
             warning: unknown parameter x\n\
             REPLICA          INSTANCE  STATUS       MS    REASON\n\
             127.0.0.2:8080   aa        applied      12\n\
             127.0.0.13:8080            unconfirmed  1500  no connection\n"
        );
    }

    #[test]
    fn an_explanation_has_a_row_for_each_route() {
        let answer = json!({
            "Status": "OK", "Message": "the request goes to the service api, by path_beg /api",
            "Winner": {"ServiceName": "api", "Rule": "path_beg /api", "Backend": "api-be80", "Why": null},
            "RunnersUp": [{"ServiceName": "root", "Rule": "path_beg /", "Backend": "root-be80",
                           "Why": "the winner's path is more specific"}],
            "Misses": [{"ServiceName": "acme", "Rule": "domain acme.com, path_beg /", "Backend": "acme-be80",
                        "Why": "it is for another\ndomain"}],
            "LeftOut": 3,
        });
        assert_eq!(
            explanation(&answer),
            "the request goes to the service api, by path_beg /api\n\
             RESULT  SERVICE  RULE                         BACKEND    WHY\n\
             wins    api      path_beg /api                api-be80\n\
             loses   root     path_beg /                   root-be80  the winner's path is more specific\n\
             misses  acme     domain acme.com, path_beg /  acme-be80  it is for another\\ndomain\n\
             and 3 more\n"
        );
        let none =
            json!({"Message": "no route takes the request: 404", "Winner": null, "LeftOut": 0});
        assert_eq!(explanation(&none), "no route takes the request: 404\n");
    }

    #[test]
    fn every_error_is_shown() {
        let answer = json!({
            "Status": "NOK", "Message": "port is no number; servicePath is missing; ...",
            "Errors": [
                {"Parameter": "port", "Value": "x\u{1b}[2J", "Problem": "is no number", "Allowed": "1 to 65535"},
                {"Parameter": "servicePath", "Problem": "is missing"},
                "something else",
            ],
        });
        assert_eq!(
            change(&answer, false),
            "3 parameters were refused; nothing was changed\n  port \"x\\\\u{1b}[2J\": is no number (allowed: 1 to 65535)\n  \
             servicePath: is missing\n  something else\n"
        );
    }

    #[test]
    fn an_unknown_outcome_says_how_to_learn_it() {
        let answer = json!({"Status": "NOK", "Message": "unknown", "Stored": null, "Id": "ab12"});
        let text = change(&answer, false);
        assert!(text.contains("proxyctl status --id ab12"), "{text}");
    }

    #[test]
    fn what_has_no_shape_is_shown_all_the_same() {
        assert_eq!(change(&json!({}), true), "done\n");
        assert_eq!(change(&json!([1]), false), "refused\n");
        assert_eq!(change(&json!({"Peers": "x", "Errors": 3}), true), "done\n");
    }

    #[test]
    fn nested_fields_are_lines_and_lists_of_objects_tables() {
        let answer = json!({
            "Status": "OK", "Store": {"Kind": "consul", "Ok": true, "Why": null}, "Names": ["a", "b"],
            "Peers": [{"Address": "p:1"}, {"Address": "p:2", "Ms": 3}],
        });
        assert_eq!(
            fields(&answer),
            "Names       a, b\nStatus      OK\nStore.Kind  consul\nStore.Ok    true\n\n\
             Peers\nADDRESS  MS\np:1\np:2      3\n"
        );
    }

    #[test]
    fn the_status_has_a_row_per_replica() {
        let answer = json!({
            "Status": "OK", "Drift": true,
            "Peers": [
                {"Address": "p:1", "Instance": "a", "Place": "drifted", "Behind": null,
                 "Revision": {"Number": 7}, "TableDigest": "ab", "Store": "live", "Haproxy": "running", "Version": "1"},
                {"Address": "p:2", "Place": "unreachable", "Reason": "no connection"},
            ],
        });
        assert_eq!(
            status(&answer),
            "Drift   true\nStatus  OK\n\n\
             REPLICA  INSTANCE  PLACE        BEHIND  REVISION  TABLE  STORE  HAPROXY  REASON\n\
             p:1      a         drifted              7         ab     live   running\n\
             p:2                unreachable                                           no connection\n"
        );
        assert_eq!(status(&json!({"Status": "OK"})), "Status  OK\n");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        let hostile = "a\u{1b}[31m\r\nb\u{7}\u{9b}";
        for text in [
            change(&json!({"Message": hostile, "Warnings": [hostile]}), true),
            fields(&json!({ hostile: hostile })),
            raw(hostile),
        ] {
            assert!(
                !text.contains(['\u{1b}', '\r', '\u{7}', '\u{9b}']),
                "{text:?}"
            );
        }
    }
}
