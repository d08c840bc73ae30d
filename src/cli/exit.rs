//! How a command ends: the errors that have an exit code of their own, and all exit codes.

use thiserror::Error;

/// The exit codes, for `--help` and the reference.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; standard error says why
  2  wrong usage
  3  the answer is no: `check` found a failure, `status --exit-code` found an object that is not
     ready, a token was rejected
  4  timed out while waiting; the change itself was made";

/// The end of a command that is neither success nor failure.
#[derive(Debug, Error)]
pub enum End {
    /// Arguments that cannot be used together, or an answer that nobody can be asked for.
    #[error("{0}")]
    Usage(String),
    /// The command answered its question with no. What it found is on standard output.
    #[error("{0}")]
    No(String),
    /// What `--wait` waits for did not happen in time.
    #[error("{0}")]
    TimedOut(String),
}

/// The exit code for what [`super::run`] returned.
#[must_use]
pub fn exit_code(result: &anyhow::Result<()>) -> u8 {
    let Err(error) = result else { return 0 };
    match error.downcast_ref::<End>() {
        None => 1,
        Some(End::Usage(_)) => 2,
        Some(End::No(_)) => 3,
        Some(End::TimedOut(_)) => 4,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn every_end_has_its_code() {
        let code = |end: End| exit_code(&Err(anyhow::Error::from(end).context("while testing")));
        assert_eq!(exit_code(&Ok(())), 0);
        assert_eq!(exit_code(&Err(anyhow::anyhow!("else"))), 1);
        assert_eq!(code(End::Usage(String::new())), 2);
        assert_eq!(code(End::No(String::new())), 3);
        assert_eq!(code(End::TimedOut(String::new())), 4);
    }

    #[test]
    fn a_context_keeps_the_code() {
        let end: Result<(), _> = Err(End::No("no".to_owned()));
        assert_eq!(exit_code(&end.context("token")), 3);
    }
}
