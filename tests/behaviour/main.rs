//! Behaviour across crates, without libtorch.

mod set_up;
mod tidy;
