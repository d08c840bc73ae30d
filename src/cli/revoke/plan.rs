//! What a Revocation will match of the objects as they are now. Pure.

use std::fmt::Write as _;

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use super::credential::Token;
use crate::cli::output::{Table, printable};
use crate::cli::target::name_of;
use crate::cli::terminal::{Terminal, Tone};
use crate::cli::when;
use crate::crd::{Kind, Member, RevocationSpec, RevokedOfPool, RevokedSessions, UserPool};
use crate::domain::duration::later;
use crate::domain::ids::ObjectName;
use crate::domain::revocation::{MAX_SUBJECT, Revocation, RevocationTarget};

/// The maximum length of the name of a Revocation.
const MAX_NAME: usize = 52;
/// The largest `leeway` of a pool: tokens may be accepted that long after their `exp`.
const MAX_LEEWAY: SignedDuration = SignedDuration::from_mins(5);

/// A Revocation to create, and what it will do.
#[derive(Debug)]
pub struct Plan {
    /// Its spec, without reason and end.
    pub spec: RevocationSpec,
    /// When everything that it revokes has expired, if that is certain.
    pub obsolete_at: Option<Timestamp>,
    /// What it will match, for people.
    pub preview: Preview,
    /// The beginning of its name.
    pub stem: String,
}

/// What a Revocation will match, for people.
#[derive(Debug)]
pub struct Preview {
    /// Completes "About to …".
    pub title: String,
    /// The credentials that it will match, if they are stored.
    pub table: Option<Table>,
    /// What else will happen.
    pub effects: Vec<String>,
}

impl Plan {
    /// The name of a Revocation that is created at `now`. `unique` tells it from others of the same
    /// second.
    pub fn name(&self, now: Timestamp, unique: u16) -> String {
        let stamp = format!("{}-{unique:04x}", now.strftime("%Y%m%d%H%M%S"));
        let room = MAX_NAME - stamp.len() - 1;
        let stem: String = self.stem.chars().take(room).collect();
        format!("{}-{stamp}", stem.trim_end_matches(['-', '.']))
    }
}

impl Preview {
    /// The preview as text.
    pub fn render(&self, terminal: &Terminal) -> String {
        let mut text = self.table.as_ref().map(|table| table.render(terminal)).unwrap_or_default();
        for effect in &self.effects {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{}", terminal.paint(Tone::Warning, &printable(effect)));
        }
        text
    }
}

/// All tokens of users.
pub fn users(pool: &UserPool, ids: &[String]) -> anyhow::Result<Plan> {
    for id in ids {
        ensure!(
            (1..=MAX_SUBJECT).contains(&id.chars().count()),
            "an appUserId has 1 to {MAX_SUBJECT} characters"
        );
    }
    let name = pool.name_any();
    let target = name_of(Kind::UserPool, &name);
    let who = match ids {
        [one] => format!("user `{}`", printable(one)),
        several => format!("{} users", several.len()),
    };
    Ok(Plan {
        stem: format!("user-{name}"),
        spec: of_tokens(RevokedOfPool { subjects: Some(ids.to_vec()), ..of_pool(name) }),
        obsolete_at: None,
        preview: Preview {
            title: format!("revoke all tokens of {who} of {target}"),
            table: None,
            effects: vec!["Future tokens are rejected, too, until the Revocation expires or is deleted. The operator does not store users, so check the spelling of the id.".to_owned()],
        },
    })
}

/// A single token.
pub fn token(pool: &UserPool, token: &Token) -> Plan {
    let name = pool.name_any();
    let target = name_of(Kind::UserPool, &name);
    let of = token.subject.as_ref().map(|subject| format!(" of user `{}`", printable(subject)));
    let ends = token.expires_at.map(|end| later(end, MAX_LEEWAY));
    let note = match ends {
        Some(end) => format!("The token expires by itself, so the Revocation ends at {end}."),
        None => "The Revocation does not expire, because the token has no `exp`.".to_owned(),
    };
    let effects =
        vec![note, "Other tokens of the user stay valid; the user can sign in again.".to_owned()];
    let token_ids = Some(vec![token.id.clone()]);
    Plan {
        stem: format!("token-{name}"),
        spec: of_tokens(RevokedOfPool { token_ids, ..of_pool(name) }),
        obsolete_at: ends,
        preview: Preview {
            title: format!(
                "revoke token `{}`{} of {target}",
                printable(&token.id),
                of.unwrap_or_default()
            ),
            table: None,
            effects,
        },
    }
}

/// All tokens that were issued before a time.
pub fn issued_before(pool: &UserPool, time: Timestamp) -> Plan {
    let name = pool.name_any();
    let target = name_of(Kind::UserPool, &name);
    let tokens_issued_before = Some(Time(time));
    Plan {
        stem: format!("all-{name}"),
        spec: of_tokens(RevokedOfPool { tokens_issued_before, ..of_pool(name) }),
        obsolete_at: None,
        preview: Preview {
            title: format!("revoke all tokens of {target} that were issued before {time}"),
            table: None,
            effects: vec!["Every user of the pool has to sign in again. Tokens without `iat` are rejected, too.".to_owned()],
        },
    }
}

/// Sessions of a member.
pub fn sessions(member: &Member, before: Timestamp, now: Timestamp) -> anyhow::Result<Plan> {
    let name = member.name_any();
    let target = name_of(Kind::Member, &name);
    let all = member.status.as_ref().map_or(&[][..], |status| &status.sessions);
    let revocation = created_before(RevocationTarget::Member, before);
    let matched: Vec<_> =
        all.iter().filter(|it| revocation.covers_age(Some(it.created_at.0), now)).collect();
    ensure!(
        !matched.is_empty(),
        "{target} has no session that began before {before}; nothing was revoked"
    );
    let mut table = Table::new(&["SESSION", "BEGAN", "EXPIRES"]);
    for session in &matched {
        let relative = |Time(time): &Time| when::relative(now, *time);
        table.row([
            session.id.as_str().into(),
            relative(&session.created_at).into(),
            relative(&session.expires_at).into(),
        ]);
    }
    let latest = matched.iter().map(|session| session.expires_at.0).max();
    let sessions_created_before = Time(before);
    Ok(Plan {
        stem: format!("sessions-{name}"),
        spec: RevocationSpec {
            member: Some(RevokedSessions { name, sessions_created_before }),
            ..RevocationSpec::default()
        },
        obsolete_at: latest,
        preview: Preview {
            title: counted("end", matched.len(), all.len(), "sessions", &target),
            table: Some(table),
            effects: vec![format!(
                "The member can log in again; to prevent that, run `kubectl anon suspend {target}`."
            )],
        },
    })
}

/// Such as "revoke 1 of 3 API keys of sdkclient/backend".
pub fn counted(verb: &str, matched: usize, all: usize, noun: &str, target: &str) -> String {
    format!("{verb} {matched} of {all} {noun} of {target}")
}

/// A Revocation as validators will apply it, as far as that depends on the age of a credential.
pub fn created_before(of: RevocationTarget, time: Timestamp) -> Revocation {
    let nobody = ObjectName { namespace: String::new(), name: String::new() };
    Revocation { created_before: Some(time), ..Revocation::new(nobody.clone(), of, nobody) }
}

fn of_tokens(pool: RevokedOfPool) -> RevocationSpec {
    RevocationSpec { user_pool: Some(pool), ..RevocationSpec::default() }
}

/// A Revocation of nothing of a pool yet.
pub fn of_pool(name: String) -> RevokedOfPool {
    RevokedOfPool {
        name,
        key_ids: None,
        keys_created_before: None,
        subjects: None,
        token_ids: None,
        tokens_issued_before: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pool() -> UserPool {
        let pool = json!({"metadata": {"name": "users"}, "spec": {"hosted": {}}});
        serde_json::from_value(pool).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn spec(plan: &Plan) -> serde_json::Value {
        serde_json::to_value(&plan.spec).unwrap()
    }

    #[test]
    fn names_say_what_is_revoked_and_fit() {
        let plan = users(&pool(), &["u".into()]).unwrap();
        assert_eq!(plan.name(now(), 0xa1), "user-users-20270115080000-00a1");
        assert_eq!(spec(&plan), json!({"userPool": {"name": "users", "subjects": ["u"]}}));
        let long = Plan { stem: format!("key-{}", "a-".repeat(30)), ..plan };
        let name = long.name(now(), 0xa1);
        assert!(name.len() <= MAX_NAME && name.ends_with("a-20270115080000-00a1"), "{name}");
    }

    #[test]
    fn a_revoked_token_ends_the_revocation_when_it_expires() {
        let token = |expires_at| Token {
            id: "t".into(),
            subject: Some("u".into()),
            expires_at,
            pool_id: None,
            issuer: None,
        };
        let plan = super::token(&pool(), &token(Some(now())));
        assert_eq!(plan.preview.title, "revoke token `t` of user `u` of userpool/users");
        assert_eq!(plan.obsolete_at, Some(now() + MAX_LEEWAY));
        assert_eq!(spec(&plan), json!({"userPool": {"name": "users", "tokenIds": ["t"]}}));
        assert_eq!(super::token(&pool(), &token(None)).obsolete_at, None);
    }

    #[test]
    fn sessions_are_those_that_began_before() {
        let session = |id: &str, created_at: &str| json!({"id": id, "sha256": "", "createdAt": created_at, "expiresAt": "2027-01-16T00:00:00Z"});
        let sessions_ =
            [session("old", "2027-01-14T00:00:00Z"), session("new", "2027-01-15T07:00:00Z")];
        let member: Member = serde_json::from_value(json!({
            "metadata": {"name": "ada"}, "spec": {"email": "ada@acme.example", "role": "Admin"},
            "status": {"sessions": sessions_},
        }))
        .unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let plan = sessions(&member, at("2027-01-15T00:00:00Z"), now()).unwrap();
        assert_eq!(plan.preview.title, "end 1 of 2 sessions of member/ada");
        let shown = plan.preview.render(&Terminal::default());
        assert!(
            shown.contains("old") && !shown.contains("new") && shown.contains("suspend"),
            "{shown}"
        );
        assert_eq!(plan.obsolete_at, Some(at("2027-01-16T00:00:00Z")));
        assert!(sessions(&member, at("2027-01-13T00:00:00Z"), now()).is_err());
    }
}
