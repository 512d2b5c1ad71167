//! A reply that ends with DEADLINE_EXCEEDED when its caller's deadline passes, however long its stream would go on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;

use crate::deadline::Deadline;
use crate::status;

/// The body of a reply with a deadline. Once that has passed the inner body is dropped, and whatever filled it learns
/// so.
pub(crate) struct ExpiringBody {
    inner: Option<Body>,
    deadline: Pin<Box<Sleep>>,
}

impl ExpiringBody {
    pub(crate) fn new(inner: Body, deadline: Deadline) -> Self {
        Self { inner: Some(inner), deadline: Box::pin(sleep_until(deadline.0)) }
    }
}

impl HttpBody for ExpiringBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.inner = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status::deadline_exceeded().add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
