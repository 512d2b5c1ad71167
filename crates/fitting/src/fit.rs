//! A fit from start to end: scale, search, solve, answer what was held out, and undo the scaling.

use crate::blocks::Layer;
use crate::error::FitError;
use crate::examples::{Answers, Examples};
use crate::folds::folds;
use crate::lbfgs::Limits;
use crate::product::padded;
use crate::scaling::Scaling;
use crate::settings::Settings;
use crate::split::{Learner, View};
use crate::temperature::temperature;
use crate::unseen::{HeldOut, Unseen, unseen};
use crate::watch::{Step, Watch};

/// A solution of the search may be so much rougher than the last one.
const ROUGHER: f64 = 10.0;
/// After so many strengths in a row that were worse than the best, weaker ones are not tried.
const MOST_WORSE: usize = 2;

/// A fitted linear layer over vectors as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Row-major `[outputs, width]`.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
    /// What logits are divided by, where it was asked for, something was held out, and answers have probabilities.
    pub temperature: Option<f32>,
    /// The strength of regularisation chosen.
    pub strength: f64,
    /// What was made small: the mean training loss, and half the strength times the squared weights as scaled.
    pub loss: f64,
    /// Iterations of the last solution.
    pub iterations: usize,
    /// Whether it reached its tolerance.
    pub converged: bool,
    /// Folds that were held out one after another; 0 where validation examples decided, or nothing was held out.
    pub folds: usize,
    /// Mean loss on examples held out; `None` where nothing was.
    pub held_out_loss: Option<f64>,
    /// Each example that was held out, answered by a layer that has not learnt from it; empty where nothing was.
    pub unseen: Vec<Unseen>,
}

/// Something to learn from and something held out.
struct Round<'a> {
    learner: Learner<'a>,
    judged: View<'a>,
    held: Vec<usize>,
}

/// What the search came to.
struct Found {
    strength: f64,
    /// The layer of each round at that strength.
    layers: Vec<Layer>,
    /// The mean over everything held out; `None` where nothing was.
    loss: Option<f64>,
}

/// Fits a layer on `train`. The strength is the one with the least mean loss on `validation`, or over the folds of a
/// cross-validation.
///
/// # Errors
/// [`FitError`].
pub fn fit(
    train: &Examples,
    validation: Option<&Examples>,
    settings: &Settings,
    watch: &dyn Watch,
) -> Result<Fitted, FitError> {
    let path = settings.path()?;
    check(train, validation)?;
    let scaling = if settings.standardise { Scaling::standard(train) } else { Scaling::none(train.width()) };
    let view = View { examples: train, scaling: &scaling, watch, balanced: settings.balanced };
    let validation = validation.map(|examples| View { examples, ..view });
    let mut rounds = rounds(view, validation, settings, path.len() > 1)?;
    let found = search(&mut rounds, &path, settings, watch)?;

    let mut learner = Learner::new(view, all(train))?;
    if let Some(start) = found.layers.first() {
        learner.layer.clone_from(start);
    }
    let total = settings.max_iterations;
    watch.step(Step::Solving { done: 0, total });
    let limits = Limits { max_iterations: total, tolerance: settings.tolerance };
    let reached = learner.solve(found.strength, limits, &mut |done| watch.step(Step::Solving { done, total }))?;

    let units = validation.map(|view| all(view.examples)).unwrap_or_default();
    let (held_out, held_out_loss) = match validation {
        Some(view) => {
            let held_out = HeldOut { view, units: &units, layer: &learner.layer };
            (vec![held_out], Some(view.mean_loss(&units, &learner.layer)?))
        }
        None => {
            let parts = rounds.iter().zip(&found.layers);
            let held_out = parts.map(|(round, layer)| HeldOut { view: round.judged, units: &round.held, layer });
            (held_out.collect(), found.loss)
        }
    };
    let (temperature, unseen) = (temperature_if(settings, &held_out)?, unseen(&held_out)?);
    let (weight, bias) = unscaled(&learner.layer, &scaling, train)?;
    Ok(Fitted {
        weight,
        bias,
        temperature,
        strength: found.strength,
        loss: learner.value(found.strength)?,
        iterations: reached.iterations,
        converged: reached.converged,
        folds: if validation.is_some() { 0 } else { rounds.len() },
        held_out_loss,
        unseen,
    })
}

fn all(examples: &Examples) -> Vec<usize> {
    (0..examples.len()).collect()
}

fn check(train: &Examples, validation: Option<&Examples>) -> Result<(), FitError> {
    let too_few = |what: &str| Err(FitError::TooFew(what.to_owned()));
    if train.is_empty() {
        return too_few("there are no rows to learn from");
    }
    if let Answers::Classes(classes) = train.answers()
        && classes.iter().all(|class| *class == classes[0])
    {
        return too_few("all rows to learn from have the same label");
    }
    match validation {
        Some(validation) if validation.is_empty() => too_few("there are no rows to judge by"),
        Some(validation) if !validation.is_like(train) => {
            Err(FitError::Shape("rows to judge by are of another sort than rows to learn from".to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}

/// What is held out: validation, where there is something to choose; otherwise one fold after another, where there is
/// something to choose, a temperature to fit, or it is asked for.
fn rounds<'a>(
    view: View<'a>,
    validation: Option<View<'a>>,
    settings: &Settings,
    may_choose: bool,
) -> Result<Vec<Round<'a>>, FitError> {
    match validation {
        Some(judged) if may_choose => {
            let learner = Learner::new(view, all(view.examples))?;
            Ok(vec![Round { learner, judged, held: all(judged.examples) }])
        }
        None if may_choose || settings.temperature || settings.hold_out => {
            if view.examples.len() < 2 {
                return Err(FitError::TooFew("a cross-validation needs at least two rows".to_owned()));
            }
            let folds = folds(view.examples, settings.folds, settings.seed).into_iter();
            folds.map(|(learnt, held)| Ok(Round { learner: Learner::new(view, learnt)?, judged: view, held })).collect()
        }
        Some(_) | None => Ok(Vec::new()),
    }
}

/// The strength with the least held-out loss, from strong to weak.
fn search(rounds: &mut [Round<'_>], path: &[f64], settings: &Settings, watch: &dyn Watch) -> Result<Found, FitError> {
    let mut best = Found { strength: path[0], layers: Vec::new(), loss: None };
    let limits = Limits { max_iterations: settings.max_iterations, tolerance: settings.tolerance * ROUGHER };
    let total = path.len() * rounds.len();
    let held: usize = rounds.iter().map(|round| round.held.len()).sum();
    let (mut least, mut worse, mut done) = (f64::INFINITY, 0, 0);
    for strength in path {
        let mut loss = 0.0;
        for round in &mut *rounds {
            watch.step(Step::Searching { done, total });
            round.learner.solve(*strength, limits, &mut |_| {})?;
            loss += round.judged.mean_loss(&round.held, &round.learner.layer)? * round.held.len() as f64;
            done += 1;
        }
        if loss < least {
            (least, worse) = (loss, 0);
            let layers = rounds.iter().map(|round| round.learner.layer.clone()).collect();
            best = Found { strength: *strength, layers, loss: (held > 0).then(|| loss / held as f64) };
        } else {
            worse += 1;
        }
        if worse == MOST_WORSE {
            break;
        }
    }
    if total > 0 {
        watch.step(Step::Searching { done: total, total });
    }
    Ok(best)
}

fn temperature_if(settings: &Settings, held_out: &[HeldOut<'_>]) -> Result<Option<f32>, FitError> {
    if !settings.temperature {
        return Ok(None);
    }
    Ok(temperature(held_out)?.map(|temperature| temperature as f32))
}

/// Weight `[outputs, width]` and bias over vectors as they are.
fn unscaled(layer: &[f64], scaling: &Scaling, examples: &Examples) -> Result<(Vec<f32>, Vec<f32>), FitError> {
    let (width, outputs) = (examples.width(), examples.outputs());
    let stride = padded(outputs);
    let mut weights = Vec::with_capacity(outputs * width);
    let mut biases = Vec::with_capacity(outputs);
    for output in 0..outputs {
        let column: Vec<f64> = layer.iter().skip(output).step_by(stride).copied().collect();
        let (weight, bias) = scaling.undo(&column[..width], column[width]);
        weights.extend(weight.iter().map(|number| *number as f32));
        // A constant added to every choice changes nothing.
        biases.push(if matches!(examples.answers(), Answers::Choices(_)) { 0.0 } else { bias as f32 });
    }
    if weights.iter().chain(&biases).all(|number: &f32| number.is_finite()) {
        Ok((weights, biases))
    } else {
        Err(FitError::Diverged)
    }
}
