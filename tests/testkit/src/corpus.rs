//! Corpora of bytes that are fed to what reads them, in every run of the suite.

use std::{fs, io, path::Path};

/// Feeds a function every input that is kept for a fuzz target, in `fuzz/corpus` of the workspace.
///
/// # Errors
/// When an input cannot be read.
///
/// # Panics
/// Where the function does, after the name of the input was printed; and where there is no input.
#[expect(
    clippy::print_stdout,
    reason = "it is shown with the panic of the test, and only then"
)]
pub fn replay(target: &str, run: fn(&[u8])) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut count = 0;
    for entry in fs::read_dir(folder.join(target))? {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        println!("{}", path.display());
        run(&bytes);
        count += 1;
    }
    assert!(count > 0, "the corpus of {target} is empty");
    Ok(())
}
