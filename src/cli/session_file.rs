//! The session of `kubectl anon login`: a file that only its owner can read.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::private_file;

/// What a login stores. No `Debug`.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Base URL of the server that issued the token.
    pub server: String,
    /// File with the CA certificates of that server, an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The session token.
    pub token: Zeroizing<String>,
}

/// The file in the user's configuration directory (XDG Base Directory Specification).
///
/// # Errors
/// The environment specifies no directory.
pub fn path() -> anyhow::Result<PathBuf> {
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    let base = base
        .context("no directory for the session: set HOME or XDG_CONFIG_HOME to an absolute path")?;
    Ok(base.join("anon").join("session"))
}

/// Reads the session for use; `None` if there is none.
///
/// # Errors
/// The file cannot be read, or others may read it.
pub fn read() -> anyhow::Result<Option<Session>> {
    let session = read_exposed()?;
    if session.is_some() {
        let path = path()?;
        let metadata = fs::metadata(&path);
        let metadata = metadata.with_context(|| format!("cannot read `{}`", path.display()))?;
        let (mode, others) = (metadata.permissions().mode(), 0o077);
        ensure!(
            mode & others == 0,
            "others can read the session in `{}`: run `kubectl anon logout`, and log in again",
            path.display()
        );
    }
    Ok(session)
}

/// Reads the session even if others may read it, in order to end it.
///
/// # Errors
/// The file cannot be read.
pub fn read_exposed() -> anyhow::Result<Option<Session>> {
    let path = path()?;
    let shown = path.display();
    let content = match fs::read(&path) {
        Ok(content) => Zeroizing::new(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{shown}`")),
    };
    // The error of serde could quote the token.
    let Ok(session) = serde_json::from_slice(&content) else {
        bail!("`{shown}` is not a session: delete it, and run `kubectl anon login`");
    };
    Ok(Some(session))
}

/// Writes the session: a file of mode 0600 in a directory of mode 0700.
///
/// # Errors
/// The file cannot be written.
pub fn write(session: &Session) -> anyhow::Result<PathBuf> {
    let path = path()?;
    if let Some(directory) = path.parent() {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        created.with_context(|| format!("cannot create `{}`", directory.display()))?;
        let owner_only = fs::Permissions::from_mode(0o700);
        fs::set_permissions(directory, owner_only)
            .with_context(|| format!("cannot change the mode of `{}`", directory.display()))?;
    }
    private_file::replace(&path, &Zeroizing::new(serde_json::to_vec(session)?))?;
    Ok(path)
}

/// Deletes the session, if there is one.
///
/// # Errors
/// The file cannot be deleted.
pub fn delete() -> anyhow::Result<()> {
    let path = path()?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
