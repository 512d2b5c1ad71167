//! UpdateMetadata: what the request changes of a version's settings, and of what is said about it.

use api::v1;
use engine::{About, HeadParts};
use tonic::Status;

use crate::caller::Caller;
use crate::revision::{Revised, Revision, with_description, with_settings};
use crate::serving::Serving;
use crate::status::invalid_field;
use crate::{from_proto, to_proto};

/// What the request sets; what is `None` stays.
#[derive(Debug, Default)]
struct Settings {
    labels: Option<Vec<String>>,
    /// Empty removes it.
    prompt: Option<String>,
    thresholds: Option<Vec<f32>>,
    /// 0 removes it.
    temperature: Option<f32>,
    task_embedding_by_default: Option<bool>,
    /// 0 removes it.
    abstain_below: Option<f32>,
}

/// What the request says about the version; what is `None` stays.
#[derive(Debug, Default)]
struct Description {
    description: Option<String>,
    caution: Option<String>,
    tags: Option<Vec<String>>,
    dataset: Option<String>,
    licence: Option<String>,
}

pub(crate) async fn update(
    serving: &Serving,
    caller: &Caller,
    request: v1::UpdateMetadataRequest,
) -> Result<v1::UpdateMetadataResponse, Status> {
    let (revision, settings, description) = parse(request, caller)?;
    let apply = move |writer: &mut crate::changes::Writer| match settings {
        Some(settings) => with_settings(writer, &revision, |parts| {
            settings.apply_to(parts);
            description.apply_to(&mut parts.about);
        }),
        None => with_description(writer, &revision, |about| description.apply_to(about)),
    };
    let Revised { task, served, is_new, generation } = serving.changes().run(caller.author(), apply).await??;
    let view = caller.view(serving.engine().live());
    Ok(v1::UpdateMetadataResponse {
        task: Some(to_proto::task(&task, &served, &view)),
        new_version: is_new,
        generation,
    })
}

/// The version, the settings if any is set, and the description.
fn parse(
    request: v1::UpdateMetadataRequest,
    caller: &Caller,
) -> Result<(Revision, Option<Settings>, Description), Status> {
    let v1::UpdateMetadataRequest {
        task,
        version,
        description,
        caution,
        tags,
        dataset,
        licence,
        labels,
        prompt,
        thresholds,
        temperature,
        default_mode,
        abstain_below,
        make_live,
        expected_generation,
    } = request;
    let key = from_proto::task_key("task", &task, caller)?;
    let from = from_proto::selector(&version)?;
    let task_embedding_by_default = match v1::Mode::try_from(default_mode) {
        Ok(v1::Mode::Unspecified) => None,
        Ok(v1::Mode::Exact) => Some(true),
        Ok(v1::Mode::Shared) => Some(false),
        Err(_) => return Err(invalid_field("default_mode", "not a value of this enum")),
    };
    for (field, number) in [("temperature", temperature), ("abstain_below", abstain_below)] {
        if let Some(number) = number.filter(|number| !number.is_finite() || *number < 0.0) {
            return Err(invalid_field(field, &format!("{number}, expected a number from 0 up; 0 removes it")));
        }
    }
    let any = labels.is_some()
        || prompt.is_some()
        || thresholds.is_some()
        || temperature.is_some()
        || task_embedding_by_default.is_some()
        || abstain_below.is_some();
    let settings = Settings {
        labels: labels.map(|labels| labels.values),
        prompt,
        thresholds: thresholds.map(|thresholds| thresholds.values),
        temperature,
        task_embedding_by_default,
        abstain_below,
    };
    let tags = tags.map(|tags| tags.values);
    let description = Description { description, caution, tags, dataset, licence };
    Ok((Revision { key, from, expected_generation, make_live }, any.then_some(settings), description))
}

impl Settings {
    fn apply_to(self, parts: &mut HeadParts) {
        let Self { labels, prompt, thresholds, temperature, task_embedding_by_default, abstain_below } = self;
        replace(&mut parts.labels, labels);
        replace(&mut parts.prompt, prompt.map(|prompt| Some(prompt).filter(|prompt| !prompt.is_empty())));
        replace(&mut parts.thresholds, thresholds);
        let unless_zero = |number: f32| Some(number).filter(|number| *number != 0.0);
        replace(&mut parts.temperature, temperature.map(unless_zero));
        replace(&mut parts.task_embedding_by_default, task_embedding_by_default);
        replace(&mut parts.trust.abstain_below, abstain_below.map(unless_zero));
    }
}

impl Description {
    fn apply_to(self, about: &mut About) {
        let Self { description, caution, tags, dataset, licence } = self;
        replace(&mut about.description, description);
        replace(&mut about.caution, caution);
        replace(&mut about.tags, tags);
        replace(&mut about.dataset, dataset);
        replace(&mut about.licence, licence);
    }
}

fn replace<T>(old: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *old = new;
    }
}
