//! Published checkpoints in, bundles out.
