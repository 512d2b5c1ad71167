//! Offsets in code points from offsets in UTF-8 bytes.

/// Walks a text once, forwards, and turns ascending byte offsets into code points.
#[derive(Debug, Clone)]
pub struct CodePoints<'a> {
    text: &'a str,
    byte: usize,
    count: usize,
}

impl<'a> CodePoints<'a> {
    /// Starts at the beginning of `text`.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, byte: 0, count: 0 }
    }

    /// Code points that begin before `byte`. An offset before an earlier one starts the walk anew.
    pub fn before(&mut self, byte: usize) -> usize {
        if byte < self.byte {
            *self = Self::new(self.text);
        }
        let rest = self.text.as_bytes().iter().enumerate().skip(self.byte);
        // A byte that does not continue a code point begins one.
        self.count += rest.take_while(|(at, _)| *at < byte).filter(|(_, b)| **b & 0xC0 != 0x80).count();
        self.byte = byte.min(self.text.len());
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boundary_counts_the_characters_before_it() {
        let text = "aé漢🙂z";
        let mut offsets = CodePoints::new(text);
        for (count, (byte, _)) in text.char_indices().enumerate() {
            assert_eq!(offsets.before(byte), count);
        }
        assert_eq!(offsets.before(text.len()), 5);
        assert_eq!(offsets.before(3), 2, "walking back starts anew");
    }
}
