//! Looking at folders and files of certificates: what is there, and what of it is not known yet. Blocking file IO.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use proxy_haproxy::{Certificate, MAX_BUNDLE_BYTES};

use crate::certificates::MAX_CERTIFICATES;

/// A file as it was listed and, where it is not known yet, read.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) read: Option<Result<Certificate, String>>,
}

/// What changes when somebody writes a file or puts another in its place. That of no file is the default: what could
/// not be looked at is looked at again the next time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// The files that are known, as they were.
pub(super) type Known = BTreeMap<PathBuf, Identity>;

/// A folder's device and inode, once it held something.
pub(super) type Place = Option<(u64, u64)>;

/// Which files of a folder are certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those whose names say so.
    Secrets,
}

/// Files, and what cannot be read, by path.
pub(super) type Listing = (Vec<Listed>, BTreeMap<String, String>);

/// What was seen of a folder.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) found: Listing,
    pub(super) place: Place,
    pub(super) whole: Whole,
}

/// Whether what was seen of a folder is all that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Yes,
    /// It was not listed: these are the files that are known.
    Unlisted,
}

pub(super) fn file_name(path: &Path) -> &str {
    let name = path.file_name().and_then(|name| name.to_str());
    name.unwrap_or_default()
}

/// The files of a folder, and what cannot be read at all. One that is not there holds none.
pub(super) fn look_into(folder: &Path, which: Which, known: &Known, place: Place) -> Seen {
    let mut refused = BTreeMap::new();
    let listed = files(folder, which).and_then(|paths| placed(folder, paths, place));
    let (mut paths, place, whole) = match listed {
        Ok((paths, place)) => (paths, place, Whole::Yes),
        // One whose files are shown may be away for a moment only, as while it is mounted anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound && known.is_empty() => {
            (Vec::new(), place, Whole::Yes)
        }
        Err(error) => {
            refused.insert(folder.display().to_string(), error.to_string());
            // What it held is held on, since nothing says that it is gone.
            (known.keys().cloned().collect(), place, Whole::Unlisted)
        }
    };
    paths.sort_unstable();
    Seen {
        found: look_at(&paths, known, refused),
        place,
        whole,
    }
}

/// The same of one that does not answer: what is known of it.
pub(super) fn unanswered(folder: &Path, known: Known, place: Place, why: &str) -> Seen {
    let listed = known.into_iter().map(|(path, identity)| Listed {
        path,
        identity,
        read: None,
    });
    let why = format!("{why}; what it held is shown on");
    let refused = [(folder.display().to_string(), why)];
    Seen {
        found: (listed.collect(), refused.into()),
        place,
        whole: Whole::Unlisted,
    }
}

/// The same files, of a folder that may be empty: where it is another than the one that held some it is what stands
/// in the place of one that is not mounted.
fn placed(folder: &Path, paths: Vec<PathBuf>, before: Place) -> io::Result<(Vec<PathBuf>, Place)> {
    let found = fs::metadata(folder)?;
    let place = (found.dev(), found.ino());
    if !paths.is_empty() {
        return Ok((paths, Some(place)));
    }
    if before.is_some_and(|before| before != place) {
        return Err(io::Error::other(
            "it is empty and another folder than before, as where one is not mounted; what it held is shown on",
        ));
    }
    Ok((paths, before))
}

/// Looks at files, and reads those that are not known as they are.
pub(super) fn look_at(
    paths: &[PathBuf],
    known: &Known,
    mut refused: BTreeMap<String, String>,
) -> Listing {
    let mut listed = Vec::new();
    for path in paths {
        if listed.len() == MAX_CERTIFICATES {
            refused.extend([too_many(path)]);
            break;
        }
        let before = known.get(path).copied();
        let (identity, read) = match Identity::of(path) {
            Ok(None) => continue,
            Ok(Some(identity)) if before == Some(identity) => (identity, None),
            Ok(Some(identity)) => match read(path) {
                Ok(read) => (identity, Some(read)),
                // The file may be as good as ever: rights, or what the system lacks, change nothing of it.
                Err(error) => {
                    let why = format!("it cannot be read: {error}");
                    (Identity::default(), Some(Err(why)))
                }
            },
            Err(error) => {
                let why = error.to_string();
                refused.insert(path.display().to_string(), why.clone());
                let read = before.is_none().then_some(Err(why));
                (before.unwrap_or_default(), read)
            }
        };
        listed.push(Listed {
            path: path.clone(),
            identity,
            read,
        });
    }
    (listed, refused)
}

/// What is said of the first that there is no room for.
pub(super) fn too_many(path: &Path) -> (String, String) {
    let why = format!("there are more than {MAX_CERTIFICATES} certificates");
    (path.display().to_string(), why)
}

fn files(folder: &Path, which: Which) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = file_name(&path);
        if which.has(name) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// The certificate of a file, or why it holds none.
fn read(path: &Path) -> io::Result<Result<Certificate, String>> {
    let mut text = secrecy::zeroize::Zeroizing::new(Vec::new());
    let most = u64::try_from(MAX_BUNDLE_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(most + 1).read_to_end(&mut text)?;
    let Ok(text) = std::str::from_utf8(&text) else {
        return Ok(Err("it is no text".to_owned()));
    };
    Ok(Certificate::parse(text).map_err(|error| error.to_string()))
}

// === impl Which ===

impl Which {
    /// Whether a file of this name is one.
    pub(super) fn has(self, name: &str) -> bool {
        match self {
            // Editors and orchestrators keep their own behind a dot.
            Self::All => !name.starts_with('.'),
            Self::Secrets => name.starts_with("cert-") || name.starts_with("cert_"),
        }
    }
}

// === impl Identity ===

impl Identity {
    /// None of what is no file.
    fn of(path: &Path) -> io::Result<Option<Self>> {
        let found = fs::metadata(path)?;
        Ok(found.is_file().then(|| Self {
            device: found.dev(),
            inode: found.ino(),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        }))
    }
}
