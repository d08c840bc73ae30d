//! The rule that assigns the hash of an API key to a client. Pure.
//!
//! Hashes are public: specs, status and delivery Secrets contain them, so listing a hash proves
//! nothing. A hash belongs to the client whose status lists it, because only the leader writes
//! status. By this rule the leader decides whether to list it there: never while another client has
//! it, and otherwise for the client with the strongest evidence, in whatever order the clients are
//! reconciled.

/// The evidence of a client for a hash that its status does not list; the strongest is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Its spec lists the hash.
    Asserted,
    /// The key is in its delivery Secret. It may be a copy of another client's key.
    PlainText,
    /// The record of its delivery Secret lists the hash, with a valid MAC for this client and
    /// Secret. So the hash belonged to the client before its status was lost.
    Recorded,
}

/// What is known about the other clients.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    /// The status of another client lists the hash, or is about to.
    pub hold: bool,
    /// Whether the delivery Secret of another client records the hash with a valid MAC; `None` if
    /// that has not been looked up.
    pub recorded: Option<bool>,
    /// The strongest evidence of another client, without a MAC.
    pub strongest: Option<Evidence>,
    /// Every client that may have evidence has been inspected.
    pub inspected: bool,
}

/// Whether a hash is assigned to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It is.
    Granted,
    /// It is not known yet, because other clients have to be inspected first.
    Wait,
    /// It is, unless the delivery Secret of another client records the hash, which has to be looked
    /// up.
    LookUp,
    /// It is not: the hash belongs to another client, or another client's evidence is as strong.
    Conflict,
}

/// Decides whether the hash is assigned to a client with this evidence.
#[must_use]
pub fn rule(evidence: Evidence, others: Others) -> Ruling {
    if others.hold {
        return Ruling::Conflict;
    }
    if evidence == Evidence::Recorded {
        return Ruling::Granted;
    }
    if others.recorded == Some(true) {
        return Ruling::Conflict;
    }
    // The client that is reconciled first must have no advantage.
    if !others.inspected {
        return Ruling::Wait;
    }
    match others.strongest {
        Some(strongest) if strongest >= evidence => Ruling::Conflict,
        _ if others.recorded.is_none() => Ruling::LookUp,
        _ => Ruling::Granted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Others =
        Others { hold: false, recorded: Some(false), strongest: None, inspected: true };

    #[test]
    fn a_hash_that_another_client_holds_is_granted_to_nobody() {
        let held = Others { hold: true, ..NOBODY };
        for evidence in [Evidence::Asserted, Evidence::PlainText, Evidence::Recorded] {
            assert_eq!(rule(evidence, held), Ruling::Conflict);
            assert_eq!(rule(evidence, NOBODY), Ruling::Granted);
        }
    }

    #[test]
    fn of_two_clients_only_the_one_with_stronger_evidence_gets_a_hash() {
        use Evidence::{Asserted, PlainText, Recorded};
        for (one, other, granted) in [
            (Asserted, Asserted, false),
            (Asserted, PlainText, false),
            (PlainText, Asserted, true),
            (PlainText, PlainText, false),
            (Recorded, Asserted, true),
            (Recorded, PlainText, true),
        ] {
            let others = Others { strongest: Some(other), ..NOBODY };
            let expected = if granted { Ruling::Granted } else { Ruling::Conflict };
            assert_eq!(rule(one, others), expected, "{one:?} against {other:?}");
        }
        let recorded = Others { recorded: Some(true), ..NOBODY };
        for evidence in [Asserted, PlainText] {
            assert_eq!(rule(evidence, recorded), Ruling::Conflict, "{evidence:?}");
        }
    }

    #[test]
    fn without_a_mac_a_client_waits_until_all_others_are_inspected() {
        let unknown = Others { inspected: false, ..NOBODY };
        assert_eq!(rule(Evidence::Asserted, unknown), Ruling::Wait);
        assert_eq!(rule(Evidence::PlainText, unknown), Ruling::Wait);
        assert_eq!(rule(Evidence::Recorded, unknown), Ruling::Granted);
        // What is looked up in the meantime would be old by then.
        let neither = Others { recorded: None, ..unknown };
        assert_eq!(rule(Evidence::Asserted, neither), Ruling::Wait);
        // A conflict that is already certain is reported at once.
        assert_eq!(rule(Evidence::Asserted, Others { hold: true, ..unknown }), Ruling::Conflict);
    }

    #[test]
    fn without_a_mac_a_client_gets_a_hash_only_after_records_were_looked_up() {
        let unknown = Others { recorded: None, ..NOBODY };
        assert_eq!(rule(Evidence::Asserted, unknown), Ruling::LookUp);
        assert_eq!(rule(Evidence::PlainText, unknown), Ruling::LookUp);
        assert_eq!(rule(Evidence::Recorded, unknown), Ruling::Granted);
        for conflict in [
            Others { hold: true, ..unknown },
            Others { strongest: Some(Evidence::Asserted), ..unknown },
        ] {
            assert_eq!(rule(Evidence::Asserted, conflict), Ruling::Conflict);
        }
    }
}
