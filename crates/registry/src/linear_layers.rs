//! What the linear layers that an adapter changes are called among a bundle's tensors.

use engine::Site;

const LAYERS: &str = "deberta.encoder.layer.";

/// The module of `site` in layer `layer`; its tensors are called this with `.weight` and `.bias` behind.
#[must_use]
pub fn linear_module(layer: usize, site: Site) -> String {
    let name = match site {
        Site::Query => "attention.self.query_proj",
        Site::Key => "attention.self.key_proj",
        Site::Value => "attention.self.value_proj",
        Site::AttentionOutput => "attention.output.dense",
        Site::Intermediate => "intermediate.dense",
        Site::Output => "output.dense",
    };
    format!("{LAYERS}{layer}.{name}")
}

/// Layer and site of the module `name`, if it is one of them.
#[must_use]
pub fn linear_site(name: &str) -> Option<(usize, Site)> {
    let (layer, _) = name.strip_prefix(LAYERS)?.split_once('.')?;
    let layer = layer.parse().ok()?;
    Site::ALL.into_iter().find(|site| linear_module(layer, *site) == name).map(|site| (layer, site))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_site_has_a_module_and_no_other_module_is_one() {
        for site in Site::ALL {
            assert_eq!(linear_site(&linear_module(7, site)), Some((7, site)));
        }
        for name in ["deberta.encoder.layer.7.attention.self.pos_key_proj", "pooler.dense", "deberta.encoder.conv.conv"]
        {
            assert_eq!(linear_site(name), None);
        }
    }
}
