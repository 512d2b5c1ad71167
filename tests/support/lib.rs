//! What the tests of several crates share: a real server on a free port, and a model whose pace a test controls.

mod gate;
mod heads;
mod test_server;

pub use gate::{Gate, GatedModel};
pub use heads::{HIDDEN, head, write_bundle};
pub use test_server::{Surroundings, TestServer};
