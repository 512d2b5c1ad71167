//! Short ways to say what most tests ask.

use api::v1;

pub(crate) fn input(text: &str) -> v1::Input {
    v1::Input { text: text.to_owned(), ..v1::Input::default() }
}

pub(crate) fn ask(task: &str, inputs: Vec<v1::Input>) -> v1::ClassifyRequest {
    v1::ClassifyRequest { task: task.to_owned(), inputs, ..v1::ClassifyRequest::default() }
}

/// The fields that a refusal complains of.
pub(crate) fn fields(status: &tonic::Status) -> Vec<String> {
    use tonic_types::StatusExt;
    let details = status.get_error_details();
    let violations = details.bad_request().map(|request| request.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
