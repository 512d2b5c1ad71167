//! A model whose pace a test controls.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use engine::testing::CountingModel;
use engine::{Lesson, Model, ModelError, ModelInfo, Row, RowOutput, Upstream};

/// The test's side: holds batches back, lets them go, makes the next one panic.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: usize,
    panics_due: usize,
    /// The tokens of each row, batch by batch; `None` where nobody wants to know.
    batches: Option<Vec<Vec<usize>>>,
}

impl Gate {
    /// Batches from now on wait until [`Gate::open`].
    pub fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// Waiting batches go on, and later ones do not wait.
    pub fn open(&self) {
        self.change(|state| state.closed = false);
    }

    /// The next `n` batches panic in the model.
    pub fn panic_next(&self, n: usize) {
        self.change(|state| state.panics_due = n);
    }

    /// Remembers the lengths of rows from now on.
    pub fn record(&self) {
        self.change(|state| state.batches = Some(Vec::new()));
    }

    /// How many tokens each row had of every batch that has gone through since it was asked to remember, or told last.
    #[must_use]
    pub fn batches(&self) -> Vec<Vec<usize>> {
        let mut batches = Vec::new();
        self.change(|state| batches = state.batches.as_mut().map(std::mem::take).unwrap_or_default());
        batches
    }

    /// Returns once a batch is held back. Blocks the thread.
    pub fn wait_until_held(&self) {
        self.wait_until_so_many_held(1);
    }

    /// Returns once `n` batches are held back at the same time. Blocks the thread.
    pub fn wait_until_so_many_held(&self, n: usize) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.waiting < n {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.shared;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        changed.notify_all();
    }

    fn pass(&self, rows: &[Row]) {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        changed.notify_all();
        while state.closed {
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        if let Some(batches) = &mut state.batches {
            batches.push(rows.iter().map(|row| row.tokens.len()).collect());
        }
        let panics = state.panics_due > 0;
        state.panics_due = state.panics_due.saturating_sub(1);
        drop(state);
        assert!(!panics, "the test asked for this panic");
    }
}

/// A counting model behind a gate.
#[derive(Debug)]
pub struct GatedModel {
    model: CountingModel,
    gate: Gate,
}

impl GatedModel {
    /// `model`, whose batches pass `gate`.
    #[must_use]
    pub fn new(model: CountingModel, gate: Gate) -> Self {
        Self { model, gate }
    }
}

impl Model for GatedModel {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn forward(&mut self, rows: &[Row]) -> Result<Vec<RowOutput>, ModelError> {
        self.gate.pass(rows);
        self.model.forward(rows)
    }

    fn embedding_gradient(&mut self, lesson: Lesson<'_>, upstream: &mut Upstream<'_>) -> Result<Vec<f32>, ModelError> {
        self.gate.pass(lesson.rows);
        self.model.embedding_gradient(lesson, upstream)
    }
}
