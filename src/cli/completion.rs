//! Completion: scripts for `kubectl-anon`, and the answers that kubectl asks for when it completes
//! `kubectl anon`.
//!
//! kubectl runs `kubectl_complete-anon` with the words of the line; the last one is to be completed. It
//! expects a candidate in each line, optionally with a description after a tab, and then a colon and a
//! directive. <https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/>

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::time::Duration;

use clap::{Arg, ArgMatches, CommandFactory as _};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;
use kube::core::PartialObjectMeta;

use super::cluster::{Cluster, ClusterArgs};
use super::output::printable;
use super::read::{Object, target_of};
use super::{Cli, Streams};
use crate::crd::{self, CustomKind, for_each_kind};

/// How long the cluster may take: a person waits for the completion.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The directive that tells the shell to complete nothing else, such as file names.
const NO_FILES: &str = ":4";
/// The directive that lets the shell complete file names.
const FILES: &str = ":0";

/// Help text below the options of `completions`.
pub const HELP: &str = "\
The script completes `kubectl-anon`. To complete `kubectl anon`, kubectl looks for a program
`kubectl_complete-anon` on the PATH: make it a link to this program.

Examples:
  # kubectl anon
  ln -s \"$(command -v kubectl-anon)\" ~/.local/bin/kubectl_complete-anon

  # kubectl-anon in bash, for this shell only
  source <(kubectl-anon completions bash)

  # kubectl-anon in zsh, permanently (the directory must be in fpath)
  kubectl-anon completions zsh > ~/.zfunc/_kubectl-anon";

/// Prints the script for a shell.
pub fn script(shell: Shell, streams: &mut Streams<'_>) -> io::Result<()> {
    // Into memory first: clap_complete panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "kubectl-anon", &mut script);
    streams.stdout.write_all(&script)
}

/// Answers kubectl. `words` follow `kubectl anon`; the last one, possibly empty, is to be completed.
///
/// # Errors
/// Standard output is closed.
pub fn answer(words: Vec<OsString>, to: &mut dyn Write) -> io::Result<()> {
    let cluster = cluster_args(&words);
    let mut command = with_names(Cli::command(), &cluster);
    let line: Vec<_> = std::iter::once("kubectl-anon".into()).chain(words).collect();
    let last = line.len().saturating_sub(1);
    // Like kubectl, options only for a word that begins like one.
    let options = line.last().is_some_and(|word| word.to_string_lossy().starts_with('-'));
    let candidates = complete(&mut command, line, last, None).unwrap_or_default();
    let shown = candidates.iter().filter(|candidate| {
        let is_option = candidate.get_value().to_string_lossy().starts_with('-');
        !candidate.is_hide_set() && is_option == options
    });
    let mut directive = FILES;
    for candidate in shown {
        directive = NO_FILES;
        let value = printable(&candidate.get_value().to_string_lossy());
        match candidate.get_help() {
            Some(help) => writeln!(to, "{value}\t{}", printable(&help.to_string()))?,
            None => writeln!(to, "{value}")?,
        }
    }
    writeln!(to, "{directive}")
}

/// The cluster that the line names so far. What is not complete yet is ignored.
fn cluster_args(words: &[OsString]) -> ClusterArgs {
    let line = std::iter::once(OsString::from("kubectl-anon")).chain(words.iter().cloned());
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(line);
    let mut matches = matches.ok();
    while let Some((_, below)) = matches.as_mut().and_then(ArgMatches::remove_subcommand) {
        matches = Some(below);
    }
    let get = |name: &str| {
        let value = matches.as_ref()?.try_get_one::<String>(name).ok().flatten();
        value.cloned()
    };
    ClusterArgs {
        namespace: get("namespace"),
        context: get("context"),
        kubeconfig: matches
            .as_ref()
            .and_then(|matches| matches.try_get_one("kubeconfig").ok().flatten().cloned()),
        as_user: get("as_user"),
        as_groups: Vec::new(),
        request_timeout: TIMEOUT,
    }
}

/// The command with completion of names from the cluster, by the value names of the arguments.
fn with_names(command: clap::Command, cluster: &ClusterArgs) -> clap::Command {
    let cluster_of_args = cluster.clone();
    let command = command.mut_args(move |arg| with_name(arg, &cluster_of_args));
    let names: Vec<_> =
        command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |command| with_names(command, cluster))
    })
}

fn with_name(arg: Arg, cluster: &ClusterArgs) -> Arg {
    let value_name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let names: fn(&ClusterArgs) -> Vec<String> = match value_name.as_deref() {
        Some("KIND/NAME") => |cluster| ask(cluster, targets),
        Some("SDKCLIENT") => |cluster| ask(cluster, names_of::<crd::SdkClient>),
        Some("USERPOOL") => |cluster| ask(cluster, names_of::<crd::UserPool>),
        Some("NAMESPACE") => |cluster| ask(cluster, namespaces),
        Some("CONTEXT") => contexts,
        _ => return arg,
    };
    let cluster = cluster.clone();
    let candidates = move |current: &OsStr| -> Vec<CompletionCandidate> {
        let current = current.to_string_lossy();
        let names = names(&cluster).into_iter();
        names.filter(|name| name.starts_with(&*current)).map(CompletionCandidate::new).collect()
    };
    arg.add(ArgValueCompleter::new(candidates))
}

/// Names from the cluster; none if it does not answer in time.
fn ask(args: &ClusterArgs, names: impl AsyncFnOnce(&Cluster) -> Vec<String>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    let answer = async {
        let cluster = args.connect().await.ok()?;
        Some(names(&cluster).await)
    };
    let answer = runtime.block_on(async { tokio::time::timeout(TIMEOUT, answer).await });
    answer.ok().flatten().unwrap_or_default()
}

macro_rules! all_targets {
    ($($kind:ident),*) => {
        /// `kind/name` of every object in the namespace.
        async fn targets(cluster: &Cluster) -> Vec<String> {
            let mut targets = Vec::new();
            $(targets.extend(objects::<crd::$kind>(cluster).await.iter().map(target_of));)*
            targets
        }
    };
}
for_each_kind!(all_targets);

async fn names_of<K: CustomKind>(cluster: &Cluster) -> Vec<String> {
    objects::<K>(cluster).await.iter().map(kube::ResourceExt::name_any).collect()
}

async fn objects<K: CustomKind>(cluster: &Cluster) -> Vec<Object<K>> {
    let listed = cluster.list::<K>(false).await;
    listed.map(|listed| listed.items().to_vec()).unwrap_or_default()
}

async fn namespaces(cluster: &Cluster) -> Vec<String> {
    let api: Api<Object<PartialObjectMeta<Namespace>>> = Api::all(cluster.client.clone());
    let listed = cluster.list_of(&api, ListParams::default()).await;
    let Ok(listed) = listed else { return Vec::new() };
    listed.items().iter().map(kube::ResourceExt::name_any).collect()
}

fn contexts(args: &ClusterArgs) -> Vec<String> {
    let kubeconfig = match &args.kubeconfig {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    };
    let contexts = kubeconfig.map(|it| it.contexts).unwrap_or_default();
    contexts.into_iter().map(|context| context.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(words: &[&str]) -> String {
        let mut answer = Vec::new();
        super::answer(words.iter().map(Into::into).collect(), &mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn completes_commands_options_and_values() {
        let said = answered(&["stat"]);
        assert!(said.starts_with("status\t") && said.ends_with("\n:4\n"), "{said}");
        let said = answered(&["status", "--exit"]);
        assert!(said.starts_with("--exit-code\t"), "{said}");
        let said = answered(&["get", "keys", "-o", "wi"]);
        assert!(said.starts_with("wide"), "{said}");
        assert_eq!(answered(&["token", "inspect", ""]), ":0\n");
    }

    #[test]
    fn finds_the_cluster_in_an_unfinished_line() {
        let words = ["status", "-n", "acme", "--context=dev", "--kubeconfig", "/k", "sdk"];
        let args = cluster_args(&words.map(OsString::from));
        assert_eq!(args.namespace.as_deref(), Some("acme"));
        assert_eq!(args.context.as_deref(), Some("dev"));
        assert_eq!(args.kubeconfig.unwrap().to_str(), Some("/k"));
    }
}
