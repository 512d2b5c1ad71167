//! Behaviour that needs real weights.
