//! Reads credentials and key sets, from a file or from standard input: never from arguments, which are
//! recorded in the history of the shell and shown in the list of processes.

use std::io::Read;

use anyhow::Context as _;
use zeroize::Zeroizing;

/// The maximum size of any input, in bytes; a key set of a hundred keys is far smaller.
const MAX_INPUT: u64 = 1024 * 1024;

/// Reads the file named `path`, or standard input for `-`.
pub fn read_input(path: &str, stdin: &mut dyn Read) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if path == "-" {
        stdin.take(MAX_INPUT + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    } else {
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(MAX_INPUT + 1).read_to_end(&mut bytes));
        read.with_context(|| format!("cannot read `{path}`"))?;
    }
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_INPUT,
        "the input is larger than 1 MiB, so it is neither a key set nor a token; check the file"
    );
    Ok(bytes)
}

/// Reads the credential in a file, or on standard input for `-`. `Bearer ` in front of it, as in a
/// copied header, is left out.
///
/// # Errors
/// The input cannot be read or has no credential.
pub fn read_credential(file: &str, stdin: &mut dyn Read) -> anyhow::Result<Zeroizing<String>> {
    let bytes = read_input(file, stdin)?;
    let source = if file == "-" { "standard input" } else { file };
    let text = std::str::from_utf8(&bytes);
    let text = text
        .ok()
        .with_context(|| format!("{source} is not UTF-8 text, so it is not a credential"))?;
    let text = text.trim();
    let text = match text.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest.trim_start(),
        _ => text,
    };
    anyhow::ensure!(
        !text.is_empty(),
        "{source} contains no credential: pass it on standard input or in a file"
    );
    Ok(Zeroizing::new(text.to_owned()))
}
