//! How many connections the system's limit on open files has room for.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Open files that are not connections: the registry's, the encoder's while it loads, the log's.
const OTHERS: u64 = 64;

/// As many of `wanted` connections as there may be files, so that the registry never lacks one: a write that fails for
/// want of a file would end all changes. The limit is raised as far as the system allows.
pub(crate) fn room_for(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Where it cannot be raised, the room is what it was.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let room = room_among(files, wanted);
    if room < wanted {
        warn!(files, wanted, room, "fewer connections than wanted, because few files may be open");
    }
    room
}

fn room_among(files: u64, wanted: usize) -> usize {
    let room = files - OTHERS.min(files / 2);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        assert_eq!(room_among(1_024, 512), 512);
        assert_eq!(room_among(256, 512), 192);
        assert_eq!(room_among(64, 512), 32);
    }
}
