//! The files of templates that services name: read where a call is taken, and never elsewhere, so that
//! every replica renders the same text.

use std::{
    io::Read as _,
    path::{Component, Path, PathBuf},
};

use proxy_core::{MAX_TEMPLATE_BYTES, Params, TemplateSource, TemplateSources};

use crate::files::FileReads;

/// Reads the files that the parameters name, below this folder.
pub(super) async fn read(reads: &FileReads, folder: &Path, params: &Params) -> TemplateSources {
    let source = async |parameter: &str| {
        let Some(name) = params.get(parameter).map(str::to_owned) else {
            return TemplateSource::NotRead;
        };
        let folder = folder.to_owned();
        let file = name.clone();
        let read = reads.read(move || text_of(&folder, &name)).await;
        match read.unwrap_or_else(|why| Err(format!("the template {file} cannot be read: {why}"))) {
            Ok(text) => TemplateSource::Text(text),
            Err(why) => TemplateSource::Unreadable(why),
        }
    };
    let (frontend, backend) = (
        source("templateFePath").await,
        source("templateBePath").await,
    );
    TemplateSources::new(frontend, backend)
}

fn text_of(folder: &Path, name: &str) -> Result<String, String> {
    let file = place_of(folder, name)?;
    let unreadable = |error: std::io::Error| format!("the template {name} cannot be read: {error}");
    let is_file = std::fs::metadata(&file).map_err(unreadable)?.is_file();
    if !is_file {
        return Err(format!("{name} is no file"));
    }
    let mut text = String::new();
    // One byte more tells that it is too long.
    let bound = MAX_TEMPLATE_BYTES as u64 + 1;
    let read =
        std::fs::File::open(&file).and_then(|opened| opened.take(bound).read_to_string(&mut text));
    read.map_err(unreadable)?;
    match text.len() > MAX_TEMPLATE_BYTES {
        true => Err(format!(
            "the template {name} is longer than {MAX_TEMPLATE_BYTES} bytes"
        )),
        false => Ok(text),
    }
}

/// Where a template is, with every link followed: below the folder, or nowhere. What stands elsewhere is
/// not told apart from what does not exist.
fn place_of(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let outside = || {
        let folder = folder.display();
        format!("{name} is not below TEMPLATES_PATH ({folder}); put the template there")
    };
    let plain = |part: Component<'_>| {
        matches!(
            part,
            Component::Normal(_) | Component::RootDir | Component::CurDir
        )
    };
    if !Path::new(name).components().all(plain) {
        return Err(outside());
    }
    let path = folder.join(name);
    if !path.starts_with(folder) {
        return Err(outside());
    }
    let missing = |error: std::io::Error| {
        format!(
            "the template {name} cannot be read ({error}): it must be a file below TEMPLATES_PATH of the replica that is called"
        )
    };
    let root = folder.canonicalize().map_err(missing)?;
    let file = path.canonicalize().map_err(missing)?;
    match file.starts_with(&root) {
        true => Ok(file),
        false => Err(outside()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tmpl");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(folder.join("a.cfg"), "retries 2").unwrap();
        std::fs::write(folder.join("sub/b.cfg"), "retries 3").unwrap();
        std::fs::write(folder.join("long"), "x".repeat(MAX_TEMPLATE_BYTES + 1)).unwrap();
        std::fs::write(folder.join("binary"), [0xff, 0xfe]).unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, folder.join(name));
        link(&dir.path().join("secret"), "out").unwrap();
        link(dir.path(), "up").unwrap();
        link(&folder.join("a.cfg"), "in").unwrap();
        nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();

        let absolute = |name: &str| folder.join(name).display().to_string();
        for good in ["a.cfg", "./a.cfg", "in", &absolute("a.cfg")] {
            assert_eq!(text_of(&folder, good).as_deref(), Ok("retries 2"), "{good}");
        }
        assert_eq!(text_of(&folder, "sub/b.cfg").as_deref(), Ok("retries 3"));
        let outside = dir.path().join("secret").display().to_string();
        let sibling = format!("{}-other/a", folder.display());
        for bad in [
            "../secret",
            "sub/../../secret",
            "sub/../a.cfg",
            "/etc/passwd",
            &outside,
            &sibling,
            &absolute("../secret"),
            "out",
            "up/secret",
        ] {
            let why = text_of(&folder, bad).unwrap_err();
            assert!(why.contains("not below TEMPLATES_PATH"), "{bad}: {why}");
            assert!(why.contains(bad), "{bad}: {why}");
        }
        for (bad, words) in [
            ("none", "No such file"),
            ("long", "longer than 16384 bytes"),
            ("binary", "UTF-8"),
            ("fifo", "no file"),
            ("sub", "no file"),
        ] {
            let why = text_of(&folder, bad).unwrap_err();
            assert!(why.contains(words) && why.contains(bad), "{bad}: {why}");
        }
    }
}
