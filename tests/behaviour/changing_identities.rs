//! The list of certificates' identities changes while the server runs: by a reload, as a whole, for calls to come and
//! for streams under way.

use std::sync::Arc;
use std::time::Duration;

use api::v1;
use api::v1::server_service_client::ServerServiceClient;
use cli::DONE;
use engine::TenantName;
use server::{Access, Adjustable, ConfigurationError, Configured, Identities, Reloading, Tls};
use tests::{Surroundings, TestServer};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use tonic::{Code, Status};

use crate::asking::{ask, input};
use crate::certificates::{Authority, Folder};
use crate::command_line::{Run, headwater_at};
use crate::streaming::message;

const PATIENCE: Duration = Duration::from_secs(60);
/// The file of the list.
const LIST: &str = "identities";

/// A server that knows the client with the certificate `localhost` by the list in a file.
pub(crate) struct Listed {
    pub(crate) server: TestServer,
    folder: Folder,
    authority: Authority,
    /// Asks for a reload without a call.
    pub(crate) asking: mpsc::Sender<()>,
}

impl Listed {
    /// The list has this one line of `localhost`.
    pub(crate) async fn start(line: &str) -> Self {
        let (authority, clients) = (Authority::new(), Authority::new());
        let folder = Folder::with(&authority.server());
        folder.write("clients.pem", &clients.pem);
        folder.write("ca.pem", &authority.pem);
        let client = clients.client(1);
        folder.write("client.pem", &client.cert);
        folder.write("client-key.pem", &client.key);
        let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority.pem));
        let trust = trust.identity(Identity::from_pem(&client.cert, &client.key));
        let tls = Some((Tls::open(folder.files_with_clients()).unwrap(), trust));
        let (asking, asked) = mpsc::channel(1);
        let list = folder.write(LIST, line);
        let read = move || {
            let text = std::fs::read_to_string(&list).unwrap();
            let identities = Identities::parse(&text).map_err(|error| ConfigurationError(error.to_string()))?;
            let adjustable = Adjustable {
                limits: engine::testing::small_limits(),
                max_connections: 64,
                drain: Duration::from_secs(10),
                fit_memory_bytes: 1 << 20,
            };
            Ok(Configured { options: Vec::new(), adjustable, identities, effect: Box::new(|| ()) })
        };
        let catalogue = Some(TenantName::default_tenant());
        let access = Access::Credentials { catalogue, identities: read().unwrap().identities };
        let configuration = Some(Reloading { options: Vec::new(), read: Arc::new(read), asked });
        let surroundings = Surroundings { tls, access, configuration, ..Surroundings::default() };
        Self { server: TestServer::start_among(surroundings).await, folder, authority, asking }
    }

    pub(crate) fn write(&self, list: &str) {
        self.folder.write(LIST, list);
    }

    /// Gives the server another certificate, and the key that belongs to it.
    pub(crate) fn renew(&self) {
        self.folder.write_server(&self.authority.server());
    }

    pub(crate) async fn reload(&self, check_only: bool) -> Result<v1::ReloadConfigResponse, Status> {
        let request = v1::ReloadConfigRequest { check_only };
        ServerServiceClient::new(self.server.channel()).reload_config(request).await.map(tonic::Response::into_inner)
    }

    /// What the client is told that asks for the versions of a task, which takes the scope `heads`.
    async fn versions(&self) -> Code {
        let request = v1::ListVersionsRequest { task: "mood".to_owned() };
        let listed = self.server.heads().list_versions(request).await;
        listed.map_or_else(|refusal| refusal.code(), |_| Code::Ok)
    }

    /// What the command line says that has the client's certificate.
    async fn headwater(&self, arguments: &[&str]) -> Run {
        let address = format!("https://localhost:{}", self.server.address.port());
        let file = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client-key.pem"));
        let options = ["--addr", &address, "--ca", &ca, "--cert", &cert, "--key", &key];
        let run = headwater_at(&[arguments, &options].concat(), "").await;
        assert_eq!(run.status, DONE, "{}", run.errors);
        run
    }

    async fn until_versions(&self, wanted: Code) {
        let changing = async {
            while self.versions().await != wanted {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, changing).await.expect("the list counts in time");
    }
}

#[tokio::test]
async fn another_list_counts_from_the_next_call_on_the_same_connection() {
    let listed = Listed::start("default infer,operator localhost").await;
    assert_eq!(listed.versions().await, Code::PermissionDenied);
    listed.write("default infer,heads,operator localhost");
    assert!(listed.reload(true).await.unwrap().identities_changed, "it is told before it counts");
    assert_eq!(listed.versions().await, Code::PermissionDenied);
    assert!(listed.reload(false).await.unwrap().identities_changed);
    assert_eq!(listed.versions().await, Code::Ok);
    assert!(!listed.reload(false).await.unwrap().identities_changed, "it is the same list");
}

#[tokio::test]
async fn a_bad_list_is_told_and_leaves_the_old_one() {
    let listed = Listed::start("default infer,heads,operator localhost").await;
    listed.write("default infer,heads,operator localhost\nacme admin somebody\n");
    let refusal = listed.reload(false).await.expect_err("there is no such scope");
    assert_eq!(refusal.code(), Code::FailedPrecondition);
    assert!(refusal.message().contains("line 2"), "{}", refusal.message());
    assert_eq!(listed.versions().await, Code::Ok);
}

#[tokio::test]
async fn whoever_is_taken_off_the_list_is_outside_at_once_also_with_a_stream_under_way() {
    let listed = Listed::start("default infer,heads localhost").await;
    let (rows, waiting) = mpsc::channel(4);
    rows.send(message("1", "mood", "fine")).await.unwrap();
    let mut classifier = listed.server.classifier();
    let mut answers = classifier.classify_stream(ReceiverStream::new(waiting)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().id, "1");
    listed.write("default infer,heads somebody-else");
    listed.asking.send(()).await.unwrap();
    listed.until_versions(Code::Unauthenticated).await;
    rows.send(message("2", "mood", "fine")).await.unwrap();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unauthenticated);
    listed.write("default infer,heads localhost");
    listed.asking.send(()).await.unwrap();
    listed.until_versions(Code::Ok).await;
    classifier.classify(ask("mood", vec![input("back again")])).await.unwrap();
}

#[tokio::test]
async fn the_command_line_says_that_the_list_has_changed() {
    let listed = Listed::start("default infer,operator localhost").await;
    let reload = async |more: &[&str]| listed.headwater(&[&["server", "reload"], more].concat()).await;
    listed.write("default infer,operator localhost\ndefault infer another");
    let run = reload(&["--check", "--output", "table"]).await;
    assert_eq!(run.output, "certificates of clients would stand for others than before\n");
    assert_eq!(reload(&["--output", "json"]).await.lines()[0]["identities_changed"], true);
    assert_eq!(reload(&["--output", "table"]).await.output, "nothing changes\n");
}

#[tokio::test]
async fn a_token_that_is_set_to_nothing_is_none_beside_a_certificate() {
    let listed = Listed::start("default infer localhost").await;
    let run = listed.headwater(&["classify", "mood", "fine", "--token", ""]).await;
    assert_eq!(run.lines()[0]["task"], "mood");
}
