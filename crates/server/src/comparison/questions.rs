//! What is asked: for every head of a bundle, rows of its own task where there are any, and texts made up or borrowed
//! where there are none.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Head, Input, TaskName, Tokenizer};
use registry::{Bundle, EncoderWidths, RegistryError};
use serde_json::Value;

use super::texts;

/// Texts for the tasks without rows of their own, over all of them.
const TEXTS: usize = 200;

/// Where the rows of a task come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From the task's own file.
    Own,
    /// From the files of other tasks.
    OtherTasks,
    /// Random pieces of the vocabulary, from a fixed seed.
    Random,
}

/// One task and what it is asked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) task: TaskName,
    pub(super) head: Arc<Head>,
    pub(super) source: Source,
    pub(super) inputs: Vec<Input>,
}

/// Everything that each model is asked.
#[derive(Debug, Clone)]
pub struct Questions {
    pub(super) tasks: Vec<Question>,
    /// Texts that all heads without rows of their own read together, without task embeddings.
    pub(super) shared: Vec<Input>,
}

/// Why nothing can be asked.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The bundle or one of its heads was refused.
    #[error(transparent)]
    Bundle(#[from] RegistryError),
    /// A file of rows cannot be read.
    #[error("cannot read {}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is no row.
    #[error("{}, line {line}: {problem}", .path.display())]
    Line {
        /// In which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The folder has no file for any task of the bundle, and no other text.
    #[error("{} holds no rows: expected <task>.jsonl, with __ for each / in a task's name", .path.display())]
    NoRows {
        /// Which folder.
        path: PathBuf,
    },
}

impl Source {
    /// In a word or two.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::OtherTasks => "other tasks",
            Self::Random => "random",
        }
    }
}

impl Question {
    pub(super) fn is_asked_shared(&self) -> bool {
        self.source != Source::Own && !self.head.kind().reads_tokens()
    }
}

impl Questions {
    /// Questions for every head of `bundle`: at most `rows_per_task` rows of `data` each, spread evenly over its file.
    /// `data` holds JSON lines in `<task>.jsonl`, with `__` for each `/` in a task's name.
    ///
    /// # Errors
    /// The first head or line that cannot be read.
    pub fn new(
        bundle: &Bundle,
        widths: EncoderWidths,
        data: Option<&Path>,
        rows_per_task: usize,
        tokenizer: &dyn Tokenizer,
    ) -> Result<Self, QuestionError> {
        let (texts, source) = match data {
            Some(data) => (texts_of_all(data)?, Source::OtherTasks),
            None => (texts::random(tokenizer, TEXTS), Source::Random),
        };
        let mut tasks = Vec::new();
        for task in bundle.heads() {
            let head = Arc::new(bundle.read_head(task, widths)?.1);
            let own = data.map(|data| data.join(format!("{}.jsonl", task.as_str().replace('/', "__"))));
            let own = match own.filter(|path| path.is_file()) {
                Some(path) => read_rows(&path, rows_per_task)?,
                None => Vec::new(),
            };
            let source = if own.is_empty() { source } else { Source::Own };
            tasks.push(Question { task: task.clone(), head, source, inputs: own });
        }
        let without_rows = tasks.iter().filter(|question| question.inputs.is_empty()).count();
        let each = TEXTS.div_ceil(without_rows.max(1)).min(rows_per_task);
        for (place, question) in tasks.iter_mut().filter(|question| question.inputs.is_empty()).enumerate() {
            question.inputs = texts::inputs(&question.head, &texts, place * each, each);
        }
        let shared = if tasks.iter().any(Question::is_asked_shared) {
            texts.into_iter().map(|text| Input { text: Some(text), ..Input::default() }).collect()
        } else {
            Vec::new()
        };
        Ok(Self { tasks, shared })
    }

    /// Number of tasks whose rows come from there.
    #[must_use]
    pub fn tasks_from(&self, source: Source) -> usize {
        self.tasks.iter().filter(|question| question.source == source).count()
    }

    /// Texts that the heads without rows of their own read together.
    #[must_use]
    pub fn shared_texts(&self) -> usize {
        self.shared.len()
    }
}

/// Running texts of every file in `data`, as many of each.
fn texts_of_all(data: &Path) -> Result<Vec<String>, QuestionError> {
    let io = |source| QuestionError::Io { path: data.to_owned(), source };
    let entries = fs::read_dir(data).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut columns = Vec::new();
    for path in &files {
        columns.push(read_rows(path, TEXTS.div_ceil(files.len()))?.into_iter().filter_map(|input| input.text));
    }
    let mut texts = Vec::new();
    // One of each file in turn, so that neighbours differ in length and manner.
    loop {
        let before = texts.len();
        texts.extend(columns.iter_mut().filter_map(Iterator::next));
        if texts.len() == before {
            break;
        }
    }
    texts.truncate(TEXTS);
    if texts.is_empty() { Err(QuestionError::NoRows { path: data.to_owned() }) } else { Ok(texts) }
}

/// At most `count` inputs of a file, spread evenly over it.
pub(crate) fn read_rows(path: &Path, count: usize) -> Result<Vec<Input>, QuestionError> {
    let text = fs::read_to_string(path).map_err(|source| QuestionError::Io { path: path.to_owned(), source })?;
    let lines: Vec<(usize, &str)> = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty())
        .map(|(line, number)| (number, line))
        .collect();
    let count = count.min(lines.len());
    let chosen = (0..count).filter_map(|place| lines.get(place * lines.len() / count));
    chosen
        .map(|(line, text)| {
            parse_row(text).map_err(|problem| QuestionError::Line { path: path.to_owned(), line: *line, problem })
        })
        .collect()
}

fn parse_row(line: &str) -> Result<Input, String> {
    let row: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let text = |field: &str| row.get(field).and_then(Value::as_str).map(str::to_owned);
    let texts = |field: &str| -> Result<Vec<String>, String> {
        let Some(list) = row.get(field) else { return Ok(Vec::new()) };
        let list = list.as_array().ok_or_else(|| format!("{field} is no list"))?;
        let word = |word: &Value| word.as_str().map(str::to_owned).ok_or_else(|| format!("{field} holds no texts"));
        list.iter().map(word).collect()
    };
    let input = Input {
        text: text("text"),
        text_pair: text("text_pair"),
        choices: texts("choices")?,
        tokens: texts("tokens")?,
    };
    let says_nothing = input.text.is_none() && input.choices.is_empty() && input.tokens.is_empty();
    if says_nothing { Err("neither text, choices nor tokens".to_owned()) } else { Ok(input) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_evenly_over_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let lines: Vec<String> = (0..10).map(|number| format!("{{\"text\": \"{number}\", \"label\": 1}}")).collect();
        fs::write(&path, lines.join("\n\n")).unwrap();
        let texts = |count| -> Vec<String> {
            read_rows(&path, count).unwrap().into_iter().filter_map(|input| input.text).collect()
        };
        assert_eq!(texts(3), ["0", "3", "6"]);
        assert_eq!(texts(99).len(), 10);
    }

    #[test]
    fn a_line_that_is_no_row_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        for bad in ["{", "{\"label\": 1}", "{\"tokens\": \"a b\"}", "{\"choices\": [1]}"] {
            fs::write(&path, format!("{{\"text\": \"good\"}}\n{bad}\n")).unwrap();
            assert!(matches!(read_rows(&path, 9), Err(QuestionError::Line { line: 2, .. })), "{bad}");
        }
    }

    #[test]
    fn a_folder_without_rows_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(texts_of_all(folder.path()), Err(QuestionError::NoRows { .. })));
    }
}
