//! The calls that a process made on the files below a folder, read back from what `file_calls.c` has recorded.

/// A call that succeeded, or what was said between two.
#[derive(Debug)]
pub(crate) enum Call {
    Create {
        inode: u64,
        path: String,
    },
    Mkdir {
        inode: u64,
        path: String,
    },
    Write {
        inode: u64,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        inode: u64,
        length: usize,
    },
    Sync {
        inode: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    /// A write to standard output.
    Say(String),
}

/// Every call of a record, in order.
pub(crate) fn read(record: &[u8]) -> Vec<Call> {
    let mut rest = record;
    std::iter::from_fn(|| next(&mut rest)).collect()
}

fn next(rest: &mut &[u8]) -> Option<Call> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, behind) = rest.split_at(end);
    *rest = &behind[1..];
    let line = std::str::from_utf8(line).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let number = |word: &str| word.parse::<u64>().unwrap();
    let mut take = |length: &str| {
        let (bytes, behind) = rest.split_at(length.parse().unwrap());
        *rest = behind;
        bytes.to_vec()
    };
    Some(match words.as_slice() {
        ["create", inode, path] => Call::Create { inode: number(inode), path: (*path).to_owned() },
        ["mkdir", inode, path] => Call::Mkdir { inode: number(inode), path: (*path).to_owned() },
        ["write", inode, at, length] => {
            Call::Write { inode: number(inode), at: at.parse().unwrap(), bytes: take(length) }
        }
        ["truncate", inode, length] => Call::Truncate { inode: number(inode), length: length.parse().unwrap() },
        ["sync", inode] => Call::Sync { inode: number(inode) },
        ["rename", from, to] => Call::Rename { from: (*from).to_owned(), to: (*to).to_owned() },
        ["unlink", path] => Call::Unlink { path: (*path).to_owned() },
        ["say", length] => Call::Say(String::from_utf8_lossy(&take(length)).into_owned()),
        _ => panic!("not a record: {line}"),
    })
}
