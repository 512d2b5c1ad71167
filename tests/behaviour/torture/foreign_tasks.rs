//! A task of another tenant answers like one that nobody has: the same bytes for every pair of tenants, and no sooner or
//! later.

use std::collections::BTreeSet;

use api::v1;
use tests::{Random, TestServer, effort, found};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::statistics::{one_round_holds, same_distribution};
use crate::asking::{ask, input};
use crate::credentials::{tenant, token, with};
use crate::installing::{folder, messages};

const TENANTS: usize = 4;
/// Below that, two lots of latencies are of two distributions.
const LEAST_PROBABILITY: f64 = 0.01;

#[derive(Debug, Clone, Copy)]
enum Method {
    Classify,
    GetTask,
}

/// A server with tenants that have one task each, and their tokens.
struct Tenants {
    server: TestServer,
    tokens: Vec<String>,
}

impl Tenants {
    async fn start() -> Self {
        let (server, operator) = TestServer::start_with_credentials().await;
        let mut tokens = Vec::new();
        for number in 0..TENANTS {
            let name = format!("tenant{number}");
            tenant(&server, &operator, &name).await;
            let (token, _) = token(&server, &operator, &name, &[v1::Scope::Infer, v1::Scope::Heads]).await;
            let head = tests::head(engine::HeadKind::Classification, &["no", "yes"], number as u16);
            let folder = folder(&server, &own_task(number), &head);
            let install = tokio_stream::iter(messages(v1::InstallHeader::default(), &folder));
            server.heads().install_head(with(&token, install)).await.unwrap();
            tokens.push(token);
        }
        Self { server, tokens }
    }

    /// How a call of the tenant's is refused that names this task, and how long that took.
    async fn refusal(&self, method: Method, reader: usize, task: &str) -> (Status, u64) {
        let token = &self.tokens[reader];
        let (mut classifier, mut catalog) = (self.server.classifier(), self.server.catalog());
        let classify = with(token, ask(task, vec![input("fine")]));
        let get = with(token, v1::GetTaskRequest { task: task.to_owned(), ..v1::GetTaskRequest::default() });
        let started = Instant::now();
        let refused = match method {
            Method::Classify => classifier.classify(classify).await.map(drop),
            Method::GetTask => catalog.get_task(get).await.map(drop),
        };
        let took = started.elapsed();
        (refused.expect_err("it is not this tenant's"), took.as_nanos() as u64)
    }

    /// The latencies of foreign tasks and of absent ones, between tenants and in an order that are drawn.
    async fn latencies(&self, method: Method, random: &mut Random, calls: usize) -> [Vec<u64>; 2] {
        let mut latencies = [Vec::new(), Vec::new()];
        while latencies.iter().any(|lot| lot.len() < calls) {
            let (reader, owner, is_absent) = (random.below(TENANTS), random.below(TENANTS), random.below(2));
            if reader == owner || latencies[is_absent].len() == calls {
                continue;
            }
            let task = if is_absent == 1 { absent_task(owner) } else { own_task(owner) };
            let (refusal, took) = self.refusal(method, reader, &task).await;
            assert_eq!(refusal.code(), Code::NotFound);
            latencies[is_absent].push(took);
        }
        latencies
    }
}

fn own_task(owner: usize) -> String {
    format!("hidden/of{owner}")
}

fn absent_task(number: usize) -> String {
    format!("absent/of{number}")
}

/// All that a caller sees of a refusal.
fn bytes(refusal: &Status) -> Vec<u8> {
    let metadata: BTreeSet<_> = refusal.metadata().keys().map(|key| format!("{key:?}")).collect();
    let told = format!("{:?} {} {metadata:?}", refusal.code(), refusal.message());
    [told.as_bytes(), refusal.details()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pair_of_tenants_can_tell_a_foreign_task_from_none() {
    let tenants = Tenants::start().await;
    let mut pairs = 0;
    for method in [Method::Classify, Method::GetTask] {
        for (reader, owner) in (0..TENANTS * TENANTS).map(|pair| (pair / TENANTS, pair % TENANTS)) {
            if reader != owner {
                let (foreign, _) = tenants.refusal(method, reader, &own_task(owner)).await;
                let (absent, _) = tenants.refusal(method, reader, &absent_task(owner)).await;
                assert_eq!(bytes(&foreign), bytes(&absent), "{method:?}: tenant {reader} about tenant {owner}'s");
                pairs += 1;
            }
        }
    }
    found(&format!("the same bytes for {pairs} pairs of tenants and methods"));
    let calls = effort(50, 10_000);
    let mut random = Random::new(1);
    for method in [Method::Classify, Method::GetTask] {
        let (holds, seen) = one_round_holds(async || {
            let [foreign, absent] = tenants.latencies(method, &mut random, calls).await;
            let probability = same_distribution(&foreign, &absent);
            (probability > LEAST_PROBABILITY, format!("{method:?}, {calls} calls each: p = {probability:.3}"))
        })
        .await;
        // A time says something only where there are enough of them, on a machine that does nothing else.
        assert!(holds || effort(true, false), "{seen}");
        found(&seen);
    }
}
