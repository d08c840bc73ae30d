//! What a check found.

use serde::Serialize;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, and deserves attention.
    Warn,
    /// It does not work.
    Fail,
    /// The caller may not read what the check is about.
    Skip,
}

/// A check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// The result.
    #[serde(rename = "result")]
    pub grade: Grade,
    /// What was found.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Check {
    /// One that passes.
    pub fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, grade: Grade::Ok, message: message.into(), remedy: None }
    }

    /// One that the caller's permissions do not allow.
    pub fn skip(name: &'static str, resource: &str) -> Self {
        let message = format!("you may not list {resource}");
        Self { name, grade: Grade::Skip, message, remedy: None }
    }

    /// One that does not pass, with what to do.
    pub fn not_ok(
        name: &'static str,
        grade: Grade,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { name, grade, message: message.into(), remedy: Some(remedy.into()) }
    }

    /// In a line.
    pub fn line(&self) -> String {
        format!("{}: {}", self.name, self.message)
    }
}
