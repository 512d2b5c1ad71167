//! A task of another tenant answers like one that nobody has: the same bytes for every pair of tenants, and no sooner or
//! later, whichever call names it.

use api::v1;
use tests::{Random, TestServer, effort, found};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::statistics::{LEAST_PROBABILITY, one_round_holds, same_distribution, two_lots};
use crate::credentials::{tenant, token, with};
use crate::installing::{folder, messages};
use crate::naming_a_task::{Question, all_told, questions};

const TENANTS: usize = 4;

/// A server with tenants that have one task each.
struct Tenants {
    server: TestServer,
    tokens: Vec<String>,
    /// Every call about each tenant's task, and about one that nobody has.
    of_tasks: Vec<[Vec<Question>; 2]>,
}

impl Tenants {
    async fn start() -> Self {
        let (server, operator) = TestServer::start_with_credentials().await;
        let (mut tokens, mut of_tasks) = (Vec::new(), Vec::new());
        for number in 0..TENANTS {
            let name = format!("tenant{number}");
            tenant(&server, &operator, &name).await;
            let (token, _) = token(&server, &operator, &name, &[v1::Scope::Infer, v1::Scope::Heads]).await;
            let head = tests::head(engine::HeadKind::Classification, &["no", "yes"], number as u16);
            let own = format!("hidden/of{number}");
            let folder = folder(&server, &own, &head);
            let install = tokio_stream::iter(messages(v1::InstallHeader::default(), &folder));
            server.heads().install_head(with(&token, install)).await.unwrap();
            tokens.push(token);
            of_tasks.push([own, format!("absent/of{number}")].map(|task| questions(&task, "")));
        }
        Self { server, tokens, of_tasks }
    }

    /// How a call is refused that names this tenant's task or a task that is absent, and how long that took.
    async fn refusal(&self, method: usize, reader: usize, (owner, is_absent): (usize, bool)) -> (Status, u64) {
        let question = &self.of_tasks[owner][usize::from(is_absent)][method];
        let channel = self.server.channel();
        let started = Instant::now();
        let refused = question.refusal(&channel, &self.tokens[reader]).await;
        (refused, started.elapsed().as_nanos() as u64)
    }

    /// The latencies of foreign tasks and of absent ones, between tenants that are drawn.
    async fn latencies(&self, method: usize, random: &mut Random, calls: usize) -> [Vec<u64>; 2] {
        two_lots(calls, random, async |is_absent, random| {
            let owner = random.below(TENANTS);
            let reader = (owner + 1 + random.below(TENANTS - 1)) % TENANTS;
            let (refusal, took) = self.refusal(method, reader, (owner, is_absent == 1)).await;
            assert_eq!(refusal.code(), Code::NotFound);
            took
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pair_of_tenants_can_tell_a_foreign_task_from_none() {
    let tenants = Tenants::start().await;
    let paths: Vec<_> = tenants.of_tasks[0][0].iter().map(Question::path).collect();
    let mut pairs = 0;
    for (method, path) in paths.iter().enumerate() {
        for (reader, owner) in (0..TENANTS * TENANTS).map(|pair| (pair / TENANTS, pair % TENANTS)) {
            if reader != owner {
                let (foreign, _) = tenants.refusal(method, reader, (owner, false)).await;
                let (absent, _) = tenants.refusal(method, reader, (owner, true)).await;
                assert_eq!(all_told(&foreign), all_told(&absent), "{path}: tenant {reader} about tenant {owner}'s");
                pairs += 1;
            }
        }
    }
    found(&format!("the same bytes for {pairs} pairs of tenants and methods"));
    let calls = effort(10, 5_000);
    let mut random = Random::new(1);
    let mut all_seen = Vec::new();
    for (method, path) in paths.iter().enumerate() {
        let (holds, seen) = one_round_holds(async || {
            let [foreign, absent] = tenants.latencies(method, &mut random, calls).await;
            let probability = same_distribution(&foreign, &absent);
            (probability > LEAST_PROBABILITY, format!("{path} p = {probability:.3}"))
        })
        .await;
        // A time says something only where there are enough of them, on a machine that does nothing else.
        assert!(holds || effort(true, false), "{seen}");
        all_seen.push(seen);
    }
    found(&format!("{calls} calls about each of foreign and absent: {}", all_seen.join(", ")));
}
