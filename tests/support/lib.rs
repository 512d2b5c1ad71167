//! What the tests of several crates share: a real server on a free port, and a model whose pace a test controls.

mod effort;
mod random;
mod gate;
mod heads;
mod log;
mod pretended;
mod test_server;

pub use effort::{effort, found};
pub use gate::{Gate, GatedModel};
pub use heads::{HIDDEN, constant, head, write_bundle};
pub use log::Log;
pub use pretended::serve_until_killed;
pub use random::Random;
pub use test_server::{Surroundings, TestServer, first_token};
