//! A hundred callers install the same head at once: it is stored once, and all are told so.

use api::v1;
use tests::{TestServer, constant, found};

use super::{answer, send, upload};

const CALLERS: usize = 100;
const CALLERS_A_CONNECTION: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_callers_install_one_head_and_all_are_told_of_one_version() {
    let server = TestServer::start().await;
    let objects = || std::fs::read_dir(server.data_dir().join("objects")).unwrap().count();
    let before = objects();
    let channels: Vec<_> = (0..CALLERS / CALLERS_A_CONNECTION).map(|_| server.own_channel()).collect();
    let calls: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let channel = channels[caller / CALLERS_A_CONNECTION].clone();
            let messages = upload(v1::InstallHeader::default(), "same/head", &constant(7), server.encoder);
            tokio::spawn(async move { send(&channel, messages).await })
        })
        .collect();
    let mut new = 0;
    for call in calls {
        let installed = call.await.unwrap().expect("all are told that it is there");
        assert_eq!((installed.version, installed.live), (1, true));
        new += usize::from(!installed.already_installed);
    }
    assert_eq!(new, 1, "one of them brought it");
    assert_eq!(objects() - before, 3, "manifest, weight and bias");
    assert_eq!(answer(&server.channel(), "same/head").await.unwrap(), (1, 7));
    found(&format!("{CALLERS} callers, {CALLERS} told OK, one version, 3 objects"));
}
