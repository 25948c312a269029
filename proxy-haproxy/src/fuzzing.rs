//! What HAProxy says, fed with bytes at random; for `fuzz/` and for the replay of its corpus.

use crate::{diagnostic::Diagnostic, master::Processes, runtime};

/// Takes bytes as what HAProxy says on its sockets and on its standard error.
///
/// # Panics
/// When an answer makes a parser panic.
pub fn answers(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Processes::parse(&text);
    let _ = Diagnostic::parse_all(&text);
    runtime::read_answers(&text);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn the_corpus_of_haproxys_answers_is_replayed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/haproxy");
        let mut count = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            println!("{}", path.display());
            super::answers(&bytes);
            count += 1;
        }
        assert!(count > 0, "the corpus is empty");
    }
}
