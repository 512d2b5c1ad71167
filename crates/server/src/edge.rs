//! What surrounds every call: who makes it, its deadline, containment of panics, and codes that name the right side's fault.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::auth::Auth;
use crate::caller::Caller;
use crate::deadline::{self, Deadline};
use crate::ending_body::EndingBody;
use crate::late_body::LateBody;
use crate::metrics::Metrics;
use crate::status;

/// All services behind one door.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    routes: Routes,
    auth: Auth,
    metrics: Arc<Metrics>,
}

impl Edge {
    pub(crate) fn new(routes: Routes, auth: Auth, metrics: Arc<Metrics>) -> Self {
        Self { routes: routes.prepare(), auth, metrics }
    }

    /// Answers one call. Nothing that a handler does ends the connection.
    pub(crate) async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let _call = self.metrics.call_started();
        let mut request = request.map(LateBody::new);
        if !is_grpc(&request) {
            return Ok(self.refused(status::not_grpc()));
        }
        let caller = match self.auth.admit(&request) {
            Ok(caller) => caller,
            Err(refusal) => return Ok(self.refused(refusal)),
        };
        if let Some(caller) = &caller {
            request.extensions_mut().insert(caller.clone());
        }
        let deadline = match deadline::parse(request.headers(), Instant::now()) {
            Ok(deadline) => deadline,
            Err(deadline::MalformedTimeout) => return Ok(self.refused(status::malformed_timeout())),
        };
        deadline::strip(request.headers_mut());
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let handled = AssertUnwindSafe(self.routes.clone().oneshot(request.map(Body::new))).catch_unwind();
        let handled = match deadline {
            Some(deadline) => match timeout_at(deadline.0, handled).await {
                Ok(handled) => handled,
                Err(_) => return Ok(self.refused(status::deadline_exceeded())),
            },
            None => handled.await,
        };
        let response = match handled {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => return Ok(self.refused(status::internal("internal error", "a handler panicked"))),
        };
        Ok(match Status::from_header_map(response.headers()) {
            Some(refusal) if refusal.code() != tonic::Code::Ok => self.refused(status::correct_transport(refusal)),
            _ => match (deadline, caller.filter(Caller::can_end)) {
                (None, None) => response,
                (deadline, caller) => response.map(|body| Body::new(EndingBody::new(body, end(deadline, caller)))),
            },
        })
    }

    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    fn refused(&self, status: Status) -> Response<Body> {
        self.metrics.count_refusal(status.code());
        status.into_http()
    }
}

/// Returns once nobody waits for the answer any more, or whoever does should not get it.
async fn end(deadline: Option<Deadline>, caller: Option<Caller>) -> Status {
    let too_late = async {
        match deadline {
            Some(Deadline(moment)) => sleep_until(moment).await,
            None => std::future::pending().await,
        }
    };
    let no_longer_good = async {
        match &caller {
            Some(caller) => caller.no_longer_good().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = too_late => status::deadline_exceeded(),
        refusal = no_longer_good => refusal,
    }
}

/// Whether the request is a call at all, with messages in protobuf.
fn is_grpc<B>(request: &Request<B>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let subtype = content_type.strip_prefix(b"application/grpc");
    request.method() == Method::POST
        && subtype.is_some_and(|subtype| subtype.is_empty() || subtype.starts_with(b"+proto") || subtype[0] == b';')
}
