//! The metrics of an operator.

use super::{Operator, http};

impl Operator {
    /// The value of the sample with this name and labels, or 0 if it is not exposed.
    pub async fn metric(&self, sample: &str) -> u64 {
        let text = self.metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Whether the operator reports that it is the leader.
    pub async fn leads(&self) -> bool {
        self.metric("anon_leader").await == 1
    }

    /// The seconds since the operator last received anything about each of the five kinds.
    pub async fn silences(&self) -> Vec<u64> {
        let text = self.metrics().await;
        let samples = text.lines().filter(|line| line.starts_with("anon_index_age_seconds{"));
        samples.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
    }

    async fn metrics(&self) -> String {
        let reply = http::get(&self.admin_url("/metrics")).await.unwrap();
        String::from_utf8(reply.body.to_vec()).unwrap()
    }
}
