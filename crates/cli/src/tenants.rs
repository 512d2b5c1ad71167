//! `headwater tenants`: namespaces with their quotas.

use api::v1::{
    CreateTenantRequest, DeleteTenantRequest, GetTenantRequest, ListTenantsRequest, Quota, SetQuotaRequest, Tenant,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, one_line, table_of_lines};
use crate::session::{Outcome, Session};
use crate::tokens::moment;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List all tenants.
    List,
    /// Show one tenant.
    Show(NameArguments),
    /// Make a tenant.
    Create(CreateArguments),
    /// Set a tenant's quota as a whole: what is not given has no limit.
    SetQuota(QuotaOfArguments),
    /// Delete a tenant and its tokens.
    Delete(DeleteArguments),
}

#[derive(Debug, Args)]
pub(crate) struct NameArguments {
    /// Tenant.
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    /// Name: letters, digits and `._+&-`, beginning with a letter or digit.
    name: String,
    /// A word on it, for people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    #[command(flatten)]
    quota: QuotaArguments,
}

#[derive(Debug, Args)]
pub(crate) struct QuotaOfArguments {
    /// Tenant.
    name: String,
    #[command(flatten)]
    quota: QuotaArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArguments {
    /// Tenant.
    name: String,
    /// Delete its heads too.
    #[arg(long)]
    with_heads: bool,
}

#[derive(Debug, Args)]
struct QuotaArguments {
    /// Calls in a second, on average.
    #[arg(long, value_name = "N")]
    requests_per_second: Option<f64>,
    /// Calls that may come at once beyond the average.
    #[arg(long, value_name = "N")]
    request_burst: Option<u32>,
    /// Tokens through the encoder in a second, on average.
    #[arg(long, value_name = "N")]
    tokens_per_second: Option<f64>,
    /// Rows admitted and not yet answered.
    #[arg(long, value_name = "N")]
    rows_in_flight: Option<u32>,
    /// Versions of heads in all tasks.
    #[arg(long, value_name = "N")]
    head_versions: Option<u32>,
    /// Bytes of weights in all versions.
    #[arg(long, value_name = "BYTES")]
    head_bytes: Option<u64>,
    /// Weight in the division of a busy server between tenants.
    #[arg(long, value_name = "N")]
    weight: Option<f64>,
}

pub(crate) async fn run(verb: Verb, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.tenants().await?;
    let tenant = match verb {
        Verb::List => return list(session).await,
        Verb::Show(NameArguments { name }) => {
            let reply = client.get_tenant(session.call(GetTenantRequest { name })).await;
            reply.map_err(|status| session.failed(status))?.into_inner().tenant
        }
        Verb::Create(CreateArguments { name, description, quota }) => {
            let request = CreateTenantRequest { name, description, quota: Some(quota.message()) };
            let reply = client.create_tenant(session.call(request)).await;
            reply.map_err(|status| session.failed(status))?.into_inner().tenant
        }
        Verb::SetQuota(QuotaOfArguments { name, quota }) => {
            let request = SetQuotaRequest { name, quota: Some(quota.message()) };
            let reply = client.set_quota(session.call(request)).await;
            reply.map_err(|status| session.failed(status))?.into_inner().tenant
        }
        Verb::Delete(DeleteArguments { name, with_heads }) => {
            let request = DeleteTenantRequest { name: name.clone(), delete_heads: with_heads };
            client.delete_tenant(session.call(request)).await.map_err(|status| session.failed(status))?;
            match session.printer.format() {
                Format::Json => session.printer.json(&json!({"name": name, "deleted": true}))?,
                Format::Table => session.printer.line(&format!("tenant {name} is deleted"))?,
            }
            return Ok(Outcome::Done);
        }
    };
    print(&tenant.into_iter().collect::<Vec<_>>(), session)
}

async fn list(session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.tenants().await?;
    let (mut tenants, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = session.call(ListTenantsRequest { page_size: 0, page_token });
        let reply = client.list_tenants(request).await.map_err(|status| session.failed(status))?.into_inner();
        tenants.extend(reply.tenants);
        page_token = reply.next_page_token;
        if page_token.is_empty() {
            return print(&tenants, session);
        }
    }
}

fn print(tenants: &[Tenant], session: &mut Session) -> Result<Outcome, CliError> {
    let mut shown = table_of_lines(["TENANT", "VERSIONS", "BYTES", "QUOTA", "DESCRIPTION"]);
    for tenant in tenants {
        match session.printer.format() {
            Format::Json => session.printer.json(&fields(tenant))?,
            Format::Table => {
                let used = tenant.r#use.unwrap_or_default();
                let row = [
                    tenant.name.clone(),
                    used.head_versions.to_string(),
                    used.head_bytes.to_string(),
                    limits(&tenant.quota.unwrap_or_default()),
                    one_line(&tenant.description),
                ];
                shown.add_row(one_high(row));
            }
        }
    }
    if session.printer.format() == Format::Table {
        session.printer.table(&shown)?;
    }
    Ok(Outcome::Done)
}

/// The limits that are set, in one cell.
fn limits(quota: &Quota) -> String {
    let Value::Object(fields) = quota_fields(quota) else { return String::new() };
    let set = fields.into_iter().filter(|(_, limit)| !limit.is_null());
    set.map(|(name, limit)| format!("{name} {limit}")).collect::<Vec<_>>().join(", ")
}

fn fields(tenant: &Tenant) -> Value {
    let used = tenant.r#use.unwrap_or_default();
    json!({
        "name": tenant.name,
        "description": tenant.description,
        "quota": quota_fields(&tenant.quota.unwrap_or_default()),
        "use": {
            "rows_in_flight": used.rows_in_flight,
            "head_versions": used.head_versions,
            "head_bytes": used.head_bytes,
        },
        "created_at": moment(tenant.created_at.as_ref()),
    })
}

fn quota_fields(quota: &Quota) -> Value {
    json!({
        "requests_per_second": quota.requests_per_second,
        "request_burst": quota.request_burst,
        "tokens_per_second": quota.tokens_per_second,
        "rows_in_flight": quota.rows_in_flight,
        "head_versions": quota.head_versions,
        "head_bytes": quota.head_bytes,
        "weight": quota.weight,
    })
}

impl QuotaArguments {
    fn message(&self) -> Quota {
        Quota {
            requests_per_second: self.requests_per_second,
            request_burst: self.request_burst,
            tokens_per_second: self.tokens_per_second,
            rows_in_flight: self.rows_in_flight,
            head_versions: self.head_versions,
            head_bytes: self.head_bytes,
            weight: self.weight,
        }
    }
}
