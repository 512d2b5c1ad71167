//! Whether a row fits the encoder: checked on the host, because a bad index on a GPU poisons the whole process.

use engine::{ModelInfo, Row};

/// What a row must fit beside what the model says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) token_types: usize,
    pub(crate) layers: usize,
    /// Width inside the feed-forward pair.
    pub(crate) inner: usize,
}

/// Says what about `row` does not fit.
pub(crate) fn check_fit(row: &Row, info: &ModelInfo, sizes: Sizes) -> Result<(), String> {
    let token_types = sizes.token_types;
    let length = row.tokens.len();
    if length == 0 {
        return Err("it has no tokens".to_owned());
    }
    if let Some(most) = info.max_positions.filter(|most| length > *most) {
        return Err(format!("it has {length} tokens, the encoder has {most} positions"));
    }
    if let Some(id) = row.tokens.ids.iter().find(|id| **id as usize >= info.vocabulary) {
        return Err(format!("token id {id} is beyond a vocabulary of {}", info.vocabulary));
    }
    let types = &row.tokens.type_ids;
    if !types.is_empty() && types.len() != length {
        return Err(format!("it has {} token types for {length} tokens", types.len()));
    }
    if let Some(bad) = types.iter().find(|bad| token_types > 0 && **bad as usize >= token_types) {
        return Err(format!("token type {bad} is beyond the encoder's {token_types}"));
    }
    if let Some(embedding) = row.task_embedding.as_ref() {
        if embedding.len() != info.embedding {
            return Err(format!("its task embedding has {} numbers, not {}", embedding.len(), info.embedding));
        }
        if embedding.iter().any(|number| !number.is_finite()) {
            return Err("its task embedding holds a number that is not finite".to_owned());
        }
    }
    if let Some(adapter) = &row.adapter {
        if adapter.hidden() != info.hidden {
            return Err(format!("its adapter is for a width of {}, not {}", adapter.hidden(), info.hidden));
        }
        if adapter.layers() > sizes.layers {
            let layers = sizes.layers;
            return Err(format!("its adapter changes layer {}, the encoder has {layers}", adapter.layers() - 1));
        }
        if let Some(inner) = adapter.inner().filter(|inner| *inner != sizes.inner) {
            return Err(format!("its adapter's feed-forward layers are {inner} wide inside, not {}", sizes.inner));
        }
    }
    if row.reads.pooled && !info.has_pooler {
        return Err("it reads the pooled vector, and this encoder has no pooler".to_owned());
    }
    Ok(())
}
