//! A reply that ends with a refusal when its caller's deadline or credential does, however long its stream would go on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// The body of such a reply. Once the end has come the inner body is dropped, and whatever filled it learns so.
pub(crate) struct EndingBody<E> {
    inner: Option<Body>,
    /// Says why the reply ends.
    end: Pin<Box<E>>,
}

impl<E: Future<Output = Status>> EndingBody<E> {
    pub(crate) fn new(inner: Body, end: E) -> Self {
        Self { inner: Some(inner), end: Box::pin(end) }
    }
}

impl<E: Future<Output = Status>> HttpBody for EndingBody<E> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = Pin::new(inner).poll_frame(cx);
        let has_ended = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(Some(Err(_)) | None) => true,
            Poll::Pending => false,
        };
        if has_ended {
            return frame;
        }
        // Also where there is something to send: a stream that always has something ends, too.
        match self.end.as_mut().poll(cx) {
            Poll::Ready(refusal) => {
                self.inner = None;
                let mut trailers = HeaderMap::new();
                Poll::Ready(Some(refusal.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
            }
            Poll::Pending => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::BodyExt;

    use super::*;

    /// A body that always has a frame to send.
    struct Talkative;

    impl HttpBody for Talkative {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
        }
    }

    #[tokio::test]
    async fn a_stream_that_always_has_something_to_send_ends_with_the_refusal() {
        let (over, is_over) = tokio::sync::oneshot::channel::<()>();
        let end = async move {
            drop(is_over.await);
            crate::status::unauthenticated()
        };
        let mut body = EndingBody::new(Body::new(Talkative), end);
        for _ in 0..3 {
            assert!(body.frame().await.unwrap().unwrap().is_data());
        }
        drop(over);
        let last = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(last["grpc-status"], "16");
        assert!(body.frame().await.is_none());
    }
}
