//! What is different between two configurations, as a unified diff that has an end.

use std::time::Duration;

use proxy_haproxy::{MAIN_FILE, MAP_FILE, RenderedConfig, redacted};
use similar::TextDiff;

/// The most lines of a diff that are shown.
const MOST_LINES: usize = 1_000;
/// The most bytes of a diff that are shown: one line may be long.
const MOST_BYTES: usize = 256 * 1024;
/// Past this the search for the smallest difference ends with a larger one.
const SEARCH: Duration = Duration::from_secs(1);
/// Lines around each difference.
const CONTEXT: usize = 3;

/// What is different between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigDiff {
    /// A unified diff of the files that people read, and the names of the other ones that differ.
    pub(crate) text: String,
    /// How many lines were left out at its end.
    pub(crate) left_out: usize,
}

// === impl ConfigDiff ===

impl ConfigDiff {
    /// What turns one configuration into another.
    pub(crate) fn between(old: &RenderedConfig, new: &RenderedConfig) -> Self {
        let mut diff = Self::default();
        let file = |config: &RenderedConfig, name: &str| {
            let found = config.files().find(|(other, _)| *other == name);
            found.map(|(_, text)| text.to_owned()).unwrap_or_default()
        };
        for name in old.differing_files(new) {
            match name {
                MAIN_FILE | MAP_FILE => diff.add_file(name, &file(old, name), &file(new, name)),
                // What else HAProxy reads may be a private key.
                _ => diff.add_line(&format!("# {name} differs\n")),
            }
        }
        diff
    }

    fn add_file(&mut self, name: &str, before: &str, after: &str) {
        let (before, after) = (&*redacted(before), &*redacted(after));
        if before == after {
            return self.add_line(&format!("# {name} differs in passwords\n"));
        }
        let diff = TextDiff::configure()
            .timeout(SEARCH)
            .diff_lines(before, after);
        self.add_line(&format!("--- {name} (live)\n"));
        self.add_line(&format!("+++ {name}\n"));
        for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
            self.add_line(&format!("{}\n", hunk.header()));
            for change in hunk.iter_changes() {
                self.add_line(&format!("{}{}", change.tag(), change.value()));
            }
        }
    }

    fn add_line(&mut self, line: &str) {
        let is_full = self.left_out > 0
            || self.text.len() + line.len() > MOST_BYTES
            || self.text.bytes().filter(|b| *b == b'\n').count() >= MOST_LINES;
        if is_full {
            self.left_out += 1;
        } else {
            self.text.push_str(line);
            if !line.ends_with('\n') {
                self.text.push('\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_what_people_read_and_names_the_rest() {
        let config = |main: &str, key: &str| {
            RenderedConfig::new(main).with_file("a.pem".parse().unwrap(), key)
        };
        let old = config("global\nmode http\n", "-----KEY 1-----");
        assert_eq!(ConfigDiff::between(&old, &old), ConfigDiff::default());
        let new = config("global\nmode tcp\n", "-----KEY 2-----");
        assert_eq!(
            ConfigDiff::between(&old, &new).text,
            "# a.pem differs\n--- haproxy.cfg (live)\n+++ haproxy.cfg\n@@ -1,2 +1,2 @@\n global\n-mode http\n+mode tcp\n"
        );
    }

    #[test]
    fn it_shows_no_password() {
        let list =
            |hash: &str| RenderedConfig::new(format!("userlist a\n    user ann password {hash}\n"));
        let diff = ConfigDiff::between(&list("$6$a$b"), &list("$6$a$c"));
        assert_eq!(diff.text, "# haproxy.cfg differs in passwords\n");
    }

    #[test]
    fn it_has_an_end() {
        let lines =
            |word: &str, count| -> String { (0..count).map(|i| format!("{word} {i}\n")).collect() };
        let old = RenderedConfig::new(lines("a", 5_000));
        let diff = ConfigDiff::between(&old, &RenderedConfig::new(lines("b", 5_000)));
        assert_eq!(diff.text.lines().count(), MOST_LINES);
        assert_eq!(diff.left_out, 10_003 - MOST_LINES);
        let wide = RenderedConfig::new("x".repeat(MOST_BYTES));
        let diff = ConfigDiff::between(&old, &wide);
        assert!(diff.text.len() <= MOST_BYTES && diff.left_out > 0);
    }
}
