//! Uploads that break off at any message, or whose pieces do not fit: nothing of them stays, no file and no descriptor.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use api::v1;
use api::v1::head_service_client::HeadServiceClient;
use api::v1::install_head_request::Part;
use registry::{Digest, HeadFolder};
use tempfile::TempDir;
use tests::{effort, found};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::victim::Victim;
use super::{answer, send};
use tests::constant;

const TASK: &str = "broken/upload";
const PIECE: usize = 24;

fn piece(name: &str, offset: usize, data: &[u8]) -> v1::InstallHeadRequest {
    let chunk = v1::FileChunk { name: name.to_owned(), offset: offset as u64, data: data.to_vec() };
    v1::InstallHeadRequest { part: Some(Part::Chunk(chunk)) }
}

/// A header that declares both files, and the files in small pieces.
fn in_pieces(folder: &HeadFolder) -> Vec<v1::InstallHeadRequest> {
    let files = [("head.toml", &folder.head_toml), ("weights.safetensors", &folder.weights)];
    let declared = files.map(|(name, bytes)| v1::FileDeclaration {
        name: name.to_owned(),
        size_bytes: bytes.len() as u64,
        sha256: Digest::of(bytes).hex(),
    });
    let header = v1::InstallHeader { files: declared.into(), ..Default::default() };
    let header = v1::InstallHeadRequest { part: Some(Part::Header(header)) };
    let pieces = files.into_iter().flat_map(|(name, bytes)| {
        bytes.chunks(PIECE).enumerate().map(move |(number, data)| piece(name, number * PIECE, data))
    });
    std::iter::once(header).chain(pieces).collect()
}

/// Sends the first messages and leaves; the connection goes too where `dies` is set.
async fn leave_after(victim: &Victim, shared: &tonic::transport::Channel, some: &[v1::InstallHeadRequest], dies: bool) {
    let channel = if dies { victim.channel() } else { shared.clone() };
    let (sender, receiver) = mpsc::channel(1);
    let mut heads = HeadServiceClient::new(channel);
    let call = tokio::spawn(async move { heads.install_head(ReceiverStream::new(receiver)).await });
    for message in some {
        sender.send(message.clone()).await.expect("the call goes on until it is left");
    }
    let _ = sender.reserve().await;
    call.abort();
    let _ = call.await;
}

fn files_below(dir: &Path) -> BTreeSet<std::path::PathBuf> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.insert(path);
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_break_off_or_do_not_fit_leave_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let victim = Victim::start(folder.path()).await;
    let channel = victim.channel();
    assert_eq!(answer(&channel, TASK).await.expect_err("not there yet").code(), Code::NotFound);
    let head = HeadFolder::of_head(&TASK.parse().unwrap(), &constant(3), victim.encoder()).unwrap();
    let messages = in_pieces(&head);
    let descriptors = victim.open_files();
    let files = files_below(&folder.path().join("registry"));
    let mut left = 0;
    for number in (0..messages.len()).step_by(effort(9, 1)) {
        for dies in [false, true] {
            leave_after(&victim, &channel, &messages[..number], dies).await;
            left += 1;
        }
    }

    let with = |change: &dyn Fn(&mut Vec<v1::InstallHeadRequest>)| {
        let mut changed = messages.clone();
        change(&mut changed);
        changed
    };
    let declare = |change: &'static dyn Fn(&mut v1::FileDeclaration)| {
        with(&|messages| {
            let Some(Part::Header(header)) = &mut messages[0].part else { panic!("the header is first") };
            header.files.iter_mut().for_each(change);
        })
    };
    let last = messages.len() - 1;
    let broken = [
        ("a piece twice", with(&|messages| messages.insert(3, messages[2].clone())), Code::InvalidArgument),
        ("pieces in another order", with(&|messages| messages.swap(last, last - 1)), Code::InvalidArgument),
        ("a piece left out", with(&|messages| drop(messages.remove(4))), Code::InvalidArgument),
        ("an end left out", with(&|messages| drop(messages.pop())), Code::DataLoss),
        (
            "more than was declared",
            with(&|messages| {
                messages.push(piece("weights.safetensors", head.weights.len(), b"more"));
            }),
            Code::DataLoss,
        ),
        ("another digest", declare(&|file| file.sha256 = Digest::of(b"other").hex()), Code::DataLoss),
        ("another size", declare(&|file| file.size_bytes += 1), Code::DataLoss),
        ("a second header", with(&|messages| messages.push(messages[0].clone())), Code::InvalidArgument),
        ("no header", with(&|messages| drop(messages.remove(0))), Code::InvalidArgument),
    ];
    let kinds = broken.len();
    for (what, messages, code) in broken {
        let status = send(&channel, messages).await.expect_err(what);
        assert_eq!(status.code(), code, "{what}: {}", status.message());
    }

    assert_eq!(files_below(&folder.path().join("registry")), files, "a file was left behind");
    assert_eq!(answer(&channel, TASK).await.expect_err("nothing was installed").code(), Code::NotFound);
    let settling = async {
        while victim.open_files() > descriptors {
            tokio::task::yield_now().await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(30), settling).await;
    assert!(settled.is_ok(), "{} descriptors are open, {descriptors} were before", victim.open_files());
    send(&channel, messages).await.expect("the same head, whole");
    assert_eq!(answer(&channel, TASK).await.unwrap(), (1, 3));
    found(&format!("{left} uploads left at some message, {kinds} kinds that do not fit: 0 files, 0 descriptors left"));
}
