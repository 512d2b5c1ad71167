//! TenantService: part of the contract, answered by servers that run with credentials.

use api::v1;
use api::v1::tenant_service_server::TenantService;
use tonic::{Request, Response, Status};

use crate::status::unimplemented;

/// The service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tenants;

/// Every method of the service answers alike until the server can run with credentials.
macro_rules! unanswered {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl TenantService for Tenants {
            $(async fn $method(&self, _: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                Err(unimplemented(stringify!($method)))
            })*
        }
    };
}

unanswered! {
    create_tenant(CreateTenantRequest) -> CreateTenantResponse;
    list_tenants(ListTenantsRequest) -> ListTenantsResponse;
    get_tenant(GetTenantRequest) -> GetTenantResponse;
    set_quota(SetQuotaRequest) -> SetQuotaResponse;
    delete_tenant(DeleteTenantRequest) -> DeleteTenantResponse;
    create_token(CreateTokenRequest) -> CreateTokenResponse;
    list_tokens(ListTokensRequest) -> ListTokensResponse;
    revoke_token(RevokeTokenRequest) -> RevokeTokenResponse;
}
