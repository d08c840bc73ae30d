//! The status as a tree, for people.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::view::{ClientView, ObjectView, PoolView, Status};
use crate::cli::keys::{Key, KeyType};
use crate::cli::output::printable;
use crate::cli::terminal::{Terminal, Tone};
use crate::cli::when;

/// A line and what is below it.
struct Node {
    text: String,
    children: Vec<Node>,
}

/// Renders the tree.
pub fn render(status: &Status, terminal: &Terminal, context: &str, now: Timestamp) -> String {
    let painter = Painter { terminal, now };
    let root = painter.root(status, context);
    let mut text = format!("{}\n", root.text);
    branches(&root.children, "", &mut text);
    if !status.not_permitted.is_empty() {
        let resources = status.not_permitted.join(", ");
        let _ = writeln!(text, "\nNot shown, because you may not list them here: {resources}");
    }
    text
}

fn branches(nodes: &[Node], indent: &str, text: &mut String) {
    for (number, node) in nodes.iter().enumerate() {
        let last = number + 1 == nodes.len();
        let (branch, below) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
        let _ = writeln!(text, "{indent}{branch}{}", node.text);
        branches(&node.children, &format!("{indent}{below}"), text);
    }
}

struct Painter<'t> {
    terminal: &'t Terminal,
    now: Timestamp,
}

impl Painter<'_> {
    fn root(&self, status: &Status, context: &str) -> Node {
        let title = self.terminal.paint(Tone::Bold, &printable(&status.namespace));
        let text = format!("Organization {title} (context {})", printable(context));
        let mut children = Vec::new();
        children.extend(status.organization.iter().map(|object| self.object(object, "")));
        for pool in &status.user_pools {
            children.push(self.pool(pool, &status.sdk_clients));
        }
        for client in &status.sdk_clients {
            let pool = client.user_pool.as_ref();
            if !status.user_pools.iter().any(|it| Some(&it.object.name) == pool) {
                children.push(self.client(client));
            }
        }
        children.extend(self.members(status));
        children.extend(status.revocations.iter().map(|object| self.revocation(object)));
        if children.is_empty() && status.not_permitted.is_empty() {
            children.push(leaf("nothing of anon-operator is in this namespace".to_owned()));
        }
        children.extend(self.warnings(status));
        Node { text, children }
    }

    /// An object: its name, what it is, and its state; below, why it is not ready.
    fn object(&self, object: &ObjectView, what: &str) -> Node {
        let readiness = &object.readiness;
        let tone = match readiness.ready.as_str() {
            "True" if !object.suspended => Tone::Good,
            "False" => Tone::Bad,
            _ => Tone::Warning,
        };
        let mut state = readiness.reason.clone();
        if object.suspended && state != "Suspended" {
            state.push_str(", Suspended");
        }
        if object.deleting {
            state.push_str(", being deleted");
        }
        let mut words = vec![self.terminal.paint(Tone::Bold, &printable(&object.name))];
        if !what.is_empty() {
            words.push(printable(what));
        }
        words.push(self.terminal.paint(tone, &printable(&state)));
        let mut children = Vec::new();
        if !readiness.is_ready() {
            children.push(leaf(self.terminal.paint(tone, &printable(&readiness.message))));
            let remedy = readiness.remedy.iter().map(|remedy| {
                leaf(self.terminal.paint(Tone::Dim, &format!("what to do: {}", printable(remedy))))
            });
            children.extend(remedy);
        }
        Node { text: words.join("  "), children }
    }

    fn pool(&self, pool: &PoolView, clients: &[ClientView]) -> Node {
        let mut node = self.object(&pool.object, pool.type_);
        node.children.extend(pool.keys.iter().map(|key| self.key(key)));
        let name = Some(&pool.object.name);
        let ours = clients.iter().filter(|client| client.user_pool.as_ref() == name);
        node.children.extend(ours.map(|client| self.client(client)));
        node
    }

    fn client(&self, client: &ClientView) -> Node {
        let what = match client.role {
            Some(role) => format!("service, role {role}"),
            None if client.user_pool.is_none() => String::new(),
            None => format!("webapp {}", client.client_id.as_deref().unwrap_or_default()),
        };
        let mut node = self.object(&client.object, what.trim_end());
        node.children.extend(client.keys.iter().map(|key| self.key(key)));
        if let Some(secret) = &client.secret {
            let (tone, state) = match secret.exists {
                Some(true) => (Tone::Good, "exists"),
                Some(false) => (Tone::Bad, "does not exist"),
                None => (Tone::Dim, "you may not list Secrets"),
            };
            let state = self.terminal.paint(tone, state);
            node.children.push(leaf(format!("secret/{}  {state}", printable(&secret.name))));
        }
        node
    }

    fn key(&self, key: &Key) -> Node {
        let algorithm = key.algorithm.as_ref().map(|it| format!(" {it}")).unwrap_or_default();
        let what = match key.type_ {
            KeyType::SigningKey => "signing key",
            KeyType::ApiKey => "API key",
        };
        let tone = match key.state.as_str() {
            "Active" | "Current" => Tone::Good,
            _ => Tone::Plain,
        };
        let state = self.terminal.paint(tone, &key.state);
        let outlook = self.terminal.paint(Tone::Dim, &key.outlook(self.now));
        let text = format!("{what} {}{algorithm}  {state}  {outlook}", printable(&key.id));
        leaf(text.trim_end().to_owned())
    }

    /// The number of members, and those that are not ready.
    fn members(&self, status: &Status) -> Option<Node> {
        let members = &status.members;
        let first = members.first()?;
        if members.len() == 1 {
            return Some(self.object(&first.object, first.role.unwrap_or_default()));
        }
        let suspended = members.iter().filter(|member| member.object.suspended).count();
        let suspended =
            if suspended > 0 { format!(", {suspended} suspended") } else { String::new() };
        let unready = members.iter().filter(|member| !member.object.readiness.is_ready());
        let children = unready
            .map(|member| self.object(&member.object, member.role.unwrap_or_default()))
            .collect();
        Some(Node { text: format!("{} members{suspended}", members.len()), children })
    }

    /// A Revocation, with its message: it tells by how many validators it is enforced.
    fn revocation(&self, object: &ObjectView) -> Node {
        let mut node = self.object(object, "");
        if object.readiness.is_ready() {
            node.children.push(leaf(printable(&object.readiness.message)));
        }
        node
    }

    fn warnings(&self, status: &Status) -> Option<Node> {
        if status.warnings.is_empty() {
            return None;
        }
        let line = |warning: &super::view::Warning| {
            let time = warning.time.as_ref().map(|time| when::relative(self.now, time.0));
            let line = format!(
                "{}  {}  {}: {}",
                time.unwrap_or_default(),
                warning.object,
                warning.reason,
                warning.message
            );
            leaf(self.terminal.paint(Tone::Warning, &printable(&line)))
        };
        let children = status.warnings.iter().map(line).collect();
        Some(Node { text: "last warnings".to_owned(), children })
    }
}

const fn leaf(text: String) -> Node {
    Node { text, children: Vec::new() }
}
