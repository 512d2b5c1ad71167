//! A whole published family at once: 444 tasks imported from one checkpoint, and every one of them answers.

use api::v1;
use checkpoint::{HubSettings, ImportOptions, Layout, Preset, Source, SynthOptions};
use deberta::Kernels;
use tests::TestServer;

use crate::serving::engine_on;

const TASKS: usize = 444;

async fn every_task_answers(layout: Layout) {
    let folder = tempfile::tempdir().unwrap();
    let options = SynthOptions {
        preset: Preset::Tiny,
        n_tasks: TASKS,
        layout,
        seed: 11,
        folder: folder.path().join("checkpoint"),
    };
    let made = checkpoint::synth(&options).unwrap();
    let bundle = folder.path().join("bundle");
    let report = checkpoint::import(&ImportOptions {
        source: Source::Folder(made.model),
        adapters: made.adapters.map(Source::Folder),
        task: None,
        kinds_file: Some(made.kinds),
        bundle: bundle.clone(),
        jail: crate::jail(),
        hub: HubSettings { endpoint: None, cache: None, token: None, offline: true },
    })
    .unwrap();
    assert_eq!(report.heads.len(), TASKS + 1, "every task and the model's own classifier");

    let engine = engine_on(&bundle, Kernels::Auto);
    let server = TestServer::start_on(folder, &bundle, engine).await;

    let request = v1::ListTasksRequest { page_size: 1_000, ..v1::ListTasksRequest::default() };
    let tasks = server.catalog().list_tasks(request).await.unwrap().into_inner().tasks;
    assert_eq!(tasks.len(), TASKS + 1);
    for task in tasks {
        let request = v1::ClassifyRequest {
            task: task.name.clone(),
            inputs: vec![input(&task)],
            ..v1::ClassifyRequest::default()
        };
        let reply =
            server.classifier().classify(request).await.unwrap_or_else(|status| panic!("{}: {status}", task.name));
        let reply = reply.into_inner();
        assert_eq!(reply.served_by.unwrap().head_digest, task.head_digest);
        assert!(reply.predictions[0].result.is_some(), "{}", task.name);
    }
}

fn input(task: &v1::Task) -> v1::Input {
    let takes_choices = matches!(task.kind(), v1::TaskKind::MultipleChoice | v1::TaskKind::Reward);
    let choices = if takes_choices { ["one", "another"].map(String::from).to_vec() } else { Vec::new() };
    v1::Input { text: "a text".to_owned(), choices, ..v1::Input::default() }
}

#[tokio::test]
async fn every_task_of_a_one_file_checkpoint_answers() {
    every_task_answers(Layout::OneFile).await;
}

#[tokio::test]
async fn every_task_of_a_model_with_pickled_adapters_answers() {
    every_task_answers(Layout::Adapters).await;
}
