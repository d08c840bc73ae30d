//! Which client the hash of an ApiKey belongs to. Pure.
//!
//! Hashes are public: they stand in specs, in status and on delivery Secrets, so naming one proves
//! nothing. A hash belongs to the client whose status lists it, because only the leader writes
//! status. This is the rule by which the leader lists it there: never while another client has it,
//! and otherwise for the client with the strongest evidence, whichever was reconciled first.

/// What a client has to show for a hash that its status does not list; the strongest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Its spec lists the hash.
    Asserted,
    /// The key is in its delivery Secret, and nothing shows how it got there: it may be a copy.
    PlainText,
    /// The record of its delivery Secret lists the hash, under a MAC for this client and Secret. So
    /// the hash was the client's before status was lost.
    Recorded,
}

/// What is known of the other clients.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    /// The status of one lists the hash, or is about to.
    pub hold: bool,
    /// The delivery Secret of one records the hash under a valid MAC.
    pub recorded: bool,
    /// The strongest evidence that another one has shown, short of a MAC.
    pub strongest: Option<Evidence>,
    /// Every client that may have evidence has been inspected.
    pub inspected: bool,
}

/// Whether a client gets a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It does.
    Granted,
    /// It is not known yet.
    Wait,
    /// It does not: the hash is another client's, or nobody's.
    Conflict,
}

/// Whether a client with this evidence gets the hash.
#[must_use]
pub fn rule(evidence: Evidence, others: Others) -> Ruling {
    if others.hold {
        return Ruling::Conflict;
    }
    if evidence == Evidence::Recorded {
        return Ruling::Granted;
    }
    if others.recorded {
        return Ruling::Conflict;
    }
    // Whoever is reconciled first must not gain by it.
    if !others.inspected {
        return Ruling::Wait;
    }
    match others.strongest {
        Some(strongest) if strongest >= evidence => Ruling::Conflict,
        _ => Ruling::Granted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Others =
        Others { hold: false, recorded: false, strongest: None, inspected: true };

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
        let recorded = Others { recorded: true, ..NOBODY };
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
        // What is decided anyway is decided at once.
        assert_eq!(rule(Evidence::Asserted, Others { hold: true, ..unknown }), Ruling::Conflict);
    }
}
