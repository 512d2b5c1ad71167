//! A stock client finds the whole contract by asking for it.

use tests::TestServer;
use tonic_reflection::pb;

/// Every service that reflection tells of.
pub(crate) async fn services(server: &TestServer) -> Vec<String> {
    let request = pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(pb::v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = pb::v1::server_reflection_client::ServerReflectionClient::new(server.channel());
    let mut replies = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap().message_response.unwrap();
    let pb::v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = reply else {
        panic!("{reply:?}")
    };
    list.service.into_iter().map(|service| service.name).collect()
}

#[tokio::test]
async fn both_versions_of_reflection_list_every_service() {
    let server = TestServer::start().await;
    let expected = ["headwater.v1.CatalogService", "headwater.v1.ClassifierService", "headwater.v1.HeadService"];

    let names = services(&server).await;
    assert!(expected.iter().all(|name| names.iter().any(|found| found == name)), "{names:?}");

    let v1alpha = pb::v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(pb::v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = pb::v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel());
    let mut replies = client.server_reflection_info(tokio_stream::iter([v1alpha])).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap().message_response.unwrap();
    let pb::v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(list.service.len(), names.len());
}
