//! Guesses at a token's secret are refused alike, and no later the more of it is right.

use std::fmt::Write;

use api::v1;
use tests::{Random, TestServer, effort, found};
use tokio::time::Instant;
use tonic::Code;

use super::statistics::{LEAST_PROBABILITY, one_round_holds, rank_correlation, same_distribution, two_lots};
use crate::asking::{ask, input};
use crate::credentials::{token, with};

/// Bytes of a secret, each as two digits at the end of the token.
const SECRET_BYTES: usize = 32;
/// Beyond that, latencies grow or shrink with what is right.
const MOST_CORRELATION: f64 = 0.05;

/// A token of which so many bytes of the secret are right, the next is wrong, and the rest is drawn.
fn guess(token: &str, right: usize, random: &mut Random) -> String {
    let (id, secret) = token.split_at(token.len() - 2 * SECRET_BYTES);
    let mut text = id.to_owned();
    for place in 0..SECRET_BYTES {
        let byte = u8::from_str_radix(&secret[2 * place..2 * place + 2], 16).unwrap();
        let byte = match place.cmp(&right) {
            std::cmp::Ordering::Less => byte,
            std::cmp::Ordering::Equal => byte.wrapping_add(1 + random.below(255) as u8),
            std::cmp::Ordering::Greater => random.below(256) as u8,
        };
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_is_refused_no_later_the_more_of_it_is_right() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let (secret, _) = token(&server, &operator, "default", &[v1::Scope::Infer]).await;
    let mut classifier = server.classifier();
    classifier.classify(with(&secret, ask("mood", vec![input("fine")]))).await.expect("the token itself is good");
    let missing = classifier.classify(ask("mood", vec![input("fine")])).await.expect_err("no token");
    let guesses = effort(200, 100_000);
    let mut random = Random::new(2);
    let (holds, seen) = one_round_holds(async || {
        let mut pairs = Vec::with_capacity(guesses);
        for _ in 0..guesses {
            let right = random.below(SECRET_BYTES);
            let request = with(&guess(&secret, right, &mut random), ask("mood", vec![input("fine")]));
            let started = Instant::now();
            let refused = classifier.classify(request).await.expect_err("a guess");
            pairs.push((right as u64, started.elapsed().as_nanos() as u64));
            let (told, all) = ((refused.code(), refused.message()), (Code::Unauthenticated, missing.message()));
            assert_eq!(
                (told, refused.details()),
                (all, missing.details()),
                "{right} bytes are right, {refused:?} {}",
                pairs.len()
            );
        }
        let found = rank_correlation(&pairs);
        (found.abs() < MOST_CORRELATION, format!("{guesses} guesses: correlation {found:.4}"))
    })
    .await;
    // A time says something only where there are enough of them, on a machine that does nothing else.
    assert!(holds || effort(true, false), "{seen}");
    found(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_revoked_is_refused_as_a_wrong_guess_at_it() {
    let (server, operator) = TestServer::start_with_credentials().await;
    let (revoked, id) = token(&server, &operator, "default", &[v1::Scope::Infer]).await;
    server.tenants().revoke_token(with(&operator, v1::RevokeTokenRequest { id })).await.unwrap();
    let calls = effort(50, 10_000);
    let mut random = Random::new(3);
    let wrong = guess(&revoked, SECRET_BYTES - 1, &mut random);
    let (holds, seen) = one_round_holds(async || {
        let [of_revoked, of_guessed] = two_lots(calls, &mut random, async |is_guessed, _| {
            let request = with([&revoked, &wrong][is_guessed], ask("mood", vec![input("fine")]));
            let mut classifier = server.classifier();
            let started = Instant::now();
            let refused = classifier.classify(request).await.expect_err("it is no good");
            let took = started.elapsed().as_nanos() as u64;
            assert_eq!(refused.code(), Code::Unauthenticated);
            took
        })
        .await;
        let probability = same_distribution(&of_revoked, &of_guessed);
        (probability > LEAST_PROBABILITY, format!("revoked and guessed, {calls} calls each: p = {probability:.3}"))
    })
    .await;
    assert!(holds || effort(true, false), "{seen}");
    found(&seen);
}
