//! HAProxy's comparison of whole words between delimiters, which `path_dir` and `hdr_dom` share.

/// Whether `words`, without delimiters at its ends, stands in `text` between delimiters or the ends
/// (HAProxy source, `match_word`).
pub(crate) fn has(text: &[u8], words: &[u8], delimiter: u8) -> bool {
    let words = trim(words, delimiter);
    let mut from = 0;
    while let Some(window) = text.get(from..from + words.len()) {
        let before = from == 0 || text.get(from - 1) == Some(&delimiter);
        let after = text.get(from + words.len()).is_none_or(|b| *b == delimiter);
        if window == words && before && after {
            return true;
        }
        from += 1;
    }
    false
}

fn trim(words: &[u8], delimiter: u8) -> &[u8] {
    let inner = |b: &u8| *b != delimiter;
    let start = words.iter().position(inner).unwrap_or(words.len());
    let end = words.iter().rposition(inner).map_or(start, |i| i + 1);
    words.get(start..end).unwrap_or_default()
}
