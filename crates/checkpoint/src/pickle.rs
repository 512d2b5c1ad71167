//! Reads the pickle of a state dictionary without running it: an allow-list of opcodes, and of the few globals that
//! rebuild tensors. Everything else is refused by name.

mod machine;
mod opcode;
mod rebuild;

pub(crate) use rebuild::PickledTensor;

use crate::error::CheckpointError;

/// The tensors that `pickle` names, in its order; their numbers are elsewhere.
///
/// # Errors
/// [`CheckpointError::BadPickle`], with the opcode, the global or the limit.
pub(crate) fn read(pickle: &[u8]) -> Result<Vec<(String, PickledTensor)>, CheckpointError> {
    machine::run(pickle).and_then(rebuild::state_dictionary).map_err(CheckpointError::BadPickle)
}
