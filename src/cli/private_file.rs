//! Files that only their owner can read.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

/// Writes a new file with mode 0600. An existing file is never overwritten, and nobody else can read
/// the new one, not even for a moment.
pub fn create(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = written.with_context(|| {
        format!(
            "cannot create `{}`, which must be a new file in an existing directory",
            path.display()
        )
    })?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// Replaces the content of a file of mode 0600 in one step.
pub fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let next = path.with_extension("new");
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot delete `{}`", next.display()));
        }
        _ => {}
    }
    create(&next, content)?;
    std::fs::rename(&next, path).with_context(|| format!("cannot write `{}`", path.display()))
}
