//! What is known of the accuracy of the mode that is served, told once when the server starts.

use engine::ModelInfo;
use registry::{Accuracy, Bundle, MeasuredMode};
use tracing::{info, warn};

/// More labels than this may not change without a warning: one in two hundred.
const MAX_FLIP_RATE: f64 = 0.005;
/// The mode that others are measured against.
const EXACT: &str = "fp32";

/// The kind of a device: figures of one GPU tell of another, and not of a processor.
#[must_use]
pub fn device_kind(device: &str) -> &str {
    device.split(':').next().unwrap_or(device)
}

/// What is known of a mode.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    /// It is fp32.
    Exact,
    /// Measured, and few labels change.
    Close(MeasuredMode),
    /// Measured, and more labels change than should.
    Far(MeasuredMode),
    /// Not measured on this encoder and kind of device.
    Nothing,
}

/// Tells what was recorded in `bundle` about the mode that `model` runs in.
pub(crate) fn tell(bundle: Option<&Bundle>, model: &ModelInfo) {
    let read = bundle.map_or(Ok(None), |bundle| Accuracy::read(bundle.dir()));
    let recorded = read.unwrap_or_else(|error| {
        warn!(%error, "the bundle's accuracy record is of no use");
        None
    });
    let dtype = model.dtype.as_str();
    match known(recorded.as_ref(), model) {
        Known::Exact => {}
        Known::Close(mode) => {
            info!(dtype, flips = percent(&mode), rows = mode.rows, "labels that change against fp32, as measured");
        }
        Known::Far(mode) => {
            let limit = format!("{} %", 100.0 * MAX_FLIP_RATE);
            let (flips, rows) = (percent(&mode), mode.rows);
            warn!(dtype, flips, limit, rows, "this mode changes more labels against fp32 than it should");
        }
        Known::Nothing => {
            let folder = bundle.map_or_else(|| "DIR".to_owned(), |bundle| bundle.dir().display().to_string());
            let device = device_kind(&model.device);
            let command = format!(
                "headwater-server accuracy --bundle {folder} --dtypes {dtype} --device {device} --data ROWS --record"
            );
            info!(dtype, command, "how many labels this mode changes against fp32 is unmeasured on this encoder");
        }
    }
}

fn known(recorded: Option<&Accuracy>, model: &ModelInfo) -> Known {
    if model.dtype == EXACT {
        return Known::Exact;
    }
    let of_this_encoder = recorded.filter(|recorded| recorded.encoder.to_string() == model.encoder_digest);
    let mode = of_this_encoder.and_then(|recorded| recorded.of_mode(&model.dtype, device_kind(&model.device)));
    match mode {
        None => Known::Nothing,
        Some(mode) if mode.flip_rate() > MAX_FLIP_RATE => Known::Far(mode.clone()),
        Some(mode) => Known::Close(mode.clone()),
    }
}

fn percent(mode: &MeasuredMode) -> String {
    format!("{:.2} %", 100.0 * mode.flip_rate())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use registry::Digest;

    use super::*;

    fn model(dtype: &str) -> ModelInfo {
        ModelInfo {
            encoder_digest: Digest::of(b"encoder").to_string(),
            hidden: 1,
            embedding: 1,
            vocabulary: 1,
            max_positions: None,
            has_pooler: true,
            device: "cpu".to_owned(),
            dtype: dtype.to_owned(),
        }
    }

    fn record(dir: &Path, encoder: &[u8], flips: u64) {
        let mode = MeasuredMode {
            dtype: "bf16".to_owned(),
            device: "cpu".to_owned(),
            headwater: "0.1.0".to_owned(),
            rows: 1_000,
            answers: 1_000,
            flips,
            tokens: 0,
            token_flips: 0,
            largest_difference: 0.1,
            mean_difference: 0.01,
        };
        Accuracy { encoder: Digest::of(encoder), measured: vec![mode] }.write(dir).unwrap();
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The events of a start in this mode, with what `prepare` puts into the bundle.
    fn told(dtype: &str, prepare: impl Fn(&Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("encoder")).unwrap();
        prepare(dir.path());
        let bundle = Bundle::open(dir.path()).unwrap();
        let lines = Lines::default();
        let written = lines.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || written.clone()).finish();
        tracing::subscriber::with_default(log, || tell(Some(&bundle), &model(dtype)));
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_mode_that_changes_too_many_labels_is_warned_of_with_the_number() {
        let said = told("bf16", |dir| record(dir, b"encoder", 6));
        assert!(said.contains("WARN") && said.contains("0.60 %") && said.contains("0.5 %"), "{said}");
    }

    #[test]
    fn a_mode_within_the_limit_is_told_with_the_number() {
        let said = told("bf16", |dir| record(dir, b"encoder", 5));
        assert!(said.contains("INFO") && said.contains("0.50 %") && !said.contains("WARN"), "{said}");
    }

    #[test]
    fn an_unmeasured_mode_is_told_with_the_command_that_measures_it() {
        let cases: [fn(&Path); 2] = [|_| {}, |dir| record(dir, b"another encoder", 6)];
        for prepare in cases {
            let said = told("bf16", prepare);
            assert!(said.contains("INFO") && said.contains("unmeasured") && !said.contains("WARN"), "{said}");
            assert!(said.contains("headwater-server accuracy --bundle") && said.contains("--dtypes bf16"), "{said}");
        }
        assert!(told("int8", |dir| record(dir, b"encoder", 0)).contains("unmeasured"));
    }

    #[test]
    fn nothing_is_said_of_fp32() {
        assert_eq!(told("fp32", |_| {}), "");
    }

    #[test]
    fn a_damaged_record_is_warned_of_and_counts_as_none() {
        let said = told("bf16", |dir| fs::write(dir.join(registry::ACCURACY_FILE), "format = 9").unwrap());
        assert!(said.contains("WARN") && said.contains("unmeasured"), "{said}");
    }

    #[test]
    fn every_gpu_is_of_one_kind() {
        assert_eq!([device_kind("cuda:1"), device_kind("cuda"), device_kind("cpu")], ["cuda", "cuda", "cpu"]);
    }
}
