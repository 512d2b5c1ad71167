//! The DeBERTa encoder.
