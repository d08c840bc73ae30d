//! Claim requirements of a pool's tokens, beyond what is always validated.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::algorithm::VerifyingAlgorithm;
use super::json::{Json, Object};

/// The claim requirements of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimsPolicy {
    /// The claim with the appUserId.
    pub id_claim: ClaimPath,
    /// The JSON type of that claim.
    pub id_claim_type: IdClaimType,
    /// Accepted `iss` values, if the key source does not determine the issuer. Empty: `iss` is not
    /// validated.
    pub issuers: Vec<String>,
    /// Accepted `aud` values.
    pub audience: Audience,
    /// Accepted key algorithms; empty: all supported ones.
    pub algorithms: Vec<VerifyingAlgorithm>,
    /// Allowed clock difference between the issuer and this machine, applied to `exp`, `nbf` and
    /// `iat`.
    pub leeway: SignedDuration,
    /// Additional required claims; all must match.
    pub required: Vec<RequiredClaim>,
}

/// The accepted `aud` values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The pool's id, or the id of one of its valid clients.
    Own,
    /// Any value or none, so that tokens for other applications of the same issuer are accepted
    /// too.
    Any,
    /// At least one of these.
    OneOf(Vec<String>),
}

/// The JSON type of the claim with the appUserId. Exactly one is accepted, so that the number 42 and
/// the string "42" never name one user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IdClaimType {
    /// A string that is not empty.
    #[default]
    String,
    /// An integer of 64 bits, written without fraction and exponent.
    Integer,
}

/// The location of a value in the claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    claim: String,
    /// The rest of a JSON Pointer; empty for the claim itself.
    within: String,
}

/// A claim that must have one of some values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredClaim {
    /// The claim.
    pub claim: ClaimPath,
    /// The accepted values.
    pub values: Vec<String>,
    /// How a string is compared; as a whole, if unset.
    pub format: Option<ClaimFormat>,
}

/// The format of a string with several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimFormat {
    /// Values that are separated by single spaces.
    SpaceDelimited,
}

/// The default leeway.
pub const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

impl Default for ClaimsPolicy {
    fn default() -> Self {
        Self {
            id_claim: ClaimPath::name("sub"),
            id_claim_type: IdClaimType::String,
            issuers: Vec::new(),
            audience: Audience::Own,
            algorithms: Vec::new(),
            leeway: LEEWAY,
            required: Vec::new(),
        }
    }
}

impl ClaimsPolicy {
    /// Whether keys of this algorithm are accepted.
    #[must_use]
    pub fn allows(&self, algorithm: VerifyingAlgorithm) -> bool {
        self.algorithms.is_empty() || self.algorithms.contains(&algorithm)
    }
}

impl ClaimPath {
    /// The claim with exactly this name, whatever characters it contains.
    #[must_use]
    pub fn name(name: &str) -> Self {
        Self { claim: name.to_owned(), within: String::new() }
    }

    /// Parses a claim name or, if it starts with `/`, a JSON Pointer (RFC 6901). `None` if it is
    /// neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some(pointer) = text.strip_prefix('/') else {
            return (!text.is_empty()).then(|| Self::name(text));
        };
        // RFC 6901 section 3: `~0` encodes a tilde and `~1` a slash.
        let escapes = text.split('~').skip(1);
        if !escapes.into_iter().all(|rest| rest.starts_with(['0', '1'])) {
            return None;
        }
        let (claim, within) = pointer.find('/').map_or((pointer, ""), |at| pointer.split_at(at));
        let claim = claim.replace("~1", "/").replace("~0", "~");
        (!claim.is_empty()).then(|| Self { claim, within: within.to_owned() })
    }

    /// The value at this location.
    #[must_use]
    pub fn find<'c, 't>(&self, claims: &'c Object<'t>) -> Option<&'c Json<'t>> {
        claims.get(&self.claim)?.pointer(&self.within)
    }

    /// Whether this is exactly the claim `name`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.claim == name && self.within.is_empty()
    }
}

impl RequiredClaim {
    /// Whether the claim has one of the values, or is an array that contains one.
    #[must_use]
    pub fn holds(&self, claims: &Object<'_>) -> bool {
        match self.claim.find(claims) {
            Some(Json::Text(list)) if self.format == Some(ClaimFormat::SpaceDelimited) => {
                list.split(' ').any(|item| self.values.iter().any(|value| value == item))
            }
            Some(Json::List(items)) => items.iter().any(|item| self.accepts(item)),
            Some(value) => self.accepts(value),
            None => false,
        }
    }

    /// Strings are compared as they are; `true`, `false` and integers by their JSON text.
    fn accepts(&self, value: &Json<'_>) -> bool {
        let is_listed = |text: &str| self.values.iter().any(|value| value == text);
        match value {
            Json::Text(text) => is_listed(text),
            Json::Bool(truth) => is_listed(&truth.to_string()),
            Json::Number(number) if !number.is_f64() => is_listed(&number.to_string()),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::json::parse_object;

    fn claims() -> Object<'static> {
        let text = br#"{
            "sub": "u1", "https://acme.example/id": "u2", "a/b": "u3", "m~n": "u4", "": "u5",
            "user": {"ids": ["u6", {"x": "u7"}], "": "u8"},
            "groups": ["staff", 7, true], "admin": true, "level": 3, "half": 0.5
        }"#;
        parse_object(text).unwrap()
    }

    #[test]
    fn names_and_pointers() {
        let claims = claims();
        let find = |text: &str| ClaimPath::parse(text).unwrap().find(&claims)?.as_str();
        for (text, value) in [
            ("sub", "u1"),
            ("/sub", "u1"),
            ("https://acme.example/id", "u2"),
            ("/https:~1~1acme.example~1id", "u2"),
            ("a/b", "u3"),
            ("/a~1b", "u3"),
            ("m~n", "u4"),
            ("/m~0n", "u4"),
            ("/user/ids/0", "u6"),
            ("/user/ids/1/x", "u7"),
            ("/user/", "u8"),
        ] {
            assert_eq!(find(text), Some(value), "{text}");
        }
        for nothing in ["user/ids", "/user/ids/01", "/user/ids/-", "/sub/x", "/a/b", "x"] {
            assert_eq!(find(nothing), None, "{nothing}");
        }
        for bad in ["", "/", "//x", "/a~2", "/a~"] {
            assert_eq!(ClaimPath::parse(bad), None, "{bad}");
        }
        assert!(ClaimPath::parse("/email").unwrap().is("email"));
        assert!(!ClaimPath::parse("/email/0").unwrap().is("email"));
    }

    #[test]
    fn required_claims() {
        let claims = claims();
        let holds = |claim: &str, values: &[&str]| {
            let values = values.iter().map(ToString::to_string).collect();
            let claim = ClaimPath::parse(claim).unwrap();
            RequiredClaim { claim, values, format: None }.holds(&claims)
        };
        for (claim, values) in [
            ("sub", ["x", "u1"].as_slice()),
            ("groups", &["staff"]),
            ("groups", &["7"]),
            ("groups", &["true"]),
            ("/groups/0", &["staff"]),
            ("admin", &["true"]),
            ("level", &["3"]),
        ] {
            assert!(holds(claim, values), "{claim} {values:?}");
        }
        for (claim, values) in [
            ("sub", ["U1"].as_slice()),
            ("sub", &["u"]),
            ("sub", &[]),
            ("groups", &["staff,7"]),
            ("groups", &["[\"staff\"]"]),
            ("admin", &["1"]),
            ("half", &["0.5"]),
            ("user", &["u6"]),
            ("/user/ids", &["u7"]),
            ("nothing", &["null", ""]),
        ] {
            assert!(!holds(claim, values), "{claim} {values:?}");
        }
    }

    #[test]
    fn space_delimited_claims_match_by_element() {
        let holds = |scope: &str, value: &str| {
            let text = format!(r#"{{"scope": {scope}}}"#);
            let claims = parse_object(text.as_bytes()).unwrap();
            let (claim, values) = (ClaimPath::name("scope"), vec![value.to_owned()]);
            RequiredClaim { claim, values, format: Some(ClaimFormat::SpaceDelimited) }
                .holds(&claims)
        };
        for scope in [r#""read""#, r#""a read""#, r#""read b""#, r#"["a", "read"]"#] {
            assert!(holds(scope, "read"), "{scope}");
        }
        for scope in [r#""reads""#, r#""read,b""#, r#""Read""#, r#""a\tread""#, r#"[["read"]]"#] {
            assert!(!holds(scope, "read"), "{scope}");
        }
        assert!(!holds(r#""a read""#, "a read"), "an element has no space");
    }
}
