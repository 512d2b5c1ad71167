//! What a credential must be good for, method by method. A method that is not here is not answered to anybody.

use registry::Scope;

/// Who may call a method where the server runs with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Everybody, without a credential.
    Anybody,
    /// Whoever has a credential.
    AnyCredential,
    /// Credentials with this scope.
    Needs(Scope),
}

const CLASSIFIER: &str = "headwater.v1.ClassifierService";
const CATALOG: &str = "headwater.v1.CatalogService";
const HEADS: &str = "headwater.v1.HeadService";
const TENANTS: &str = "headwater.v1.TenantService";
const AUDIT: &str = "headwater.v1.AuditService";
const REGISTRY: &str = "headwater.v1.RegistryService";
const SERVER: &str = "headwater.v1.ServerService";
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";
const OLD_REFLECTION: &str = "grpc.reflection.v1alpha.ServerReflection";

const INFER: Rule = Rule::Needs(Scope::Infer);
const CHANGE: Rule = Rule::Needs(Scope::Heads);
const OPERATE: Rule = Rule::Needs(Scope::Operator);

/// Service, method, rule.
const RULES: &[(&str, &str, Rule)] = &[
    (CLASSIFIER, "Classify", INFER),
    (CLASSIFIER, "ClassifyStream", INFER),
    (CLASSIFIER, "ClassifyTasks", INFER),
    (CLASSIFIER, "ClassifyTasksStream", INFER),
    (CLASSIFIER, "ZeroShot", INFER),
    (CLASSIFIER, "Score", INFER),
    (CLASSIFIER, "Compare", INFER),
    (CLASSIFIER, "Embed", INFER),
    (CLASSIFIER, "Tokenize", INFER),
    (CATALOG, "ListTasks", INFER),
    (CATALOG, "GetTask", INFER),
    (CATALOG, "SearchTasks", INFER),
    (CATALOG, "SimilarTasks", INFER),
    (CATALOG, "SuggestTasks", INFER),
    (CATALOG, "ListKnownTasks", INFER),
    (CATALOG, "WatchTasks", INFER),
    (HEADS, "InstallHead", CHANGE),
    (HEADS, "InstallBundle", CHANGE),
    (HEADS, "ListVersions", CHANGE),
    (HEADS, "SetAlias", CHANGE),
    (HEADS, "Rollback", CHANGE),
    (HEADS, "SetTraffic", CHANGE),
    (HEADS, "SetRetention", CHANGE),
    (HEADS, "DeleteVersion", CHANGE),
    (HEADS, "ExportHead", CHANGE),
    (HEADS, "UpdateMetadata", CHANGE),
    (HEADS, "FitHead", CHANGE),
    (HEADS, "EvaluateHead", CHANGE),
    (HEADS, "ListWatchedHeads", OPERATE),
    (TENANTS, "CreateTenant", OPERATE),
    (TENANTS, "ListTenants", OPERATE),
    (TENANTS, "GetTenant", OPERATE),
    (TENANTS, "SetQuota", OPERATE),
    (TENANTS, "DeleteTenant", OPERATE),
    (TENANTS, "CreateToken", OPERATE),
    (TENANTS, "ListTokens", OPERATE),
    (TENANTS, "RevokeToken", OPERATE),
    (AUDIT, "ListAuditEntries", OPERATE),
    (REGISTRY, "GetRegistryStats", OPERATE),
    (REGISTRY, "VerifyRegistry", OPERATE),
    (REGISTRY, "BackupRegistry", OPERATE),
    (REGISTRY, "CollectGarbage", OPERATE),
    (SERVER, "GetConfig", OPERATE),
    (SERVER, "ReloadConfig", OPERATE),
    (HEALTH, "Check", Rule::Anybody),
    (HEALTH, "Watch", Rule::Anybody),
    (REFLECTION, "ServerReflectionInfo", Rule::AnyCredential),
    (OLD_REFLECTION, "ServerReflectionInfo", Rule::AnyCredential),
];

/// The rule of the method at `path`, such as `/grpc.health.v1.Health/Check`.
pub(crate) fn rule(path: &str) -> Option<Rule> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    RULES.iter().find(|(of, name, _)| (*of, *name) == (service, method)).map(|(_, _, rule)| *rule)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// The path of every method that a server may answer.
    fn methods() -> BTreeSet<String> {
        let described = [
            api::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let files = described.map(|bytes| FileDescriptorSet::decode(bytes).unwrap().file);
        let files = files.iter().flatten();
        let services = files.flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
        let paths = services.flat_map(|(package, service)| {
            let path = move |method: &str| format!("/{package}.{}/{method}", service.name());
            service.method.iter().map(move |method| path(method.name()))
        });
        paths.collect()
    }

    #[test]
    fn every_method_has_one_rule_and_every_rule_a_method() {
        let ruled: BTreeSet<_> = RULES.iter().map(|(service, method, _)| format!("/{service}/{method}")).collect();
        assert_eq!(ruled.len(), RULES.len(), "a method has two rules");
        assert_eq!(methods(), ruled);
    }

    #[test]
    fn only_health_answers_everybody() {
        let open = RULES.iter().filter(|(_, _, rule)| *rule == Rule::Anybody).map(|(service, ..)| *service);
        assert!(open.into_iter().all(|service| service == HEALTH));
        for path in
            ["", "/", "/headwater.v1.HeadService", "/headwater.v1.HeadService/", "headwater.v1.HeadService/Rollback"]
        {
            assert_eq!(rule(path), None, "{path:?}");
        }
    }
}
