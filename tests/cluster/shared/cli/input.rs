//! Runs `kubectl-anon` with input and with variables of its own.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::Ended;

/// Runs `kubectl-anon` with the kubeconfig of the administrator, with `input` on standard input.
pub async fn kubectl_anon_with(
    arguments: &[&str],
    input: &str,
    variables: &[(&str, &str)],
) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-anon"));
    command.args(arguments).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let run = move || {
        let mut child = command.spawn().unwrap();
        // It may end without reading.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code().unwrap(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}
