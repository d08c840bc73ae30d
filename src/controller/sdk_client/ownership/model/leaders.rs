//! What the leaders do: they receive changes, reconcile, look up records and write status. The part of
//! the model that runs the code under test.

use super::*;

impl Model {
    /// What the client asks for, with its evidence, by what was read about it.
    fn wanted(client: usize, seen: &Client, secret: &Stored) -> Vec<(usize, Evidence)> {
        let valid = client < DELIVERED && secret.mac == Some(client);
        let mut wanted = if client < DELIVERED { Keys::new() } else { seen.spec.clone() };
        wanted.extend(secret.plain);
        if valid && secret.plain.is_some() {
            wanted.extend(&secret.previous);
        }
        let evidence = |key: usize| match client {
            DELIVERED.. => Evidence::Asserted,
            _ if valid && secret.lists(key) => Evidence::Recorded,
            _ => Evidence::PlainText,
        };
        wanted.into_iter().map(|key| (key, evidence(key))).collect()
    }

    /// Whether the client asked for the key when the reconciliation read it.
    pub(super) fn is_wanted_by(pass: &Pass, key: usize) -> bool {
        let wanted = Self::wanted(pass.client, &pass.seen, &pass.secret);
        wanted.iter().any(|(wanted, _)| *wanted == key)
    }

    /// Begins what `hashes` and `api_key_rotation` do. No client is reconciled twice at a time.
    pub(super) fn reconcile(&mut self, leader: usize, client: usize) {
        let is_running = |it: &Pass| (it.leader, it.client) == (leader, client);
        let seen = self.leaders[leader].view[client].clone();
        if seen.is_deleted || self.passes.iter().any(is_running) {
            return;
        }
        let secret = self.secrets.get(client).cloned().unwrap_or_default();
        let recorded = HashMap::new();
        self.decide(Pass { leader, client, seen, secret, recorded, unknown: Vec::new() });
    }

    /// Whether a valid record of another client lists the key.
    pub(super) fn is_recorded_besides(&self, client: usize, key: usize) -> bool {
        let mut secrets = self.secrets.iter().enumerate();
        secrets.any(|(other, it)| other != client && it.mac == Some(other) && it.lists(key))
    }

    /// Looks one key up.
    pub(super) fn look_up(&mut self, number: usize) {
        if number >= self.passes.len() {
            return;
        }
        let mut pass = self.passes.remove(number);
        if let Some(key) = pass.unknown.pop() {
            pass.recorded.insert(hash(key), self.is_recorded_besides(pass.client, key));
        }
        if pass.unknown.is_empty() {
            self.decide(pass);
        } else {
            self.passes.push(pass);
        }
    }

    /// Decides with what was looked up, and writes what follows if nothing is unknown any more.
    fn decide(&mut self, mut pass: Pass) {
        let Pass { leader, client, ref seen, ref secret, ref recorded, .. } = pass;
        let wanted = Self::wanted(client, seen, secret);
        let asked = wanted.iter().filter(|(key, _)| !seen.status.contains(key));
        let asked: Vec<_> = asked.map(|(key, evidence)| (hash(*key), *evidence)).collect();
        let Leader { ownership, index, .. } = &self.leaders[leader];
        let reader = Reader::new(Arc::clone(index));
        let version = seen.version.to_string();
        let rulings = ownership.decide(&reader, &name(client), &version, &asked, recorded);
        let is_unknown = |key: &usize| rulings.get(&hash(*key)) == Some(&Ruling::LookUp);
        pass.unknown = (0..KEYS).filter(is_unknown).collect();
        if !pass.unknown.is_empty() {
            self.passes.push(pass);
            return;
        }
        ownership.inspected(&name(client), false);
        if rulings.values().any(|ruling| *ruling == Ruling::Wait) {
            return;
        }
        let doubled = |key: &usize| reader.is_key_recorded_besides(&hash(*key), &name(client));
        let withdrawn = |key: &usize| {
            client >= DELIVERED
                && reader.is_key_delivered_besides(&hash(*key), &name(client))
                && self.is_recorded_besides(client, *key)
        };
        let is_granted = |key: &usize| match rulings.get(&hash(*key)) {
            Some(ruling) => *ruling == Ruling::Granted,
            None => !withdrawn(key),
        };
        let status: Keys = wanted.iter().map(|(key, _)| *key).filter(is_granted).collect();
        let is_provable = |(key, evidence): &(usize, Evidence)| {
            !status.contains(key) || seen.status.contains(key) || *evidence == Evidence::Recorded
        };
        let signed = client < DELIVERED
            && secret.plain.is_some_and(|plain| status.contains(&plain))
            && !status.iter().any(doubled)
            && wanted.iter().all(is_provable);
        if signed {
            if self.secrets[client] != *secret {
                // The API server rejects the write.
                return;
            }
            let mut previous = status.clone();
            previous.retain(|key| Some(*key) != secret.plain);
            let plain = secret.plain;
            self.secrets[client] = Stored { plain, current: plain, previous, mac: Some(client) };
        }
        if status != seen.status || !seen.observed {
            self.writes.push(StatusWrite { leader, client, version: seen.version, status });
        }
    }

    /// Lets the leaders receive every change and end what they have begun, until they reconcile
    /// without consequences.
    pub fn settle(&mut self) {
        for client in (0..CLIENTS).cycle().take(4 * CLIENTS) {
            for leader in 0..self.leaders.len() {
                while !self.leaders[leader].events.is_empty() {
                    self.watch(leader);
                }
                self.reconcile(leader, client);
            }
            while !self.passes.is_empty() {
                self.look_up(0);
            }
            while !self.writes.is_empty() {
                self.land(0);
            }
        }
    }

    /// The index of a leader receives the next change.
    pub(super) fn watch(&mut self, leader: usize) {
        let Leader { ownership, index, view, events } = &mut self.leaders[leader];
        let Some((client, now)) = events.pop_front() else { return };
        Self::apply(index, client, &now);
        if now.is_deleted {
            ownership.forget(&Reader::new(Arc::clone(index)), &name(client));
        }
        view[client] = now;
    }

    /// A status write arrives.
    pub(super) fn land(&mut self, number: usize) {
        if number >= self.writes.len() {
            return;
        }
        let StatusWrite { leader, client, version, status } = self.writes.remove(number);
        if self.clients[client].version != version {
            return;
        }
        for key in self.clients[client].status.difference(&status) {
            if self.released[*key].remove(&client) && self.owner[*key] == Some(client) {
                self.owner[*key] = None;
            }
        }
        self.clients[client].status = status;
        self.clients[client].observed = true;
        self.changed(client);
        let version = self.version.to_string();
        if let Some(leader) = self.leaders.get(leader) {
            leader.ownership.written(&name(client), &version);
        }
    }
}
