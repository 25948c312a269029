//! Answers as text, for people who use curl: aligned columns and nothing that moves a cursor.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use proxy_core::Params;
use serde_json::Value;

use super::answer::Answered;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Text,
}

// === impl Form ===

impl Form {
    /// What `type` asks for.
    pub(super) fn of(params: &Params) -> Result<Self, Answered> {
        match params.get("type") {
            None | Some("json") => Ok(Self::Json),
            Some("text") => Ok(Self::Text),
            Some(other) => {
                let message = format!("type: {other:?} is not known; allowed: json, text");
                Err(Answered::refused(StatusCode::BAD_REQUEST, message))
            }
        }
    }
}

/// A text as a response.
pub(super) fn plain(status: StatusCode, text: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, headers, text).into_response()
}

/// Rows as aligned columns, headings first.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings = headings.iter().map(|h| (*h).to_owned()).collect();
    let rows: Vec<&Vec<String>> = std::iter::once(&headings).chain(rows).collect();
    let columns = headings.len();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A value as one cell; control characters are escaped.
pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_moves_the_cursor() {
        let rows = [
            vec!["a".to_owned(), cell(&json!("x\u{1b}[2J"))],
            vec!["bcd".to_owned(), cell(&json!([1, "two", null]))],
        ];
        assert_eq!(
            table(&["NAME", "WHAT"], &rows),
            "NAME  WHAT\na     x\\u{1b}[2J\nbcd   1, two,\n"
        );
    }
}
