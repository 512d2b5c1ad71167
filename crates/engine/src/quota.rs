//! What a tenant may use, as a plain value.

/// Limits of one tenant; what is `None` has no limit beyond the server's own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quota {
    /// Calls in a second, on average.
    pub requests_per_second: Option<f64>,
    /// Calls that may come at once beyond the average; `None`: one second's worth.
    pub request_burst: Option<u32>,
    /// Tokens through the encoder in a second, on average.
    pub tokens_per_second: Option<f64>,
    /// Rows admitted and not yet answered.
    pub rows_in_flight: Option<u32>,
    /// Versions of heads in all tasks.
    pub head_versions: Option<u32>,
    /// Bytes of weights in all versions.
    pub head_bytes: Option<u64>,
    /// Weight in the division of a busy server between tenants; `None`: 1.
    pub weight: Option<f64>,
}

impl Quota {
    /// The first field whose number cannot be a limit: rates are finite and not negative, a weight is above 0.
    #[must_use]
    pub fn wrong_field(&self) -> Option<&'static str> {
        let rate = |number: f64| number.is_finite() && number >= 0.0;
        let checks = [
            ("requests_per_second", self.requests_per_second.is_none_or(rate)),
            ("tokens_per_second", self.tokens_per_second.is_none_or(rate)),
            ("weight", self.weight.is_none_or(|weight| weight.is_finite() && weight > 0.0)),
        ];
        checks.into_iter().find_map(|(field, fits)| (!fits).then_some(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_finite_and_a_weight_above_nothing() {
        assert_eq!(Quota::default().wrong_field(), None);
        let rate = |rate| Quota { requests_per_second: Some(rate), ..Quota::default() }.wrong_field();
        let wrong = Some("requests_per_second");
        assert_eq!([rate(0.0), rate(-1.0), rate(f64::NAN)], [None, wrong, wrong]);
        let weight = |weight| Quota { weight: Some(weight), ..Quota::default() }.wrong_field();
        assert_eq!([weight(0.5), weight(0.0), weight(f64::INFINITY)], [None, Some("weight"), Some("weight")]);
    }
}
