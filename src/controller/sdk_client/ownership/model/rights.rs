//! Which client may have a key, and that it has it: the part of the model that judges.

use proptest::prelude::*;

use super::*;

impl Model {
    /// Every client with every key.
    pub(super) fn pairs() -> impl Iterator<Item = (usize, usize)> {
        (0..KEYS).flat_map(|key| (0..CLIENTS).map(move |client| (client, key)))
    }

    /// Whether the client still asks for a key.
    pub fn asks(&self, client: usize, key: usize) -> bool {
        let is_deleted = self.clients[client].is_deleted;
        if client >= DELIVERED {
            return !is_deleted && self.clients[client].spec.contains(&key);
        }
        let secret = &self.secrets[client];
        if is_deleted && !(secret.mac == Some(client) && secret.lists(key)) {
            return false;
        }
        secret.plain == Some(key)
            || secret.plain.is_some()
                && secret.mac == Some(client)
                && secret.previous.contains(&key)
    }

    /// The clients with a valid record of a key.
    pub(super) fn proven(&self, key: usize) -> Vec<usize> {
        let secrets = self.secrets.iter().enumerate();
        secrets
            .filter(|(client, it)| {
                it.mac == Some(*client) && it.lists(key) && self.asks(*client, key)
            })
            .map(|(client, _)| client)
            .collect()
    }

    /// To which client a key belongs if no status lists it.
    fn strongest(&self, key: usize) -> Option<usize> {
        let secrets = || self.secrets.iter().enumerate();
        let plain: Vec<_> = secrets()
            .filter(|(client, it)| it.plain == Some(key) && self.asks(*client, key))
            .map(|(client, _)| client)
            .collect();
        let listed: Vec<_> =
            (DELIVERED..CLIENTS).filter(|client| self.asks(*client, key)).collect();
        let strongest =
            [self.proven(key), plain, listed].into_iter().find(|clients| !clients.is_empty());
        match strongest.as_deref() {
            Some([one]) => Some(*one),
            _ => None,
        }
    }

    /// A second leader that is behind may have granted the key of a deleted client to another one,
    /// which is a known limit: while both exist, validators use the key for neither.
    pub(super) fn lose_race(&mut self, deleted: usize, key: usize) {
        let written = self.writes.iter().filter(|it| it.status.contains(&key));
        let found_nothing = |it: &&Pass| it.recorded.get(&hash(key)) == Some(&false);
        let passes = self.passes.iter().filter(found_nothing).map(|it| it.client);
        let listed = (0..CLIENTS).filter(|client| self.clients[*client].status.contains(&key));
        let mut others: Keys = written.map(|it| it.client).chain(passes).chain(listed).collect();
        others.remove(&deleted);
        if !others.is_empty() {
            self.owner[key] = self.owner[key].filter(|owner| *owner != deleted);
            self.entitled[key].extend(others);
        }
    }

    /// Records who may have the keys after a step, by what was asked for and proven before it.
    pub(super) fn follow(&mut self, step: &Step, asked: &[(usize, usize)], proven: &[Vec<usize>]) {
        // Only users give keys up.
        if matches!(step, Step::Reconcile(..) | Step::LookUp(_) | Step::Settle) {
            let is_alone = |&(client, key): &(usize, usize)| match self.owner[key] {
                Some(owner) => owner == client,
                None => self.entitled[key] == Keys::from([client]),
            };
            let mut lost = asked.iter().filter(|(client, key)| !self.asks(*client, *key));
            self.taken = lost.find(|it| is_alone(it)).copied();
        }
        for (key, proven) in proven.iter().enumerate() {
            if let Some(owner) = self.owner[key].filter(|owner| !self.asks(*owner, key)) {
                self.owner[key] = None;
                if self.clients[owner].status.contains(&key) {
                    self.released[key].insert(owner);
                }
            }
            self.entitled[key].extend(self.strongest(key));
            let now = self.proven(key);
            for client in proven.iter().filter(|client| !now.contains(client)) {
                let older = self.older[*client].iter().filter(|(_, asked)| *asked == key);
                self.entitled[key].extend(older.map(|(older, _)| *older));
            }
        }
        for (client, key) in Self::pairs() {
            let begins = self.asks(client, key) && !asked.contains(&(client, key));
            // A key that a client gives up is free for every client that asks for it then, also by
            // what a leader has read about it before: which of them a leader has seen in the
            // meantime is chance.
            if asked.contains(&(client, key)) && !self.asks(client, key) {
                let asking = (0..CLIENTS).filter(|other| self.asks(*other, key));
                let read = self.passes.iter().filter(|pass| Self::is_wanted_by(pass, key));
                let asking: Vec<_> = asking.chain(read.map(|pass| pass.client)).collect();
                self.entitled[key].extend(asking);
            }
            if begins && self.proven(key).iter().all(|other| *other == client) {
                self.entitled[key].insert(client);
            }
        }
    }

    /// The client for which validators accept a key.
    pub fn user(&self, key: usize) -> Option<usize> {
        let user = Reader::new(Arc::clone(&self.validator)).client_by_key(&hash(key))?;
        (0..CLIENTS).find(|client| name(*client) == user.name)
    }

    pub fn check(&mut self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.taken, None, "client and key");
        for key in 0..KEYS {
            let Some(user) = self.user(key) else { continue };
            let owner = *self.owner[key].get_or_insert(user);
            prop_assert_eq!(user, owner, "key {} is used for another client", key);
            prop_assert!(self.entitled[key].contains(&user), "{user} should not have got {key}");
        }
        Ok(())
    }
}
