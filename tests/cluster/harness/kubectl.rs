//! Runs kubectl for what only it shows: warnings, `explain`, and manifests as users apply them.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// The output of kubectl.
#[derive(Debug)]
pub struct Said {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs kubectl as the administrator.
pub fn kubectl(arguments: &[&str]) -> Said {
    said(&Command::new("kubectl").args(arguments).stdin(Stdio::null()).output().unwrap())
}

/// Runs kubectl with `input` on standard input, for `-f -`.
pub fn kubectl_with(arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // If kubectl fails early, it does not read all of its input, and its output has the reason.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    said(&child.wait_with_output().unwrap())
}

fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        success: output.status.success(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
