//! The starter asked in fp32, in fp32 again and in bf16: nothing differs from itself, and a reduced mode is seen.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use deberta::{Device, Kernels, LoadOptions, Precision};
use engine::{EngineParts, HeadKind, Model, ModelError};
use registry::{Bundle, EncoderWidths};
use server::comparison::{self, Answers, Questions, Source};

const WIDTHS: EncoderWidths = EncoderWidths { hidden: 384, embedding: 384 };

/// A few rows of a task of each kind that the starter has.
const ROWS: [(&str, &[&str]); 6] = [
    (
        "ag_news",
        &[
            r#"{"text": "Oil prices climbed above $50 a barrel after producers agreed to cut output.", "label": 2}"#,
            r#"{"text": "The keeper saved two penalties in the final.", "label": 1}"#,
        ],
    ),
    ("sick__label", &[r#"{"text": "A man is playing a guitar", "text_pair": "No man is playing", "label": 2}"#]),
    ("sick__relatedness", &[r#"{"text": "Two dogs are running", "text_pair": "A pair of dogs runs", "label": 4.2}"#]),
    ("go_emotions__simplified", &[r#"{"text": "Thank you so much, that is really kind of you!", "labels": [15]}"#]),
    (
        "codah__codah",
        &[r#"{"text": "The boy was thirsty, so he", "choices": ["drank water", "ate the moon", "slept"], "label": 0}"#],
    ),
    ("conll2003__ner_tags", &[r#"{"tokens": ["Angela", "Merkel", "met", "officials", "in", "Berlin"], "labels": []}"#]),
];

fn starter() -> Bundle {
    Bundle::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../registry/starter")).unwrap()
}

fn questions(bundle: &Bundle) -> Questions {
    let data = tempfile::tempdir().unwrap();
    for (task, lines) in ROWS {
        fs::write(data.path().join(format!("{task}.jsonl")), lines.join("\n")).unwrap();
    }
    let tokenizer = crate::open_tokenizer(&bundle.encoder_dir(), None);
    Questions::new(bundle, WIDTHS, Some(data.path()), 2, &tokenizer).unwrap()
}

async fn answers(bundle: &Bundle, questions: &Questions, precision: Precision) -> Answers {
    let encoder_dir = bundle.encoder_dir();
    let options = LoadOptions {
        encoder_digest: String::new(),
        device: Device::Cpu,
        precision,
        threads: 1,
        kernels: Kernels::Auto,
    };
    let parts = EngineParts {
        replicas: 1,
        tokenizer: Arc::new(crate::open_tokenizer(&encoder_dir, None)),
        factory: Box::new(move || {
            let model = deberta::load(&encoder_dir, options.clone());
            Ok(Box::new(model.map_err(|error| ModelError::Load(error.to_string()))?) as Box<dyn Model>)
        }),
        limits: comparison::limits(),
    };
    comparison::ask(parts, questions).await.unwrap()
}

#[tokio::test]
async fn fp32_differs_from_itself_in_nothing_and_bf16_in_every_task() {
    let bundle = starter();
    let questions = questions(&bundle);
    assert_eq!(questions.tasks_from(Source::Own), ROWS.len());
    assert_eq!(questions.tasks_from(Source::OtherTasks), bundle.heads().len() - ROWS.len());
    let exact = answers(&bundle, &questions, Precision::Fp32).await;
    let again = comparison::compare(&questions, &exact, &answers(&bundle, &questions, Precision::Fp32).await);
    let total = again.total();
    assert_eq!((total.largest, total.flips, total.token_flips), (0.0, 0, 0));
    assert_eq!((again.shared.largest, again.shared.flips), (0.0, 0));

    let reduced = comparison::compare(&questions, &exact, &answers(&bundle, &questions, Precision::Bf16).await);
    assert_eq!(reduced.dtype, "bf16");
    for task in &reduced.tasks {
        assert!(task.tally.mean() > 0.0 && task.tally.largest < 2.0, "{} moved by {:?}", task.task, task.tally);
    }
    let of = |name: &str| reduced.tasks.iter().find(|task| task.task.as_str() == name).unwrap();
    let news = of("ag_news").tally;
    assert_eq!((news.rows, news.answers, news.logits), (2, 2, 8));
    let choice = of("codah/codah").tally;
    assert_eq!((choice.rows, choice.answers, choice.logits), (3, 1, 3));
    let number = of("sick/relatedness").tally;
    assert_eq!((number.rows, number.answers, number.logits), (1, 0, 1));
    let words = of("conll2003/ner_tags");
    assert_eq!((words.kind, words.tally.answers), (HeadKind::TokenClassification, 0));
    assert!(words.tally.tokens >= 6 && words.tally.logits == 9 * words.tally.tokens, "{:?}", words.tally);
    assert!(reduced.shared.answers > 0 && reduced.shared.mean() > 0.0);
}
