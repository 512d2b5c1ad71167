//! Every number the server publishes, in one place, in the Prometheus text format.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use engine::{Engine, TenantName, TrafficCounts};
use tonic::Code;

use crate::boot::LeftOut;
use crate::heads_folder::Listing;
use crate::refusals::Refusals;
use crate::tenant_metrics;

/// Tasks whose names are labels of metrics.
const MAX_DIVIDED_TASKS: usize = 100;

/// Numbers that the engine does not count itself.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    calls: AtomicU64,
    calls_in_flight: AtomicU64,
    connections: AtomicU64,
    handshakes_failed: AtomicU64,
    certificate_changes: AtomicU64,
    certificates_refused: AtomicU64,
    certificate_ends_at: AtomicI64,
    versions_damaged: AtomicU64,
    versions_unfit: AtomicU64,
    seeds_refused: AtomicU64,
    refusals: [AtomicU64; 17],
    /// The watched folder, where there is one.
    folder: Option<Arc<Listing>>,
    refused_heads: Arc<Refusals>,
}

/// A number in flight; dropping it takes it off.
#[derive(Debug)]
pub(crate) struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// All at zero, but for what became of the heads of a watched folder and of others.
    pub(crate) fn of(folder: Option<Arc<Listing>>, refused_heads: Arc<Refusals>) -> Self {
        Self { folder, refused_heads, ..Self::default() }
    }

    /// A call has arrived; the guard stands for it until its response begins.
    pub(crate) fn call_started(&self) -> InFlight<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.calls_in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.calls_in_flight)
    }

    /// A connection is open as long as the guard lives.
    pub(crate) fn connection_opened(&self) -> InFlight<'_> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.connections)
    }

    /// A client's TLS handshake failed or took too long.
    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Other certificates are in use; the server's own ends then, in seconds since 1970.
    pub(crate) fn certificates_changed(&self, ends_at: i64) {
        self.certificate_changes.fetch_add(1, Ordering::Relaxed);
        self.certificate_ends_at(ends_at);
    }

    /// When the server's certificate ends, in seconds since 1970.
    pub(crate) fn certificate_ends_at(&self, ends_at: i64) {
        self.certificate_ends_at.store(ends_at, Ordering::Relaxed);
    }

    /// New certificates could not be used.
    pub(crate) fn certificates_refused(&self) {
        self.certificates_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// What could not be served at the start.
    pub(crate) fn left_out(&self, left_out: LeftOut) {
        self.versions_damaged.store(left_out.damaged as u64, Ordering::Relaxed);
        self.versions_unfit.store(left_out.unfit as u64, Ordering::Relaxed);
        self.seeds_refused.store(left_out.refused as u64, Ordering::Relaxed);
    }

    /// A call ended with `code` and without a response.
    pub(crate) fn count_refusal(&self, code: Code) {
        if let Some(count) = self.refusals.get(code as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All numbers as text.
    pub(crate) fn render(&self, engine: &Engine) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, value: u64| {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "# HELP headwater_{name} {help}\n# TYPE headwater_{name} {kind}\nheadwater_{name} {value}"
            );
        };
        let now = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let counters = engine.counters();
        family("calls_total", "counter", "Calls that arrived.", now(&self.calls));
        family("calls_in_flight", "gauge", "Calls whose response has not begun.", now(&self.calls_in_flight));
        family("connections", "gauge", "Open connections.", now(&self.connections));
        family("tls_handshakes_failed_total", "counter", "TLS handshakes that failed.", now(&self.handshakes_failed));
        family("tls_reloads_total", "counter", "Times that certificates changed.", now(&self.certificate_changes));
        let refused = now(&self.certificates_refused);
        family("tls_reload_failures_total", "counter", "New certificates that could not be used.", refused);
        let ends_at = self.certificate_ends_at.load(Ordering::Relaxed);
        family("tls_certificate_end_seconds", "gauge", "End of the certificate, since 1970.", ends_at.max(0) as u64);
        family("tasks", "gauge", "Tasks served.", engine.live().len() as u64);
        family("rows_in_flight", "gauge", "Rows admitted and not yet answered.", engine.in_flight_rows() as u64);
        family("rows_queued", "gauge", "Rows in line for a worker.", engine.queued_rows() as u64);
        family("rows_total", "counter", "Rows the model answered.", counters.rows.value());
        family("tokens_total", "counter", "Tokens of those rows.", counters.tokens.value());
        family("batches_total", "counter", "Batches run.", counters.batches.value());
        family("model_microseconds_total", "counter", "Time in the model.", counters.model_microseconds.value());
        family("rows_failed_total", "counter", "Rows the model refused or failed.", counters.failed_rows.value());
        family(
            "rows_deduplicated_total",
            "counter",
            "Rows that joined an equal one.",
            counters.deduplicated_rows.value(),
        );
        family("cache_hits_total", "counter", "Rows the cache answered.", counters.cache_hits.value());
        family("cache_misses_total", "counter", "Rows not in the cache.", counters.cache_misses.value());
        family("cache_evictions_total", "counter", "Entries that left for room.", counters.cache_evictions.value());
        family("cache_bytes", "gauge", "Bytes the cache holds.", engine.cache_bytes() as u64);
        family("rows_expired_total", "counter", "Rows dropped past their deadline.", counters.expired_rows.value());
        family("rows_abandoned_total", "counter", "Rows whose caller had left.", counters.abandoned_rows.value());
        family("asks_overloaded_total", "counter", "Asks refused for load.", counters.overloaded_asks.value());
        family("heads_refused_total", "counter", "Heads that failed their check.", self.refused_heads.total());
        family("worker_restarts_total", "counter", "Times a worker was rebuilt.", counters.worker_restarts.value());
        family("worker_stalls_total", "counter", "Times a worker was stuck.", counters.worker_stalls.value());
        let _ = writeln!(
            text,
            "# HELP headwater_refusals_total Calls refused, by code.\n# TYPE headwater_refusals_total counter"
        );
        for (code, count) in self.refusals.iter().enumerate().skip(1) {
            let code = Code::from_i32(code as i32);
            let _ = writeln!(text, "headwater_refusals_total{{code=\"{code:?}\"}} {}", now(count));
        }
        let _ = writeln!(
            text,
            "# HELP headwater_versions_left_out Versions that could not be served at the start.\n\
             # TYPE headwater_versions_left_out gauge"
        );
        let left_out =
            [("damaged", &self.versions_damaged), ("unfit", &self.versions_unfit), ("refused", &self.seeds_refused)];
        for (reason, count) in left_out {
            let _ = writeln!(text, "headwater_versions_left_out{{reason=\"{reason}\"}} {}", now(count));
        }
        divided_tasks(&mut text, engine);
        tenant_metrics::render(&mut text, &engine.shares().uses());
        if let Some(folder) = &self.folder {
            watched_heads(&mut text, folder);
        }
        text
    }
}

/// What became of the heads of the watched folder.
fn watched_heads(text: &mut String, folder: &Listing) {
    let _ =
        writeln!(text, "# HELP headwater_watched_heads Head folders by state.\n# TYPE headwater_watched_heads gauge");
    for (state, count) in ["served", "waiting", "refused"].into_iter().zip(folder.counts()) {
        let _ = writeln!(text, "headwater_watched_heads{{state=\"{state}\"}} {count}");
    }
    let readable = u64::from(folder.now().1.is_none());
    let _ = writeln!(
        text,
        "# HELP headwater_watched_folder_readable 1 while the folder can be read, else 0.\n\
         # TYPE headwater_watched_folder_readable gauge\nheadwater_watched_folder_readable {readable}"
    );
}

/// What was counted under the traffic rules of tasks, of so many tasks at most.
fn divided_tasks(text: &mut String, engine: &Engine) {
    let tasks = engine.live().list(&TenantName::default_tenant());
    let divided = tasks.iter().filter_map(|task| Some((&task.key.task, task.traffic.as_ref()?.counts())));
    let divided: Vec<_> = divided.take(MAX_DIVIDED_TASKS).collect();
    let mut family =
        |name: &str, help: &str, label: &str, values: &dyn Fn(&TrafficCounts) -> Vec<(&'static str, u64)>| {
            let _ = writeln!(text, "# HELP headwater_{name} {help}\n# TYPE headwater_{name} counter");
            for (task, counts) in &divided {
                for (value, count) in values(counts) {
                    let _ = writeln!(text, "headwater_{name}{{task=\"{task}\",{label}=\"{value}\"}} {count}");
                }
            }
        };
    family("divided_calls_total", "Calls under a traffic rule.", "answered_by", &|counts| {
        vec![("live", counts.live_calls), ("canary", counts.canary_calls)]
    });
    family("shadow_inputs_total", "Inputs that a shadow had to judge.", "outcome", &|counts| {
        let differed = counts.judged.saturating_sub(counts.agreed + counts.numbers);
        vec![
            ("agreed", counts.agreed),
            ("differed", differed),
            ("number", counts.numbers),
            ("skipped", counts.skipped),
            ("failed", counts.failed),
        ]
    });
}
