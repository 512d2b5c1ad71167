//! Behaviour: a registry with tenants, tokens, an audit log and retention rules opens as it was, and so does one that
//! had rules before there was an audit log.

use engine::{Alias, HeadKind, Quota, Retention, TaskKey, TenantName};

use super::killed_forms::unpacked;
use crate::testing::{install, key, open, version};
use crate::{Digest, Registry, Scope};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn keeps_two(registry: &Registry) -> bool {
    let task = registry.task(&key("told")).unwrap();
    task.retention == Retention { keep_last: Some(2), keep_for: None } && registry.versions("told") == [1, 3, 4]
}

#[test]
fn tenants_and_tokens_of_the_third_form_are_what_they_were() {
    let dir = unpacked("third-form");
    let registry = open(&dir.path().join("data"));
    let quota = Quota {
        requests_per_second: Some(2.5),
        request_burst: Some(5),
        tokens_per_second: Some(1000.0),
        rows_in_flight: Some(64),
        head_versions: Some(7),
        head_bytes: Some(1 << 20),
        weight: Some(0.5),
    };
    let tenants = registry.tenants();
    assert_eq!(tenants.keys().map(TenantName::as_str).collect::<Vec<_>>(), ["acme", "default"]);
    assert_eq!((tenants[&acme()].quota, tenants[&acme()].description.as_str()), (quota, "first\nline"));
    let tokens: Vec<_> = registry.tokens().map(|(id, token)| (id.to_string(), token)).collect();
    for (number, (id, token)) in (1..).zip(&tokens) {
        assert_eq!((id, &token.tenant), (&format!("{number:02x}").repeat(8), &acme()));
        assert_eq!(
            (token.scopes, token.digest),
            ([Scope::Infer, Scope::Heads].into_iter().collect(), Digest::of(&[number]))
        );
    }
    let ends: Vec<_> = tokens.iter().map(|(_, token)| (token.revoked, token.expires_unix_seconds)).collect();
    assert_eq!(ends, [(true, None), (false, Some(32_503_680_000))]);
    let own = TaskKey { tenant: acme(), task: "own".parse().unwrap() };
    assert_eq!(registry.task(&own).unwrap().aliases[&Alias::live()], version(1));
    assert!(keeps_two(&registry));
}

#[test]
fn the_audit_log_of_the_third_form_says_who_did_what() {
    let dir = unpacked("third-form");
    let registry = open(&dir.path().join("data"));
    let log: Vec<_> = registry.audit(u64::MAX).collect();
    assert_eq!(log.iter().map(|entry| entry.generation).collect::<Vec<_>>(), (1..=27).rev().collect::<Vec<_>>());
    let (configured, installed) = (&log[0], &log[3]);
    assert_eq!((configured.author.actor.as_str(), configured.subject.as_str()), ("server", "configuration"));
    let field = &configured.fields[0];
    assert_eq!([&field.name, &field.before, &field.after], ["max_inputs", "1", "2"]);
    let author = &installed.author;
    assert_eq!((author.actor.as_str(), &author.tenant), ("token:0202020202020202", &acme()));
    assert_eq!((installed.subject.as_str(), &installed.tenant), ("task own", &acme()));
}

#[test]
fn all_that_a_manifest_of_the_third_form_says_is_read() {
    let dir = unpacked("third-form");
    let registry = open(&dir.path().join("data"));
    let head = |task: &str| &registry.task(&key(task)).unwrap().versions[&version(1)].head;
    let (told, parts) = (head("told"), head("told").parts());
    assert_eq!(
        (told.kind(), parts.temperature, parts.trust.abstain_below),
        (HeadKind::Classification, Some(1.5), Some(0.375))
    );
    assert!(parts.trust.ood.is_some());
    let about = &parts.about;
    assert_eq!((about.tags.join(" ").as_str(), about.metrics["f1"]), ("small tried", 0.5));
    assert_eq!(about.samples[0].text.as_deref(), Some("some text"));
    let fit = about.fit.as_ref().unwrap();
    assert_eq!((fit.seed, fit.figures["micro_f1"]), (u64::MAX, 0.875));
    assert_eq!((about.goldens[0].logits.as_slice(), about.goldens[0].tolerance), (&[2.5, -1.25][..], 0.25));
    assert_eq!(head("many").parts().thresholds, [0.5, 0.25]);
    assert_eq!(head("many").parts().prompt.as_deref(), Some("What is it about?"));
    assert_eq!(head("number").parts().trust.value_maximum, Some(5.0));
    assert!(head("adapted").parts().adapter.is_some());
}

#[test]
fn a_retention_rule_from_before_the_audit_log_holds_and_the_log_begins_with_the_next_change() {
    let dir = unpacked("third-form-without-audit");
    let mut registry = open(&dir.path().join("data"));
    assert!(keeps_two(&registry) && registry.audit(u64::MAX).next().is_none());
    registry.install(install("told", 20)).unwrap();
    assert_eq!(registry.versions("told"), [1, 4, 5]);
    assert_eq!(registry.audit(u64::MAX).map(|entry| entry.generation).collect::<Vec<_>>(), [19]);
}
