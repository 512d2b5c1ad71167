//! `bench --drive`: another program measures the encoder, and so decides what is timed beside what.
//!
//! It asks with one JSON object a line and is answered with one a line, in order. Times are milliseconds of the model
//! alone: reading, writing and the making of rows are not in them.

use std::io::{BufRead, Write};
use std::sync::Arc;

use engine::{Head, HeadKind, HeadParts, Model, Reads, Row, RowOutput, Tokens};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Failure, Random};

/// Labels of each head that `heads` makes.
const OUTPUTS: usize = 3;

/// One line that is asked.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Question {
    /// What is loaded.
    Info {},
    /// `repeat` forwards over `rows` as one batch: `{"ms": [...]}`.
    Forward {
        rows: Vec<Vec<u32>>,
        #[serde(default = "once")]
        repeat: usize,
    },
    /// The pooled vector of each row: `{"pooled": [[...], ...]}`.
    Pooled { rows: Vec<Vec<u32>> },
    /// One forward of one row in shared mode and `heads` heads on its pooled vector, `repeat` times: `{"ms": [...]}`.
    Heads {
        tokens: Vec<u32>,
        heads: usize,
        #[serde(default = "once")]
        repeat: usize,
    },
    /// The row with `tasks` task embeddings, as one batch and row by row: `{"together": [...], "apart": [...]}`.
    Exact {
        tokens: Vec<u32>,
        tasks: usize,
        #[serde(default = "once")]
        repeat: usize,
    },
    /// Operations a second that the machine reaches in the model's element type: `{"gflops": ...}`.
    Peak {},
}

fn once() -> usize {
    1
}

/// Answers every line of `input`. A line that cannot be answered has `{"error": ...}` for its answer.
///
/// `peak` measures the machine, in GFLOP/s.
///
/// # Errors
/// If a line cannot be read or an answer cannot be written.
pub(super) fn drive(
    model: &mut impl Model,
    peak: impl Fn() -> Result<f64, Failure>,
    input: impl BufRead,
    mut output: impl Write,
) -> Result<(), Failure> {
    for line in input.lines() {
        let question = serde_json::from_str(&line?).map_err(Failure::from);
        let answer = question.and_then(|question| answer(question, model, &peak));
        let answer = answer.unwrap_or_else(|error| json!({"error": error.to_string()}));
        writeln!(output, "{answer}")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(
    question: Question,
    model: &mut impl Model,
    peak: &impl Fn() -> Result<f64, Failure>,
) -> Result<Value, Failure> {
    match question {
        Question::Info {} => {
            let info = model.info();
            Ok(json!({
                "hidden": info.hidden, "embedding": info.embedding, "vocabulary": info.vocabulary,
                "device": info.device, "dtype": info.dtype,
            }))
        }
        Question::Forward { rows, repeat } => {
            let rows: Vec<Row> = rows.into_iter().map(|ids| row(ids, None)).collect();
            Ok(json!({"ms": times(repeat, || model.forward(&rows).map(drop))?}))
        }
        Question::Pooled { rows } => {
            let rows: Vec<Row> = rows.into_iter().map(|ids| row(ids, None)).collect();
            let outputs = model.forward(&rows)?;
            let pooled = outputs.iter().map(pooled).collect::<Result<Vec<_>, _>>()?;
            Ok(json!({"pooled": pooled}))
        }
        Question::Heads { tokens, heads, repeat } => {
            let heads = random_heads(heads, model.info().hidden)?;
            let rows = [row(tokens, None)];
            let ms = times(repeat, || {
                let outputs = model.forward(&rows)?;
                for head in &heads {
                    std::hint::black_box(engine::score(head, &outputs[0])?);
                }
                Ok::<(), Failure>(())
            })?;
            Ok(json!({"ms": ms}))
        }
        Question::Exact { tokens, tasks, repeat } => {
            let embeddings = numbers(tasks * model.info().embedding);
            let rows: Vec<Row> = embeddings
                .chunks_exact(model.info().embedding)
                .map(|embedding| row(tokens.clone(), Some(embedding.into())))
                .collect();
            let (mut together, mut apart) = (Vec::new(), Vec::new());
            for _ in 0..repeat {
                together.extend(times(1, || model.forward(&rows).map(drop))?);
                apart.extend(times(1, || rows.chunks(1).try_for_each(|row| model.forward(row).map(drop)))?);
            }
            Ok(json!({"together": together, "apart": apart}))
        }
        Question::Peak {} => Ok(json!({"gflops": peak()?})),
    }
}

/// A row that asks for the vector which sequence heads read.
fn row(ids: Vec<u32>, task_embedding: Option<Arc<[f32]>>) -> Row {
    let length = ids.len();
    let tokens = Tokens { ids, type_ids: vec![0; length], origins: vec![None; length], cut: None };
    Row { tokens: Arc::new(tokens), task_embedding, adapter: None, reads: Reads { pooled: true, ..Reads::default() } }
}

/// The vector that [`row`] asked for.
fn pooled(output: &RowOutput) -> Result<&[f32], Failure> {
    output.pooled.as_deref().ok_or_else(|| "the model left out a vector that the row asked for".into())
}

fn times<E>(repeat: usize, mut run: impl FnMut() -> Result<(), E>) -> Result<Vec<f64>, E> {
    let mut ms = Vec::with_capacity(repeat.min(1_000));
    for _ in 0..repeat {
        let started = Instant::now();
        run()?;
        ms.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(ms)
}

fn random_heads(count: usize, hidden: usize) -> Result<Vec<Head>, Failure> {
    let head = |weight: &[f32]| {
        let parts = HeadParts { weight: weight.into(), bias: [0.0; OUTPUTS].into(), ..HeadParts::default() };
        Head::new(HeadKind::Classification, hidden, parts).map_err(Failure::from)
    };
    numbers(count * OUTPUTS * hidden).chunks_exact(OUTPUTS * hidden).map(head).collect()
}

/// `count` numbers between -0.05 and 0.05.
fn numbers(count: usize) -> Vec<f32> {
    let mut random = Random::new();
    (0..count).map(|_| ((random.unit() - 0.5) / 10.0) as f32).collect()
}

#[cfg(test)]
mod tests {
    use engine::{ModelError, ModelInfo};

    use super::*;

    /// Answers with vectors of four, and remembers how many rows each forward had.
    struct Counting {
        info: ModelInfo,
        batches: Vec<usize>,
    }

    impl Model for Counting {
        fn info(&self) -> &ModelInfo {
            &self.info
        }

        fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
            self.batches.push(rows.len());
            let vector = |row: &Row| [row.tokens.len() as f32, f32::from(u8::from(row.task_embedding.is_some()))];
            Ok(rows.iter().map(|row| RowOutput { pooled: Some(vector(row).into()), ..RowOutput::default() }).collect())
        }
    }

    fn asked(lines: &str) -> (Vec<Value>, Vec<usize>) {
        let info = ModelInfo {
            encoder_digest: String::new(),
            hidden: 2,
            embedding: 3,
            vocabulary: 100,
            max_positions: None,
            has_pooler: true,
            device: "cpu".to_owned(),
            dtype: "bf16".to_owned(),
        };
        let mut model = Counting { info, batches: Vec::new() };
        let mut output = Vec::new();
        drive(&mut model, || Err("not measured here".into()), lines.as_bytes(), &mut output).unwrap();
        let answers = String::from_utf8(output).unwrap();
        (answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), model.batches)
    }

    #[test]
    fn a_forward_is_timed_as_often_as_asked_and_as_one_batch() {
        let (answers, batches) = asked(r#"{"op": "forward", "rows": [[1, 2], [3]], "repeat": 3}"#);
        assert_eq!(batches, [2, 2, 2]);
        let ms = answers[0]["ms"].as_array().unwrap();
        assert!(ms.len() == 3 && ms.iter().all(|ms| ms.as_f64().unwrap() >= 0.0));
    }

    #[test]
    fn many_tasks_are_one_batch_and_then_a_forward_each() {
        let (answers, batches) = asked(r#"{"op": "exact", "tokens": [1, 2], "tasks": 3, "repeat": 2}"#);
        assert_eq!(batches, [3, 1, 1, 1, 3, 1, 1, 1]);
        assert_eq!((answers[0]["together"].as_array().unwrap().len(), answers[0]["apart"][1].is_f64()), (2, true));
    }

    #[test]
    fn many_heads_are_one_forward() {
        let (answers, batches) = asked(r#"{"op": "heads", "tokens": [1, 2], "heads": 444, "repeat": 2}"#);
        assert_eq!((batches, answers[0]["ms"].as_array().unwrap().len()), (vec![1, 1], 2));
    }

    #[test]
    fn what_is_loaded_and_what_it_computes_are_told() {
        let (answers, _) = asked("{\"op\": \"info\"}\n{\"op\": \"pooled\", \"rows\": [[1, 2, 3]]}");
        assert_eq!((&answers[0]["dtype"], &answers[0]["hidden"]), (&"bf16".into(), &2.into()));
        assert_eq!(answers[1], json!({"pooled": [[3.0, 0.0]]}));
    }

    #[test]
    fn a_question_that_has_no_answer_leaves_the_next_one_answered() {
        let (answers, _) = asked("{\"op\": \"peak\"}\n{\"op\": \"dance\"}\nno\n{\"op\": \"info\"}");
        assert_eq!(answers[0], json!({"error": "not measured here"}));
        assert!(answers[1]["error"].as_str().unwrap().contains("dance"));
        assert!(answers[2]["error"].is_string() && answers[3]["error"].is_null());
    }
}
