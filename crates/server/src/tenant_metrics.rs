//! What tenants use, for so many tenants; the rest together.

use std::fmt::Write;

use engine::{Limited, TenantName, Use};

/// Tenants whose names are labels.
const MAX_TENANTS: usize = 100;
/// The label of the rest. A tenant of that name is among them.
const REST: &str = "other";

/// Adds the numbers of `uses`, whose first tenants have labels of their own.
pub(crate) fn render(text: &mut String, uses: &[(TenantName, Use)]) {
    let mut rest = Use::default();
    let mut labelled = Vec::new();
    for (tenant, used) in uses {
        if labelled.len() < MAX_TENANTS && tenant.as_str() != REST {
            labelled.push((tenant.as_str(), *used));
        } else {
            add(&mut rest, used);
        }
    }
    labelled.push((REST, rest));
    let mut family = |name: &str, kind: &str, help: &str, value: fn(&Use) -> u64| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP headwater_{name} {help}\n# TYPE headwater_{name} {kind}");
        for (tenant, used) in &labelled {
            let _ = writeln!(text, "headwater_{name}{{tenant=\"{tenant}\"}} {}", value(used));
        }
    };
    family("tenant_calls_total", "counter", "Calls that a quota may count, by tenant.", |used| used.calls);
    family("tenant_rows_in_flight", "gauge", "Callers' rows in flight, by tenant.", |used| used.rows_in_flight);
    family("tenant_tokens_total", "counter", "Tokens that a quota may count, by tenant.", |used| used.tokens);
    let help = "Rows of fits and evaluations that wait for their tenant's tokens, by tenant.";
    family("tenant_waiting_rows", "gauge", help, |used| used.waiting_rows);
    let name = "headwater_quota_refusals_total";
    let _ = writeln!(text, "# HELP {name} Refusals for a quota, by tenant.\n# TYPE {name} counter");
    for (tenant, used) in &labelled {
        for (quota, count) in Limited::ALL.into_iter().zip(used.refused) {
            let _ = writeln!(text, "{name}{{tenant=\"{tenant}\",quota=\"{quota}\"}} {count}");
        }
    }
}

fn add(rest: &mut Use, used: &Use) {
    rest.calls += used.calls;
    rest.rows_in_flight += used.rows_in_flight;
    rest.tokens += used.tokens;
    rest.waiting_rows += used.waiting_rows;
    rest.refused.iter_mut().zip(used.refused).for_each(|(sum, count)| *sum += count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_a_hundred_tenants_are_labels() {
        let used = Use { calls: 1, ..Use::default() };
        let names = (0..150).map(|number| format!("tenant{number}")).chain([REST.to_owned()]);
        let uses: Vec<_> = names.map(|name| (name.parse().unwrap(), used)).collect();
        let mut text = String::new();
        render(&mut text, &uses);
        let calls: Vec<_> = text.lines().filter(|line| line.starts_with("headwater_tenant_calls_total{")).collect();
        assert_eq!(calls.len(), MAX_TENANTS + 1);
        assert_eq!(calls.last(), Some(&"headwater_tenant_calls_total{tenant=\"other\"} 51"));
    }
}
