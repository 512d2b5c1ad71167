//! The lines that both sides tokenize; `tests/parity/lines.py` is the other half of this file.

use serde::Deserialize;

use crate::chance::Chance;

/// `lines.json`: what lines are made of.
#[derive(Debug, Deserialize)]
pub(crate) struct Table {
    seed: u64,
    pub(crate) count: u64,
    pub(crate) pairs: u64,
    pub(crate) word_lists: u64,
    pub(crate) limits: Vec<usize>,
    categories: Vec<String>,
    blocks: Vec<(u32, u32)>,
    literals: Vec<String>,
    words: Vec<String>,
}

impl Table {
    /// Line `number`: running text, one script, one category, or a mixture of everything.
    pub(crate) fn line(&self, number: u64) -> String {
        let chance = &mut Chance::new(self.seed, number);
        match chance.below(5) {
            0 => self.running_text(chance, 40),
            1 => {
                let runs = 1 + chance.below(6);
                (0..runs).map(|_| self.block_run(chance, 12)).collect::<Vec<_>>().join(" ")
            }
            2 => self.category_run(chance, 30),
            _ => self.mixture(chance),
        }
    }

    /// Pair `number`: sides of very different and of equal length, made of one to four lines.
    pub(crate) fn pair(&self, number: u64) -> [String; 2] {
        let chance = &mut Chance::new(self.seed + 1, number);
        [(); 2].map(|()| {
            let lines = 1 + chance.below(4);
            (0..lines).map(|_| self.line(chance.below(self.count))).collect::<Vec<_>>().join(" ")
        })
    }

    /// Word list `number`: a line cut at its spaces, as a caller who has split the text would give it.
    pub(crate) fn words(&self, number: u64) -> Vec<String> {
        self.line(number).split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn running_text(&self, chance: &mut Chance, most_words: u64) -> String {
        const ENDINGS: [&str; 10] = ["", "", "", "", ",", ".", "!", "'s", "?", ";"];
        let words = 1 + chance.below(most_words);
        let word = |_| {
            let word = chance.pick(&self.words);
            let shouted = chance.below(8) == 0;
            let word = if shouted { word.to_uppercase() } else { word.clone() };
            word + chance.pick::<&str>(&ENDINGS)
        };
        (0..words).map(word).collect::<Vec<_>>().join(" ")
    }

    fn block_run(&self, chance: &mut Chance, longest: u64) -> String {
        let (first, last) = *chance.pick(&self.blocks);
        let length = 1 + chance.below(longest);
        let character = |_| {
            let code = first + chance.below(u64::from(last - first + 1)) as u32;
            char::from_u32(code).expect("the table has no surrogates")
        };
        (0..length).map(character).collect()
    }

    fn category_run(&self, chance: &mut Chance, longest: u64) -> String {
        let characters: Vec<char> = chance.pick(&self.categories).chars().collect();
        let length = 1 + chance.below(longest);
        (0..length).map(|_| *chance.pick(&characters)).collect()
    }

    fn mixture(&self, chance: &mut Chance) -> String {
        let mut made = String::new();
        for _ in 0..1 + chance.below(12) {
            let part = match chance.below(6) {
                0 => chance.pick(&self.literals).clone(),
                1 => self.block_run(chance, 6),
                2 => self.category_run(chance, 4),
                _ => self.running_text(chance, 4),
            };
            made += &part;
            made += chance.pick::<&str>(&["", " ", " ", "  "]);
        }
        made
    }
}
