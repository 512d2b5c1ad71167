//! Everything at rest.
