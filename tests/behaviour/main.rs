//! Behaviour across crates, without libtorch.
