//! What a Revocation matches of the object whose credentials it revokes, and what is reported about
//! that. Pure.

use jiff::Timestamp;

use crate::controller::matched::{self, Credential};
use crate::crd::MatchedCredential;
use crate::domain::client::{ClientKind, SdkClient};
use crate::domain::ids::{MemberId, ObjectName, UserPoolId};
use crate::domain::revocation::{CredentialKind, Revocation, RevocationTarget};
use crate::index::Reader;

/// The number of credentials that a message lists.
const MAX_LISTED: usize = 8;

/// The object whose credentials are revoked, as the index has it.
pub enum Target {
    /// It does not exist.
    Missing,
    /// It is a webapp, which has no API keys.
    Webapp,
    /// Its credentials.
    Exists(Vec<Credential>),
}

impl Target {
    /// Looks up the target of a Revocation.
    pub fn find(reader: &Reader, revocation: &Revocation) -> Self {
        let ObjectName { namespace, name } = &revocation.owner;
        match revocation.of {
            RevocationTarget::UserPool => {
                let pool = reader.pool(UserPoolId::derive(namespace, name));
                pool.map_or(Self::Missing, |pool| {
                    let keys = pool.keys.iter().map(|key| (key.kid.clone(), key.published_at));
                    Self::Exists(keys.collect())
                })
            }
            RevocationTarget::SdkClient => {
                let client = reader.client_named(&revocation.owner);
                client.map_or(Self::Missing, |client| Self::client(&client))
            }
            RevocationTarget::Member => {
                let member = reader.member(MemberId::derive(namespace, name));
                member.map_or(Self::Missing, |member| {
                    let sessions = member.sessions.iter();
                    let sessions = sessions.map(|it| (it.hash.id(), Some(it.created_at)));
                    Self::Exists(sessions.collect())
                })
            }
        }
    }

    fn client(client: &SdkClient) -> Self {
        match &client.kind {
            ClientKind::Webapp(_) => Self::Webapp,
            ClientKind::Service(service) => {
                let keys = service.keys.iter().map(|key| (key.hash.id(), key.created_at));
                Self::Exists(keys.collect())
            }
        }
    }

    fn credentials(&self) -> &[Credential] {
        if let Self::Exists(credentials) = self { credentials } else { &[] }
    }
}

/// What a Revocation has matched.
pub struct Matches<'m> {
    revocation: &'m Revocation,
    target: &'m Target,
    /// What is recorded and what is found now.
    pub matched: Vec<MatchedCredential>,
}

impl<'m> Matches<'m> {
    /// Adds what the target has now to what is recorded.
    pub fn new(
        revocation: &'m Revocation,
        target: &'m Target,
        recorded: &[MatchedCredential],
        now: Timestamp,
    ) -> Self {
        let mut matched = recorded.to_vec();
        for found in matched::of(revocation, target.credentials(), now) {
            found.add_to(&mut matched);
        }
        Self { revocation, target, matched }
    }

    /// Whether something has matched. A Revocation of nothing but users or tokens cannot be checked;
    /// for that, its target has to exist.
    pub fn any(&self) -> bool {
        if self.revocation.covers_credentials() {
            !self.matched.is_empty()
        } else {
            matches!(self.target, Target::Exists(_))
        }
    }

    /// What is revoked, such as "2 of 3 API keys revoked".
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        if self.revocation.covers_credentials() {
            let (found, all) = (self.matched.len(), self.candidates().len());
            parts.push(format!("{found} of {all} {} revoked", self.noun()));
            let missing = self.revocation.key_ids.iter().filter(|id| !self.has(id));
            let missing: Vec<_> = missing.take(MAX_LISTED).map(|id| format!("`{id}`")).collect();
            if !missing.is_empty() {
                parts.push(format!("not found: {}", missing.join(", ")));
            }
        }
        if self.revocation.covers_tokens() {
            parts.push(TOKENS_NOT_CHECKED.to_owned());
        }
        parts.join("; ")
    }

    /// Why nothing has matched.
    pub fn problem(&self) -> String {
        let Revocation { of, owner, created_before, key_ids, .. } = self.revocation;
        let (name, noun) = (&owner.name, self.noun());
        let kind = match of {
            RevocationTarget::UserPool => "UserPool",
            RevocationTarget::SdkClient => "SdkClient",
            RevocationTarget::Member => "Member",
        };
        let credentials = match self.target {
            Target::Missing => {
                return format!("nothing matches: this namespace has no {kind} `{name}`");
            }
            Target::Webapp => {
                return format!(
                    "nothing matches: SdkClient `{name}` is a webapp and has no {noun}"
                );
            }
            Target::Exists(credentials) => credentials,
        };
        let wanted = match created_before {
            None => format!("none of the specified {noun}"),
            Some(time) if key_ids.is_empty() => format!("no {noun} from before {time}"),
            Some(time) => format!("none of the specified {noun}, and none from before {time}"),
        };
        let listed: Vec<_> = credentials.iter().take(MAX_LISTED).map(described).collect();
        let has = if listed.is_empty() { "none".to_owned() } else { listed.join(", ") };
        let mut problem =
            format!("nothing matches: {kind} `{name}` has {wanted}; its {noun}: {has}");
        if self.revocation.covers_tokens() {
            problem.push_str("; ");
            problem.push_str(TOKENS_NOT_CHECKED);
        }
        problem
    }

    fn noun(&self) -> &'static str {
        match self.revocation.of.credential_kind() {
            CredentialKind::SigningKey => "signing keys",
            CredentialKind::ApiKey => "API keys",
            CredentialKind::Session => "sessions",
        }
    }

    fn has(&self, id: &str) -> bool {
        self.matched.iter().any(|it| it.id == id)
    }

    /// The ids of which the matched ones are a part: the specified ones, and for a Revocation by
    /// time those of everything that the target had when the Revocation was created.
    fn candidates(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.matched.iter().map(|it| it.id.as_str()).collect();
        ids.extend(self.revocation.key_ids.iter().map(String::as_str));
        if self.revocation.created_before.is_some() {
            for (id, created_at) in self.target.credentials() {
                let limit = self.revocation.created_at;
                if created_at.zip(limit).is_none_or(|(created_at, limit)| created_at < limit) {
                    ids.push(id);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

const TOKENS_NOT_CHECKED: &str =
    "users and tokens are rejected, but whether they exist cannot be checked";

fn described((id, created_at): &Credential) -> String {
    match created_at {
        Some(time) => format!("`{id}` (from {time})"),
        None => format!("`{id}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    fn revocation(of: RevocationTarget) -> Revocation {
        let name = |name: &str| ObjectName { namespace: "acme".into(), name: name.into() };
        Revocation { created_at: at(-10), ..Revocation::new(name("leak"), of, name("backend")) }
    }

    fn target(keys: &[(&str, i64)]) -> Target {
        Target::Exists(keys.iter().map(|(id, second)| ((*id).to_owned(), at(*second))).collect())
    }

    #[test]
    fn counts_keys_of_those_that_were_specified() {
        let ids = ["a", "b", "c"].map(str::to_owned).to_vec();
        let revocation = Revocation { key_ids: ids, ..revocation(RevocationTarget::SdkClient) };
        let (before, after) = (target(&[("a", -20), ("b", -20)]), target(&[("d", -5)]));
        let first = Matches::new(&revocation, &before, &[], NOW);
        assert!(first.any());
        assert_eq!(first.summary(), "2 of 3 API keys revoked; not found: `c`");
        // Destroyed and replaced.
        let later = Matches::new(&revocation, &after, &first.matched, NOW);
        assert_eq!(later.matched, first.matched);
        assert_eq!(later.summary(), first.summary());
        // A key that was restored.
        let restored = target(&[("c", -20)]);
        let more = Matches::new(&revocation, &restored, &first.matched, NOW);
        assert_eq!(more.summary(), "3 of 3 API keys revoked");
    }

    #[test]
    fn counts_keys_of_those_that_there_were() {
        let revocation =
            Revocation { created_before: at(-15), ..revocation(RevocationTarget::UserPool) };
        let keys = target(&[("old", -20), ("new", -12), ("replacement", -10)]);
        let matches = Matches::new(&revocation, &keys, &[], NOW);
        assert!(matches.any());
        assert_eq!(matches.summary(), "1 of 2 signing keys revoked");
    }

    #[test]
    fn says_why_nothing_matches() {
        let of = revocation;
        let by_id = Revocation { key_ids: vec!["x".into()], ..of(RevocationTarget::SdkClient) };
        let by_time = Revocation { created_before: at(-30), ..of(RevocationTarget::UserPool) };
        let both = Revocation { created_before: at(-30), ..by_id.clone() };
        let subjects = ["ada".to_owned()].into();
        let mixed = Revocation { subjects, ..by_time.clone() };
        let sessions = Revocation { created_before: at(-30), ..of(RevocationTarget::Member) };
        let key = target(&[("a", -20)]);
        for (revocation, target, problem) in [
            (&by_id, &Target::Missing, "this namespace has no SdkClient `backend`"),
            (&by_id, &Target::Webapp, "SdkClient `backend` is a webapp and has no API keys"),
            (
                &by_id,
                &key,
                "SdkClient `backend` has none of the specified API keys; its API keys: `a` (from 1969-12-31T23:59:40Z)",
            ),
            (
                &by_time,
                &key,
                "UserPool `backend` has no signing keys from before 1969-12-31T23:59:30Z; its signing keys: `a` (from 1969-12-31T23:59:40Z)",
            ),
            (
                &both,
                &target(&[]),
                "SdkClient `backend` has none of the specified API keys, and none from before 1969-12-31T23:59:30Z; its API keys: none",
            ),
            (
                &mixed,
                &target(&[]),
                "UserPool `backend` has no signing keys from before 1969-12-31T23:59:30Z; its signing keys: none; users and tokens are rejected, but whether they exist cannot be checked",
            ),
            (
                &sessions,
                &target(&[]),
                "Member `backend` has no sessions from before 1969-12-31T23:59:30Z; its sessions: none",
            ),
        ] {
            let matches = Matches::new(revocation, target, &[], NOW);
            assert!(!matches.any());
            assert_eq!(matches.problem(), format!("nothing matches: {problem}"));
        }
    }

    #[test]
    fn what_cannot_be_checked_needs_its_target_only() {
        let users = Revocation {
            subjects: ["ada".to_owned()].into(),
            ..revocation(RevocationTarget::UserPool)
        };
        assert!(!Matches::new(&users, &Target::Missing, &[], NOW).any());
        let pool = target(&[]);
        let matches = Matches::new(&users, &pool, &[], NOW);
        assert!(matches.any());
        assert_eq!(matches.summary(), TOKENS_NOT_CHECKED);
    }
}
