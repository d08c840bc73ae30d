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
