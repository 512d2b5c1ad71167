//! Servers and engines on real encoders, in the precision in which answers are compared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deberta::{Device, Kernels, LoadOptions, Precision};
use engine::testing::small_limits;
use engine::{EngineParts, Model, ModelError};
use registry::Bundle;
use tests::TestServer;

/// The folder of the starter bundle.
pub(crate) fn starter_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry/starter")
}

/// A server on the starter.
pub(crate) async fn starter(kernels: Kernels) -> TestServer {
    let bundle = starter_dir();
    let engine = engine_on(&bundle, kernels);
    TestServer::start_on(tempfile::tempdir().unwrap(), &bundle, engine).await
}

/// The encoder of the bundle in `folder`, on one thread.
pub(crate) fn engine_on(folder: &Path, kernels: Kernels) -> EngineParts {
    let bundle = Bundle::open(folder).unwrap();
    let encoder_dir = bundle.encoder_dir();
    let tokenizer = crate::open_tokenizer(&encoder_dir, None);
    let options = LoadOptions {
        encoder_digest: bundle.encoder_digest().unwrap().to_string(),
        device: Device::Cpu,
        precision: Precision::Fp32,
        threads: 1,
        kernels,
    };
    EngineParts {
        factory: Box::new(move || {
            let model = deberta::load(&encoder_dir, options.clone());
            Ok(Box::new(model.map_err(|error| ModelError::Load(error.to_string()))?) as Box<dyn Model>)
        }),
        replicas: 1,
        tokenizer: Arc::new(tokenizer),
        limits: small_limits(),
    }
}
