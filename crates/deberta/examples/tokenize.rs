//! Tokenizes lines for `tests/parity/full_tokenizer.py`.
//!
//! `tokenize FOLDER LIMIT` reads JSON lines from standard input, each a list of one or two texts, and writes for each
//! a line with its tokens: id, type id, side (-1 for special tokens), word, first byte, last byte.

use std::error::Error;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::Path;

use deberta::FastTokenizer;
use engine::{Text, TokenizeRequest, Tokenizer, Tokens};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(limit)) = (arguments.next(), arguments.next()) else {
        return Err("usage: tokenize FOLDER LIMIT".into());
    };
    let max_tokens = limit.parse()?;
    let tokenizer = FastTokenizer::open(Path::new(&folder), Some(max_tokens))?;
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let sides: Vec<String> = serde_json::from_str(&line?)?;
        let (text, pair) = (sides.first().ok_or("a line without a text")?, sides.get(1));
        let request = TokenizeRequest { text: Text::Raw(text), pair: pair.map(|pair| Text::Raw(pair)), max_tokens };
        serde_json::to_writer(&mut out, &entries(&tokenizer.tokenize(request)?))?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

fn entries(tokens: &Tokens) -> Vec<[i64; 6]> {
    let entry = |((id, type_id), origin): ((&u32, &u32), &Option<engine::Origin>)| {
        let [side, word, start, end] = origin.map_or([-1, 0, 0, 0], |origin| {
            [origin.side.into(), origin.word.into(), origin.start.into(), origin.end.into()]
        });
        [(*id).into(), (*type_id).into(), side, word, start, end]
    };
    tokens.ids.iter().zip(&tokens.type_ids).zip(&tokens.origins).map(entry).collect()
}
