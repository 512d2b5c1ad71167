//! Behaviour across crates, without libtorch.

mod tidy;
