//! `jwks`: key sets of your own, for pools with `provided`, `inline`, `jwks` or `oidc`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::output;
use super::{Streams, private_file};
use crate::domain::algorithm::Algorithm;
use crate::domain::signing::{PrivateJwk, SigningKey};

/// Commands for key sets.
#[derive(Debug, Subcommand)]
pub enum Jwks {
    /// Generate a signing key, offline: the private key into a file, the public one on standard output
    #[command(after_long_help = EXAMPLES)]
    Generate(Generate),
}

const EXAMPLES: &str = "\
The file has a JWK Set (RFC 7517) with the private key, for the Secret of a `provided` pool and for
`kubectl anon token mint`. It is a new file that only you can read. The public JWK Set is for an
`inline` pool, or for a web server.

Examples:
  # a key for a `provided` pool
  kubectl anon jwks generate --alg ES256 --out jwks.json
  kubectl create secret generic testers-jwks -n acme --from-file=jwks.json
  kubectl label secret testers-jwks -n acme anon.dev/use=jwks

  # a token that this key signs
  kubectl anon token mint --jwks jwks.json --sub user-123 --aud shop";

/// Options of `jwks generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// Signature algorithm of the key; RSA keys have 2048 bits
    #[arg(long, value_parser = super::mint::algorithm, default_value = "RS256")]
    alg: Algorithm,

    /// Id of the key; defaults to its RFC 7638 thumbprint
    #[arg(long, value_name = "KID")]
    kid: Option<String>,

    /// New file for the JWK Set with the private key (mode 0600)
    #[arg(long, value_name = "FILE", default_value = "private-jwks.json")]
    out: PathBuf,
}

/// A JWK Set (RFC 7517 section 5) with private keys. No `Debug`.
#[derive(Serialize)]
struct PrivateSet {
    keys: [PrivateJwk; 1],
}

/// Runs a command.
pub fn run(command: &Jwks, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    let Jwks::Generate(args) = command;
    generate(args, streams)
}

fn generate(args: &Generate, streams: &mut Streams<'_>) -> anyhow::Result<()> {
    if let Some(kid) = &args.kid {
        // What a UserPool accepts.
        anyhow::ensure!(
            (1..=256).contains(&kid.chars().count()),
            "--kid must have 1 to 256 characters"
        );
    }
    let mut jwk = SigningKey::generate(args.alg)?.private_jwk()?;
    if args.kid.is_some() {
        jwk.public.kid.clone_from(&args.kid);
    }
    let public = json!({ "keys": [&jwk.public] });
    let private = Zeroizing::new(serde_json::to_vec(&PrivateSet { keys: [jwk] })?);
    private_file::create(&args.out, &private)?;
    writeln!(streams.stderr, "private key written to `{}`; keep it secret", args.out.display())?;
    output::json(streams.stdout, &public)?;
    Ok(())
}
