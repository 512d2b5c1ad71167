//! When a caller stops waiting: the `grpc-timeout` header as an absolute deadline.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

/// The header of the gRPC protocol that carries the caller's patience.
const HEADER: &str = "grpc-timeout";

/// The moment after which nobody waits for the answer. Rides in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline(pub(crate) Instant);

/// The header was there and did not make sense.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedTimeout;

/// Reads the header: at most 8 digits and a unit, `H`, `M`, `S`, `m`, `u` or `n`. `None` where there is no header, or
/// the time is too far off to be told.
pub(crate) fn parse(headers: &HeaderMap, now: Instant) -> Result<Option<Deadline>, MalformedTimeout> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let value = value.to_str().map_err(|_| MalformedTimeout)?;
    let (number, unit) = value.split_at_checked(value.len().saturating_sub(1)).ok_or(MalformedTimeout)?;
    if number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MalformedTimeout);
    }
    let number: u64 = number.parse().map_err(|_| MalformedTimeout)?;
    let patience = match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return Err(MalformedTimeout),
    };
    Ok(now.checked_add(patience).map(Deadline))
}

/// Takes the header away once it has been read, so that nothing further down starts a clock of its own.
pub(crate) fn strip(headers: &mut HeaderMap) {
    headers.remove(HEADER);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Result<Option<Deadline>, MalformedTimeout> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, value.parse().unwrap());
        parse(&headers, Instant::now())
    }

    #[test]
    fn every_unit_is_understood() {
        let now = Instant::now();
        for value in ["2H", "2M", "2S", "2000m", "2000000u", "99999999n", "0n"] {
            let deadline = parsed(value).unwrap().unwrap();
            assert!(deadline.0 >= now, "{value}");
        }
    }

    #[test]
    fn nonsense_is_malformed() {
        for value in ["", "S", "-1S", "+1S", "1", "abc", "1.5S", "123456789S", "1x", "1 S"] {
            assert_eq!(parsed(value), Err(MalformedTimeout), "{value:?}");
        }
    }

    #[test]
    fn no_header_means_no_deadline() {
        assert_eq!(parse(&HeaderMap::new(), Instant::now()), Ok(None));
    }
}
