//! `headwater heads versions`: every version of a task.

use api::v1::{HeadVersion, ListVersionsRequest, RefusedHead, ShadowAgreement, VersionState};
use clap::Args;
use serde_json::json;

use super::{retention, traffic};
use crate::config::Format;
use crate::error::CliError;
use crate::output::{one_high, one_line, table_of_lines};
use crate::session::{Outcome, Session};
use crate::tasks::kind_name;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Task, such as glue/sst2.
    task: String,
}

pub(crate) async fn run(arguments: Arguments, session: &mut Session) -> Result<Outcome, CliError> {
    let mut client = session.heads().await?;
    let request = session.call(ListVersionsRequest { task: arguments.task });
    let reply = client.list_versions(request).await.map_err(|status| session.failed(status))?.into_inner();
    let aliases_of = |version: u64| -> Vec<&str> {
        reply.aliases.iter().filter(|alias| alias.version == version).map(|alias| alias.name.as_str()).collect()
    };
    let traffic = reply.traffic.unwrap_or_default();
    match session.printer.format() {
        Format::Json => {
            for version in &reply.versions {
                let mut line = fields(version);
                let number = version.version;
                let rule = traffic::fields(&traffic);
                for part in ["canary", "shadow"].into_iter().filter(|part| rule[part]["version"] == number) {
                    line[part] = rule[part].clone();
                }
                if let Some(agreement) = reply.shadow_agreement.as_ref().filter(|shadow| shadow.version == number) {
                    line["agreement"] = agreement_fields(agreement);
                }
                line["aliases"] = json!(aliases_of(version.version));
                line["retention"] = retention::fields(reply.retention.as_ref());
                line["generation"] = json!(reply.generation);
                session.printer.json(&line)?;
            }
            if let Some(refused) = &reply.refused {
                session.printer.json(&refused_fields(refused))?;
            }
        }
        Format::Table => {
            let mut shown = table_of_lines(["VERSION", "ALIASES", "STATE", "OUTPUTS", "HEAD", "SOURCE"]);
            for version in &reply.versions {
                let state = match version.state_reason.as_str() {
                    "" => state_name(version.state()).to_owned(),
                    reason => format!("{}: {reason}", state_name(version.state())),
                };
                let row = [
                    version.version.to_string(),
                    aliases_of(version.version).join(" "),
                    state,
                    version.outputs.to_string(),
                    version.head_digest.chars().take(19).collect(),
                    one_line(&version.source),
                ];
                shown.add_row(one_high(row));
            }
            session.printer.table(&shown)?;
            session.printer.line(&format!("\n{}", traffic::in_words(&traffic)))?;
            if let Some(agreement) = &reply.shadow_agreement {
                session.printer.line(&agreement_in_words(agreement))?;
            }
            if let Some(rule) = &reply.retention {
                session.printer.line(&retention::in_words(Some(rule)))?;
            }
            if let Some(refused) = &reply.refused {
                let when = refused.refused_at.map(|at| at.to_string()).unwrap_or_default();
                let line = format!("refused at {when}, from {}: {}", refused.source, refused.reason);
                session.printer.line(&one_line(&line))?;
            }
            session.printer.line(&format!("generation {}", reply.generation))?;
        }
    }
    Ok(Outcome::Done)
}

/// A line as those of the versions, of something that is none.
fn refused_fields(refused: &RefusedHead) -> serde_json::Value {
    json!({
        "state": "refused",
        "state_reason": refused.reason,
        "head_digest": refused.head_digest,
        "refused_at": refused.refused_at.map(|at| at.to_string()),
        "source": refused.source,
    })
}

fn agreement_fields(agreement: &ShadowAgreement) -> serde_json::Value {
    json!({
        "judged": agreement.judged,
        "agreed": agreement.agreed,
        "numbers": agreement.numbers,
        "mean_absolute_difference": agreement.mean_absolute_difference,
        "skipped": agreement.skipped,
        "failed": agreement.failed,
    })
}

fn agreement_in_words(agreement: &ShadowAgreement) -> String {
    let compared = agreement.judged.saturating_sub(agreement.numbers);
    let mut parts = vec![format!("the shadow agreed on {} of {compared} inputs", agreement.agreed)];
    let apart =
        agreement.mean_absolute_difference.map(|apart| format!("{apart:.4} apart in {} numbers", agreement.numbers));
    parts.extend(apart);
    for (count, what) in [(agreement.skipped, "not judged"), (agreement.failed, "failed")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    parts.join(", ")
}

fn state_name(state: VersionState) -> &'static str {
    match state {
        VersionState::Unspecified => "unknown",
        VersionState::Serving => "serving",
        VersionState::Unfit => "unfit",
        VersionState::Damaged => "damaged",
    }
}

fn fields(version: &HeadVersion) -> serde_json::Value {
    json!({
        "version": version.version,
        "state": state_name(version.state()),
        "state_reason": version.state_reason,
        "kind": kind_name(version.kind()),
        "outputs": version.outputs,
        "head_digest": version.head_digest,
        "encoder_digest": version.encoder_digest,
        "encoder_forced": version.encoder_forced,
        "weight_bytes": version.weight_bytes,
        "installed_at": version.installed_at.map(|at| at.to_string()),
        "source": version.source,
    })
}
