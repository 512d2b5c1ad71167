//! The labels of rows as positions: a list that stands, or one that the rows themselves make.

use std::collections::HashMap;

use engine::{MAX_LABEL_BYTES, MAX_LABELS};

/// Labels by name or by position, whichever rows use.
#[derive(Debug)]
pub(crate) struct LabelBook {
    /// Names in the order in which they got their position.
    names: Vec<String>,
    positions: HashMap<String, u32>,
    from: From,
    /// One more than the highest position used.
    used: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// The list stands: rows may use names and positions.
    List,
    /// No row has shown yet what they use.
    Nowhere,
    /// Rows bring names.
    Names,
    /// Rows bring positions.
    Positions,
}

/// The labels of all rows, in their order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Empty where rows brought positions alone.
    pub(crate) names: Vec<String>,
    pub(crate) outputs: usize,
    /// Where each position that the book gave has gone.
    pub(crate) moved: Vec<u32>,
}

impl LabelBook {
    /// The labels in `names`; where that is empty, those that rows will bring.
    pub(crate) fn new(names: Vec<String>) -> Self {
        let from = if names.is_empty() { From::Nowhere } else { From::List };
        let positions = names.iter().cloned().zip(0..).collect();
        Self { names, positions, from, used: 0 }
    }

    /// The position of a name, or why it has none.
    pub(crate) fn by_name(&mut self, name: &str) -> Result<u32, String> {
        if let Some(position) = self.positions.get(name) {
            return Ok(*position);
        }
        match self.from {
            From::List => return Err(format!("{name:?} is none of the {} labels", self.names.len())),
            From::Positions => return Err("is a name, and rows before it have positions".to_owned()),
            From::Nowhere | From::Names => {}
        }
        if name.is_empty() || name.len() > MAX_LABEL_BYTES || name.chars().any(char::is_control) {
            return Err(format!("a label has 1 to {MAX_LABEL_BYTES} bytes and no control character"));
        }
        if self.names.len() == MAX_LABELS {
            return Err(format!("it would be one label more than the limit of {MAX_LABELS}"));
        }
        self.from = From::Names;
        let position = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.positions.insert(name.to_owned(), position);
        Ok(position)
    }

    /// The position, if it is one.
    pub(crate) fn by_position(&mut self, position: u32) -> Result<u32, String> {
        let limit = match self.from {
            From::List => self.names.len(),
            From::Names => return Err("is a position, and rows before it have names".to_owned()),
            From::Nowhere | From::Positions => MAX_LABELS,
        };
        if position as usize >= limit {
            return Err(format!("{position} is beyond the last of {limit} labels"));
        }
        if self.from == From::Nowhere {
            self.from = From::Positions;
        }
        self.used = self.used.max(position as usize + 1);
        Ok(position)
    }

    /// Outputs that a head for the labels so far has.
    pub(crate) fn outputs(&self) -> usize {
        self.names.len().max(self.used)
    }

    /// The labels: a list as it is, names of rows sorted.
    pub(crate) fn close(self) -> Labels {
        let outputs = self.outputs();
        if self.from != From::Names {
            return Labels { names: self.names, outputs, moved: (0..).take(outputs).collect() };
        }
        let mut order: Vec<u32> = (0..).take(outputs).collect();
        order.sort_by(|one, other| self.names[*one as usize].cmp(&self.names[*other as usize]));
        let mut moved = vec![0; outputs];
        order.iter().zip(0..).for_each(|(from, to)| moved[*from as usize] = to);
        Labels { names: order.iter().map(|from| self.names[*from as usize].clone()).collect(), outputs, moved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> LabelBook {
        LabelBook::new(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_list_stands_and_takes_names_and_positions() {
        let mut book = named(&["no", "yes"]);
        assert_eq!((book.by_name("yes"), book.by_position(0)), (Ok(1), Ok(0)));
        assert!(book.by_name("maybe").unwrap_err().contains("none of the 2 labels"));
        assert!(book.by_position(2).unwrap_err().contains("beyond"));
        assert_eq!(book.close().moved, [0, 1]);
    }

    #[test]
    fn names_that_rows_bring_are_sorted_in_the_end() {
        let mut book = named(&[]);
        assert_eq!(["b", "c", "a", "b"].map(|name| book.by_name(name).unwrap()), [0, 1, 2, 0]);
        assert!(book.by_position(0).unwrap_err().contains("names"));
        assert!(book.by_name("a\n").is_err() && book.by_name("").is_err());
        let labels = book.close();
        assert_eq!(
            (labels.names, labels.moved, labels.outputs),
            (vec!["a".into(), "b".into(), "c".into()], vec![1, 2, 0], 3)
        );
    }

    #[test]
    fn positions_without_a_list_count_up_to_the_highest() {
        let mut book = named(&[]);
        assert_eq!((book.by_position(4), book.outputs()), (Ok(4), 5));
        assert!(book.by_name("a").unwrap_err().contains("positions"));
        assert!(book.by_position(MAX_LABELS as u32).is_err());
        assert_eq!(book.close(), Labels { names: vec![], outputs: 5, moved: vec![0, 1, 2, 3, 4] });
    }
}
