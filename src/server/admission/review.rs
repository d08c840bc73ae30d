//! AdmissionReview of `admission.k8s.io/v1`, as far as the rules need it. The objects are read by
//! the rules, each by itself: one that cannot be read must not fail the review.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::verdict::Verdict;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A review as kube-apiserver sends it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review<'r> {
    api_version: String,
    kind: String,
    /// The request that is reviewed.
    #[serde(borrow)]
    pub request: Request<'r>,
}

/// The write that is reviewed. Its other members have no effect, `dryRun` included: a review writes
/// nothing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'r> {
    uid: String,
    /// The kind of the object.
    pub kind: GroupKind,
    /// The subresource that is written, if it is one.
    #[serde(default)]
    pub sub_resource: Option<String>,
    /// The object as it is to be stored.
    #[serde(default, borrow)]
    pub object: Option<&'r RawValue>,
    /// The stored object, if it is changed.
    #[serde(default, borrow)]
    pub old_object: Option<&'r RawValue>,
}

/// A kind and its group.
#[derive(Deserialize)]
pub struct GroupKind {
    /// The group.
    pub group: String,
    /// The kind.
    pub kind: String,
}

impl<'r> Review<'r> {
    /// The review in a request body.
    pub fn parse(body: &'r [u8]) -> Option<Self> {
        let review: Self = serde_json::from_slice(body).ok()?;
        (review.api_version == API_VERSION && review.kind == KIND).then_some(review)
    }
}

/// The response.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Serialize)]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl Answer {
    /// The response that gives a verdict on a review.
    pub fn new(review: &Review<'_>, verdict: Verdict) -> Self {
        // Not 409, which clients would take for a conflict of field managers and try to resolve.
        let status = verdict.conflict.map(|conflict| Status {
            code: 422,
            reason: "Invalid",
            message: conflict.to_string(),
        });
        let uid = review.request.uid.clone();
        let allowed = status.is_none();
        let response = Response { uid, allowed, status, warnings: verdict.warnings };
        Self { api_version: API_VERSION, kind: KIND, response }
    }
}
