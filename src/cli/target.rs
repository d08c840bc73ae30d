//! Objects as arguments: `sdkclient/backend`.

use std::fmt;
use std::str::FromStr;

use kube::Resource as _;
use kube::core::CustomResourceExt as _;

use crate::crd::{self, Kind, for_each_kind};

/// The kind and the name of an object in the namespace of the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: String,
}

/// The kind in lower case, as kubectl prints it: `sdkclient`.
pub fn singular(kind: Kind) -> String {
    kind.as_str().to_ascii_lowercase()
}

/// `sdkclient/backend`.
pub fn name_of(kind: Kind, name: &str) -> String {
    format!("{}/{name}", singular(kind))
}

macro_rules! parse_kind {
    ($($kind:ident),*) => {
        /// The kind of this singular, plural or short name.
        fn parse_kind(text: &str) -> Option<Kind> {
            $(
                let plural = crd::$kind::plural(&());
                let names = [stringify!($kind), plural.as_ref()];
                let short = crd::$kind::shortnames();
                if names.iter().chain(short).any(|name| name.eq_ignore_ascii_case(text)) {
                    return Some(Kind::$kind);
                }
            )*
            None
        }
    };
}
for_each_kind!(parse_kind);

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(kind, name)| {
            let (kind, _) = kind.split_once('.').unwrap_or((kind, ""));
            Some(Self { kind: parse_kind(kind)?, name: name.to_owned() })
        });
        let parsed = parsed.filter(|target| !target.name.is_empty() && !target.name.contains('/'));
        parsed.ok_or_else(|| "must be KIND/NAME, such as sdkclient/backend".to_owned())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name_of(self.kind, &self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_that_kubectl_accepts() {
        for text in ["sdkclient/x", "sdkclients/x", "SdkClient/x", "anonclient/x"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(
                (target.kind, target.to_string().as_str()),
                (Kind::SdkClient, "sdkclient/x")
            );
        }
        let full: Target = "userpools.anon.dev/users".parse().unwrap();
        assert_eq!((full.kind, full.name.as_str()), (Kind::UserPool, "users"));
        for bad in ["x", "pod/x", "sdkclient/", "sdkclient/x/y", ""] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
