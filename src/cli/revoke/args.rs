//! The command line of `revoke`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use crate::cli::cluster::{ClusterArgs, WriteArgs, duration_arg};
use crate::cli::confirm::ConfirmArgs;
use crate::cli::exit::End;
use crate::cli::target::{Target, name_of};
use crate::crd::Kind;

/// Help text below the options.
pub const EXAMPLES: &str = "\
Creates a Revocation, which every validator enforces at once. It stays until you delete it, or until
--expires-at. What it will match is shown first, and you are asked to confirm. Then the command waits
until every validator enforces it.

TIME is a time such as 2026-11-30T12:00:00Z, a duration such as 2h (that long ago), or now.

Examples:
  # a leaked signing key: all tokens that it signed
  kubectl anon revoke key userpool/users 9f8a… -n acme --reason 'a backup was public'

  # a leaked API key, by the beginning of its id
  kubectl anon revoke key sdkclient/backend 6cfb -n acme

  # a stolen token or API key, whatever it belongs to
  kubectl anon revoke token stolen.txt -n acme

  # all tokens of a user, including future ones
  kubectl anon revoke user user-123 --pool users -n acme

  # all tokens of all users that were issued more than two hours ago
  kubectl anon revoke all --pool users --before 2h -n acme

  # the sessions of a member
  kubectl anon revoke sessions member/ada -n acme

  # the manifest, for a Git repository
  kubectl anon revoke user user-123 --pool users -n acme -o yaml";

/// What is revoked.
#[derive(Debug, Subcommand)]
pub enum Revoke {
    /// Revoke signing keys of a UserPool, or API keys of an SdkClient
    Key(KeyArgs),
    /// Revoke a token or an API key, given its text
    Token(TokenArgs),
    /// Revoke all tokens of users, including future ones
    User(UserArgs),
    /// Revoke all tokens of a UserPool that were issued before a time
    All(AllArgs),
    /// Revoke the sessions of a Member
    Sessions(SessionsArgs),
}

/// Options of `revoke key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// userpool/NAME or sdkclient/NAME
    #[arg(value_name = "KIND/NAME")]
    pub target: Target,

    /// Ids of the keys, as `kubectl anon get keys` shows them, or the beginning of each
    #[arg(value_name = "ID", required_unless_present = "before")]
    pub ids: Vec<String>,

    /// All keys that were created before this time
    #[arg(long, value_name = "TIME", conflicts_with = "ids")]
    pub before: Option<String>,

    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `revoke token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// File with the token or API key; `-` or no argument reads standard input
    #[arg(default_value = "-", hide_default_value = true)]
    pub file: String,

    /// Name of the UserPool; required for a token that was not issued by the operator
    #[arg(long, value_name = "USERPOOL")]
    pub pool: Option<String>,

    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `revoke user`.
#[derive(Debug, Args)]
pub struct UserArgs {
    /// appUserIds
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,

    /// Name of the UserPool
    #[arg(long, value_name = "USERPOOL")]
    pub pool: String,

    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `revoke all`.
#[derive(Debug, Args)]
pub struct AllArgs {
    /// Name of the UserPool
    #[arg(long, value_name = "USERPOOL")]
    pub pool: String,

    /// The tokens that were issued before this time, and those without a time
    #[arg(long, value_name = "TIME")]
    pub before: String,

    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of `revoke sessions`.
#[derive(Debug, Args)]
pub struct SessionsArgs {
    /// member/NAME
    #[arg(value_name = "KIND/NAME")]
    pub target: Target,

    /// The sessions that began before this time
    #[arg(long, value_name = "TIME", default_value = "now")]
    pub before: String,

    #[command(flatten)]
    pub common: CommonArgs,
}

/// Options of every kind of revocation.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// Why, for auditing; at most 1024 characters
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// When the Revocation ends: a time at which all it revokes has expired anyway
    #[arg(long, value_name = "TIME")]
    pub expires_at: Option<Timestamp>,

    /// Name of the Revocation; by default, what it revokes and the time
    #[arg(long)]
    pub name: Option<String>,

    /// Print the manifest, and create nothing
    #[arg(short, long, value_enum)]
    pub output: Option<ManifestFormat>,

    /// Do not wait until every validator enforces the Revocation
    #[arg(long)]
    pub no_wait: bool,

    /// How long to wait, such as 90s or 2m
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration_arg)]
    pub timeout: Duration,

    #[command(flatten)]
    pub confirm: ConfirmArgs,

    #[command(flatten)]
    pub write: WriteArgs,

    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Format of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManifestFormat {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Revoke {
    /// Checks that the object has credentials of this kind.
    ///
    /// # Errors
    /// It has not.
    pub fn check(&self) -> Result<(), End> {
        let (target, kinds): (_, &[Kind]) = match self {
            Self::Key(args) => (&args.target, &[Kind::UserPool, Kind::SdkClient]),
            Self::Sessions(args) => (&args.target, &[Kind::Member]),
            Self::Token(_) | Self::User(_) | Self::All(_) => return Ok(()),
        };
        if kinds.contains(&target.kind) {
            return Ok(());
        }
        let kinds: Vec<_> = kinds.iter().map(|kind| name_of(*kind, "NAME")).collect();
        Err(End::Usage(format!("must be {}, not {target}", kinds.join(" or "))))
    }

    /// The options that every kind has.
    pub const fn common(&self) -> &CommonArgs {
        match self {
            Self::Key(args) => &args.common,
            Self::Token(args) => &args.common,
            Self::User(args) => &args.common,
            Self::All(args) => &args.common,
            Self::Sessions(args) => &args.common,
        }
    }
}
