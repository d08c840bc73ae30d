//! Passwords of members: argon2id hashes in PHC format, computed and verified only here.

use argon2::password_hash::phc::PasswordHash as Phc;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHasher as _, Version};
use aws_lc_rs::{constant_time, rand};
use thiserror::Error;
use zeroize::Zeroizing;

/// The minimum length of a password, in characters.
pub const MIN_CHARS: usize = 8;
/// The maximum length of a password, in bytes. It limits what a request can make us hash.
pub const MAX_BYTES: usize = 1024;

/// Limits on the parameters of a hash that was computed elsewhere: verifying it must not cost more
/// than verifying one of ours. Otherwise the duration of a failed login would reveal that the
/// member exists.
const MAX_MEMORY_KIB: u32 = Params::DEFAULT_M_COST;
const MAX_PASSES: u32 = 8;
const MAX_LANES: u32 = 4;
/// The limit on memory times passes, which is the cost of a verification: lanes only divide it.
const MAX_WORK: u32 = Params::DEFAULT_M_COST * Params::DEFAULT_T_COST;
/// The longest PHC string that is parsed.
const MAX_PHC_BYTES: usize = 512;
const SALT_BYTES: usize = 16;

/// Why a password was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Too short.
    #[error("a password must have at least {MIN_CHARS} characters")]
    TooShort,
    /// Too long.
    #[error("a password must have at most {MAX_BYTES} bytes")]
    TooLong,
    /// It looks like a hash, but is not one that is accepted.
    #[error(
        "a hash must be argon2id in PHC format, version 19, with `m` at most {MAX_MEMORY_KIB}, `m` times `t` at most {MAX_WORK}, `t` at most {MAX_PASSES} and `p` at most {MAX_LANES}"
    )]
    Hash,
    /// The random generator or the hash function failed.
    #[error("the password could not be hashed")]
    Failed,
}

/// A password in plain text. No `Debug`, no `Display`, wiped on drop.
pub struct Password(Zeroizing<String>);

impl Password {
    /// A password that was entered at login. It has any length, because it is only compared.
    #[must_use]
    pub fn typed(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// A new password.
    ///
    /// # Errors
    /// Too short or too long.
    pub fn chosen(text: &str) -> Result<Self, Refused> {
        if text.len() > MAX_BYTES {
            return Err(Refused::TooLong);
        }
        if text.chars().count() < MIN_CHARS {
            return Err(Refused::TooShort);
        }
        Ok(Self::typed(text))
    }

    /// Whether it is longer than any valid password, so that verifying it would be a waste.
    #[must_use]
    pub fn is_oversized(&self) -> bool {
        self.0.len() > MAX_BYTES
    }
}

/// The working memory of verifications, which use it one after the other. It is reused because
/// allocating 19 MiB for each of them fragmented the heap to half a gigabyte.
#[derive(Default)]
pub struct Scratch(Vec<Block>);

impl Scratch {
    fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            // Freed first, so that the old content is not copied into the larger allocation.
            self.0 = Vec::new();
            self.0.resize(count, Block::new());
        }
        self.0.get_mut(..count).unwrap_or_default()
    }
}

/// An argon2id hash with its salt and parameters. No `Debug`, no `Display`, wiped on drop.
pub struct PasswordHash(Zeroizing<String>);

impl PasswordHash {
    /// Hashes a password with a fresh salt. Takes tens of milliseconds and 19 MiB.
    ///
    /// # Errors
    /// The random generator or the hash function failed.
    pub fn of(password: &Password) -> Result<Self, Refused> {
        let mut salt = [0_u8; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| Refused::Failed)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
        let hash = argon2.hash_password_with_salt(password.0.as_bytes(), &salt);
        let hash = hash.map_err(|_| Refused::Failed)?;
        Ok(Self(Zeroizing::new(hash.to_string())))
    }

    /// Parses a hash that was computed earlier or elsewhere. `None` if it is not argon2id, or if
    /// verifying it would cost more than the limits allow.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_PHC_BYTES {
            return None;
        }
        let phc = Phc::new(text).ok()?;
        let params = Params::try_from(&phc).ok()?;
        let (memory, passes) = (params.m_cost(), params.t_cost());
        let cheap_enough = memory <= MAX_MEMORY_KIB
            && passes <= MAX_PASSES
            && params.p_cost() <= MAX_LANES
            && memory.saturating_mul(passes) <= MAX_WORK;
        let whole = phc.salt.is_some() && phc.hash.is_some_and(|hash| hash.len() >= 16);
        let argon2id = phc.algorithm.as_str() == "argon2id" && phc.version == Some(19);
        (cheap_enough && whole && argon2id).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The hash for an entry of a Secret, which contains a hash or a password in plain text.
    ///
    /// # Errors
    /// The entry is neither an accepted hash nor a valid password.
    pub fn from_entry(entry: &str) -> Result<Self, Refused> {
        let entry = without_line_break(entry);
        if entry.starts_with("$argon2") {
            return Self::parse(entry).ok_or(Refused::Hash);
        }
        Self::of(&Password::chosen(entry)?)
    }

    /// Whether the hash belongs to this entry of a Secret; see [`PasswordHash::from_entry`].
    #[must_use]
    pub fn is_of_entry(&self, entry: &str) -> bool {
        let entry = without_line_break(entry);
        if entry.starts_with("$argon2") {
            return self.expose() == entry;
        }
        self.matches(&Password::typed(entry), &mut Scratch::default())
    }

    /// Whether this is the hash of the password. Takes tens of milliseconds and 19 MiB of
    /// `scratch`, or what the parameters of the hash require, which [`PasswordHash::parse`] has
    /// limited.
    #[must_use]
    pub fn matches(&self, password: &Password, scratch: &mut Scratch) -> bool {
        let Ok(phc) = Phc::new(&self.0) else { return false };
        let (Some(salt), Some(hash), Ok(params)) = (phc.salt, phc.hash, Params::try_from(&phc))
        else {
            return false;
        };
        let blocks = scratch.blocks(params.block_count());
        let mut computed = Zeroizing::new(vec![0; hash.len()]);
        // `parse` accepts no other algorithm and version.
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let password = password.0.as_bytes();
        argon2.hash_password_into_with_memory(password, &salt, &mut computed, blocks).is_ok()
            && constant_time::verify_slices_are_equal(&computed, hash.as_ref()).is_ok()
    }

    /// Like [`Self::matches`], but always at the cost of one of our own hashes, whatever the
    /// parameters of this hash are.
    #[must_use]
    pub fn check(&self, password: &Password, scratch: &mut Scratch) -> bool {
        let matches = self.matches(password, scratch);
        let params = Phc::new(&self.0).ok().and_then(|phc| Params::try_from(&phc).ok());
        let done = params.map_or(0, |params| params.m_cost().saturating_mul(params.t_cost()));
        for memory in rest(done) {
            let Ok(params) = Params::new(memory, 1, 1, None) else { continue };
            let blocks = scratch.blocks(params.block_count());
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let (password, salt, mut unused) = (password.0.as_bytes(), [0; SALT_BYTES], [0; 32]);
            let _ = argon2.hash_password_into_with_memory(password, &salt, &mut unused, blocks);
        }
        matches
    }

    /// The PHC string, for the one place that stores it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The hashes to compute after `done` of [`MAX_WORK`] is spent: the memory of each, with one pass.
fn rest(done: u32) -> impl Iterator<Item = u32> {
    let mut left = MAX_WORK.saturating_sub(done);
    std::iter::from_fn(move || {
        let memory = left.min(MAX_MEMORY_KIB);
        left -= memory;
        (memory >= Params::MIN_M_COST).then_some(memory)
    })
}

/// Editors and `kubectl create secret --from-file` leave a trailing line break.
fn without_line_break(entry: &str) -> &str {
    let entry = entry.strip_suffix('\n').unwrap_or(entry);
    entry.strip_suffix('\r').unwrap_or(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> PasswordHash {
        PasswordHash::of(&Password::chosen(text).unwrap()).unwrap()
    }

    #[test]
    fn a_hash_is_of_its_password_only() {
        let hash = made("correct horse");
        let again = PasswordHash::parse(hash.expose()).unwrap();
        assert!(again.matches(&Password::typed("correct horse"), &mut Scratch::default()));
        assert!(!again.matches(&Password::typed("correct horse "), &mut Scratch::default()));
        assert!(!again.matches(&Password::typed(""), &mut Scratch::default()));
        let other = made("correct horse");
        assert!(hash.expose() != other.expose(), "salted");
    }

    #[test]
    fn entries_of_secrets() {
        let plain = PasswordHash::from_entry("correct horse\n").unwrap();
        assert!(plain.matches(&Password::typed("correct horse"), &mut Scratch::default()));
        let copied = PasswordHash::from_entry(&format!("{}\n", plain.expose())).unwrap();
        assert!(copied.expose() == plain.expose(), "a hash is stored unchanged");
        assert!(plain.is_of_entry("correct horse\r\n") && !plain.is_of_entry("another horse"));
        assert!(plain.is_of_entry(&format!("{}\n", plain.expose())));
        assert!(!plain.is_of_entry(made("correct horse").expose()), "another hash");
        let refused = |entry: &str| PasswordHash::from_entry(entry).map(drop).unwrap_err();
        assert_eq!(refused("short"), Refused::TooShort);
        assert_eq!(refused(""), Refused::TooShort);
        assert_eq!(refused(&"x".repeat(MAX_BYTES + 1)), Refused::TooLong);
        assert_eq!(refused("$argon2id$v=19$nonsense"), Refused::Hash);
    }

    #[test]
    fn a_hash_that_would_cost_too_much_is_refused() {
        let hash = |algorithm: &str, version: u32, m: u32, t: u32, p: u32| {
            let tail = "c29tZXNhbHRzb21lc2FsdA$Y2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2NjY2M";
            PasswordHash::parse(&format!("${algorithm}$v={version}$m={m},t={t},p={p}${tail}"))
                .is_some()
        };
        assert!(hash("argon2id", 19, 19456, 2, 1));
        assert!(hash("argon2id", 19, 12288, 3, 4));
        assert!(hash("argon2id", 19, 7168, 5, 1));
        assert!(!hash("argon2id", 19, 19457, 1, 1), "more memory than ours");
        assert!(!hash("argon2id", 19, 19456, 3, 1), "more work than ours");
        assert!(!hash("argon2id", 19, 65536, 3, 4));
        assert!(!hash("argon2id", 19, 4_194_304, 1, 1));
        assert!(!hash("argon2id", 19, 8, 1000, 1));
        assert!(!hash("argon2id", 19, 19456, 8, 1), "both at their cap");
        assert!(!hash("argon2id", 19, 19456, 1, 200));
        assert!(!hash("argon2i", 19, 19456, 2, 1));
        assert!(!hash("argon2d", 19, 19456, 2, 1));
        assert!(!hash("argon2id", 16, 19456, 2, 1));
        assert!(PasswordHash::parse("").is_none());
        assert!(PasswordHash::parse(&"$argon2id".repeat(100)).is_none());
        assert!(PasswordHash::parse("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ").is_none());
    }

    #[test]
    fn every_check_is_the_same_work() {
        for (memory, passes) in
            [(19_456, 2), (19_456, 1), (7168, 5), (8, 1), (4096, 3), (12_345, 3)]
        {
            let done = memory * passes;
            let more: Vec<_> = rest(done).collect();
            let total = done + more.iter().sum::<u32>();
            assert!(MAX_WORK - total < Params::MIN_M_COST, "{memory} {passes}: {more:?}");
            assert!(more.iter().all(|memory| *memory <= MAX_MEMORY_KIB));
        }
        let cheap = Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cheap);
        let hash = argon2.hash_password_with_salt(b"correct horse", &[7; 16]).unwrap();
        let hash = PasswordHash::parse(&hash.to_string()).unwrap();
        assert!(hash.check(&Password::typed("correct horse"), &mut Scratch::default()));
        assert!(!hash.check(&Password::typed("another horse"), &mut Scratch::default()));
    }
}
