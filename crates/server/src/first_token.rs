//! `token`: a token made beside a server that does not run, such as the first one.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use engine::TenantName;
use registry::{Author, Change, NewToken, OpenOptions, Registry, Scope};
use server::credentials::mint;

use crate::config::REGISTRY_FOLDER;
use crate::telemetry::say;

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// Make a token, while no server runs on the data folder, and print it once
#[derive(Debug, Args)]
pub(crate) struct FirstToken {
    /// The server's data folder
    #[arg(long, env = "HEADWATER_DATA", value_name = "DIR")]
    data: PathBuf,
    /// Tenant it speaks for, which must exist
    #[arg(long, default_value = "default")]
    tenant: TenantName,
    /// What it is good for: infer, heads, operator
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', default_value = "operator")]
    scopes: Vec<Scope>,
    /// A word on it, for people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Days after which it ends by itself [default: never]
    #[arg(long, value_name = "N")]
    days: Option<u32>,
}

impl FirstToken {
    pub(crate) fn run(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Self { data, tenant, scopes, description, days } = self;
        let mut registry = Registry::open(&data.join(REGISTRY_FOLDER), &OpenOptions::SERVER)?;
        let (id, text, digest) = mint()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let expires_unix_seconds = days.map(|days| now + u64::from(days) * SECONDS_A_DAY);
        let scopes = scopes.into_iter().collect();
        let token = NewToken { id, tenant, scopes, digest, description, expires_unix_seconds };
        registry.commit_by(&Author::server("headwater-server token"), Change::CreateToken(token))?;
        registry.close()?;
        say(&text);
        Ok(())
    }
}
