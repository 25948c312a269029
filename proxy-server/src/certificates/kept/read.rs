//! What callers gave, as it is read at the start, and what stands in for what cannot be read any more.

use std::{collections::BTreeMap, fs, io, path::Path};

use proxy_haproxy::CertificateName;
use secrecy::zeroize::Zeroizing;

use super::{Entry, Kept};
use crate::certificates::Last;

/// What was written, and what cannot be read, by path: the folder itself where not all of it was listed.
pub(super) fn read_all(folder: &Path) -> (Vec<Entry>, BTreeMap<String, String>) {
    let (mut entries, mut refused) = (Vec::new(), BTreeMap::new());
    let unlisted = |error: io::Error| (folder.display().to_string(), error.to_string());
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (entries, refused),
        Err(error) => {
            refused.extend([unlisted(error)]);
            return (entries, refused);
        }
    };
    for file in listed {
        let path = match file {
            Ok(file) => file.path(),
            Err(error) => {
                refused.extend([unlisted(error)]);
                break;
            }
        };
        if path.extension().is_none_or(|end| end != "json") {
            continue;
        }
        let text = fs::read(&path).map(Zeroizing::new);
        let entry = text.map_err(|error| error.to_string()).and_then(|text| {
            // An error of serde_json names the place and not what stands there.
            serde_json::from_slice::<Entry>(&text)
                .map_err(|error| format!("line {}, column {}", error.line(), error.column()))
        });
        match entry {
            Ok(entry) => entries.push(entry),
            Err(why) => {
                refused.insert(path.display().to_string(), why);
            }
        }
    }
    (entries, refused)
}

/// What was shown last of that which cannot be read any more, named by its file or its name; of the folder all that
/// nothing was read of. Other replicas are not told of it: nobody knows when it was given, or whether it was removed.
pub(super) fn in_place_of(
    unreadable: &mut BTreeMap<String, String>,
    folder: &Path,
    kept: &BTreeMap<CertificateName, Kept>,
    last: &Last,
) -> Last {
    let folder = folder.display().to_string();
    let mut in_its_place = Last::new();
    for (called, why) in unreadable {
        let name = called.rsplit('/').next().unwrap_or_default();
        let name = name.strip_suffix(".json").unwrap_or(name);
        let name = name.parse::<CertificateName>().ok();
        let is_meant = |known: &CertificateName| match *called == folder {
            true => !kept.contains_key(known),
            false => name.as_ref() == Some(known),
        };
        let mut shown = last.iter().filter(|(known, _)| is_meant(known)).peekable();
        if shown.peek().is_some() {
            why.push_str("; what was shown last is shown where no file has the name");
        }
        in_its_place.extend(shown.map(|(name, it)| (name.clone(), it.clone())));
    }
    in_its_place
}
