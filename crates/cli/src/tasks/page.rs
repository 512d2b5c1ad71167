//! How to ask a task: the same call for four clients, with the task's own sample input.

use api::v1::{Input, Task};
use serde_json::{Value, json};

use crate::config::DEFAULT_ADDRESS;
use crate::output::one_line;

/// A call that can be copied and run.
pub(crate) struct Call {
    /// Its key in JSON.
    pub(crate) language: &'static str,
    /// What a person needs to know before.
    pub(crate) title: &'static str,
    pub(crate) text: String,
}

/// Where a call goes.
struct Server<'a> {
    /// Host and port.
    target: &'a str,
    tls: bool,
}

impl<'a> Server<'a> {
    fn of(address: &'a str) -> Self {
        let (scheme, target) = address.split_once("://").unwrap_or(("http", address));
        Self { target: target.trim_end_matches('/'), tls: scheme == "https" }
    }
}

/// The call for each client. A task without a sample is asked about a placeholder.
pub(crate) fn calls(task: &Task, address: &str) -> Vec<Call> {
    let placeholder = || Input { text: "Some text.".to_owned(), ..Input::default() };
    let input = task.samples.first().cloned().unwrap_or_else(placeholder);
    let server = Server::of(address);
    let call = |language, title, text| Call { language, title, text };
    vec![
        call("headwater", "Command line", command_line(task, &input, address)),
        call("grpcurl", "grpcurl", grpcurl(task, &input, &server)),
        call("python", "Python (pip install grpcio grpcio-reflection protobuf)", python(task, &input, &server)),
        call("rust", "Rust (the crate `api` of Headwater, with tonic)", rust(task, &input, &server)),
    ]
}

/// An input on one line.
pub(crate) fn in_words(input: &Input) -> String {
    let words = if input.tokens.is_empty() { input.text.clone() } else { input.tokens.join(" ") };
    let choices = if input.choices.is_empty() { None } else { Some(input.choices.join(" / ")) };
    let parts = [Some(words), input.text_pair.clone(), choices];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" | ")
}

/// `text`, each line moved to the right, and nothing in it that would move the cursor.
pub(crate) fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { String::new() } else { format!("  {}", one_line(line)) };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn command_line(task: &Task, input: &Input, address: &str) -> String {
    let mut name = shell_word(&task.name);
    if address != DEFAULT_ADDRESS {
        name = format!("--addr {} {name}", shell_word(address));
    }
    let texts = [&input.text].into_iter().chain(&input.text_pair).chain(&input.choices);
    // In a row a line break has a spelling.
    let has_lines = texts.into_iter().any(|text| text.chars().any(char::is_control));
    if !input.tokens.is_empty() || input.text.is_empty() || has_lines {
        let row = shell_word(&super::input(input).to_string());
        return format!("echo {row} | headwater classify {name} --input -");
    }
    let mut words = vec!["headwater classify".to_owned(), name];
    // A text that begins with a dash would be taken for an option.
    words.extend(input.text_pair.iter().map(|pair| shell_word(&format!("--pair={pair}"))));
    words.extend(input.choices.iter().map(|choice| shell_word(&format!("--choice={choice}"))));
    if input.text.starts_with('-') {
        words.push("--".to_owned());
    }
    words.push(shell_word(&input.text));
    words.join(" ")
}

fn grpcurl(task: &Task, input: &Input, server: &Server<'_>) -> String {
    let options = if server.tls { "" } else { "-plaintext " };
    let target = server.target;
    let request = json!({"task": task.name, "inputs": [super::input(input)]});
    let request = shell_word(&request.to_string());
    format!("grpcurl {options}-d {request} {target} headwater.v1.ClassifierService/Classify")
}

fn python(task: &Task, input: &Input, server: &Server<'_>) -> String {
    let target = literal(server.target);
    let channel = if server.tls {
        format!("secure_channel({target}, grpc.ssl_channel_credentials())")
    } else {
        format!("insecure_channel({target})")
    };
    let (name, row) = (literal(&task.name), literal_input(input));
    format!(
        r#"import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = grpc.{channel}
pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
Request, Response = (GetMessageClass(pool.FindMessageTypeByName(f"headwater.v1.Classify{{name}}")) for name in ("Request", "Response"))
classify = channel.unary_unary(
    "/headwater.v1.ClassifierService/Classify", Request.SerializeToString, Response.FromString
)
print(classify(Request(task={name}, inputs=[{row}])))"#
    )
}

fn rust(task: &Task, input: &Input, server: &Server<'_>) -> String {
    let url = rust_literal(&format!("{}://{}", if server.tls { "https" } else { "http" }, server.target));
    let list = |texts: &[String]| {
        let texts: Vec<String> = texts.iter().map(|text| format!("{}.into()", rust_literal(text))).collect();
        format!("vec![{}]", texts.join(", "))
    };
    let mut fields = Vec::new();
    if !input.text.is_empty() {
        fields.push(format!("text: {}.into()", rust_literal(&input.text)));
    }
    if let Some(pair) = &input.text_pair {
        fields.push(format!("text_pair: Some({}.into())", rust_literal(pair)));
    }
    if !input.choices.is_empty() {
        fields.push(format!("choices: {}", list(&input.choices)));
    }
    if !input.tokens.is_empty() {
        fields.push(format!("tokens: {}", list(&input.tokens)));
    }
    let (name, fields) = (rust_literal(&task.name), fields.join(", "));
    format!(
        r#"use api::v1::{{ClassifyRequest, Input, classifier_service_client::ClassifierServiceClient}};

let channel = tonic::transport::Endpoint::from_static({url}).connect().await?;
let input = Input {{ {fields}, ..Input::default() }};
let request = ClassifyRequest {{ task: {name}.into(), inputs: vec![input], ..ClassifyRequest::default() }};
let reply = ClassifierServiceClient::new(channel).classify(request).await?.into_inner();
println!("{{reply:#?}}");"#
    )
}

/// A word for a POSIX shell.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A text as JSON has it, which Python reads the same.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

/// A row as JSON has it; texts and lists of texts are the same in Python.
fn literal_input(input: &Input) -> String {
    super::input(input).to_string()
}

fn rust_literal(text: &str) -> String {
    format!("{text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(sample: Input) -> Task {
        Task { name: "lexical/K&H+N".into(), samples: vec![sample], ..Task::default() }
    }

    fn call(task: &Task, language: &str) -> String {
        let mut calls = calls(task, "http://127.0.0.1:50051").into_iter();
        calls.find(|call| call.language == language).unwrap().text
    }

    #[test]
    fn texts_with_quotes_and_dashes_stay_one_word_of_the_shell() {
        let sample = Input { text: "-it's \"so\"".into(), text_pair: Some("a b".into()), ..Input::default() };
        assert_eq!(
            call(&task(sample.clone()), "headwater"),
            r#"headwater classify 'lexical/K&H+N' '--pair=a b' -- '-it'\''s "so"'"#
        );
        let grpcurl = call(&task(sample), "grpcurl");
        assert!(grpcurl.contains(r#""text":"-it'\''s \"so\"""#), "{grpcurl}");
        assert!(grpcurl.ends_with("127.0.0.1:50051 headwater.v1.ClassifierService/Classify"), "{grpcurl}");
    }

    #[test]
    fn words_and_choices_without_a_text_come_as_a_row() {
        let words = Input { tokens: vec!["New".into(), "York".into()], ..Input::default() };
        assert_eq!(
            call(&task(words.clone()), "headwater"),
            r#"echo '{"tokens":["New","York"]}' | headwater classify 'lexical/K&H+N' --input -"#
        );
        assert!(call(&task(words), "rust").contains(r#"Input { tokens: vec!["New".into(), "York".into()], ..Input"#));
    }

    #[test]
    fn a_task_without_a_sample_is_asked_about_a_placeholder() {
        let bare = Task { name: "mood".into(), ..Task::default() };
        assert_eq!(call(&bare, "headwater"), "headwater classify mood 'Some text.'");
        assert!(call(&bare, "python").contains(r#"Request(task="mood", inputs=[{"text":"Some text."}])"#));
    }

    #[test]
    fn a_server_behind_tls_is_called_through_tls() {
        let calls = calls(&task(Input::default()), "https://models.example:443/");
        for (call, part) in
            calls.iter().zip(["", "grpcurl -d", "grpc.secure_channel(\"models.example:443\"", "\"https://"])
        {
            assert!(call.text.contains(part) && !call.text.contains("plaintext"), "{}", call.text);
        }
    }

    #[test]
    fn an_input_is_one_line_for_people() {
        let question = Input { text: "Which?".into(), choices: vec!["a".into(), "b".into()], ..Input::default() };
        assert_eq!(in_words(&question), "Which? | a / b");
    }
}
