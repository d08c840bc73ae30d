//! The verdict on a write.

use crate::validate::conflict::Conflict;

/// What becomes of a write.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why the write is rejected.
    pub conflict: Option<Conflict>,
    /// What the author of the write is shown.
    pub warnings: Vec<String>,
    /// Whether the write was not checked.
    pub unchecked: bool,
}

impl Verdict {
    /// Allows a write that could not be checked.
    pub fn unchecked(reason: &str) -> Self {
        let warning = format!(
            "conflicts with other objects were not checked ({reason}); see the conditions of the object"
        );
        Self { unchecked: true, ..Self::warning(warning) }
    }

    /// Allows a write with a warning.
    pub fn warning(warning: String) -> Self {
        Self { warnings: vec![warning], ..Self::default() }
    }

    /// Rejects a write.
    pub fn conflict(conflict: Conflict) -> Self {
        Self { conflict: Some(conflict), ..Self::default() }
    }

    /// Metric label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self { conflict: Some(_), .. } => "rejected",
            Self { unchecked: true, .. } => "unchecked",
            Self { warnings, .. } if warnings.is_empty() => "allowed",
            _ => "warned",
        }
    }
}
