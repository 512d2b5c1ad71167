//! The opcodes that are understood, and the cursor that reads their arguments.

/// The longest text in a pickle: a tensor's name or a storage's key.
const MAX_TEXT_BYTES: usize = 4_096;

/// One understood instruction with its argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Opcode<'a> {
    Protocol(u8),
    Frame,
    Mark,
    Stop,
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(&'a str),
    EmptyTuple,
    EmptyList,
    EmptyDictionary,
    TupleFromMark,
    TupleOf(usize),
    Append,
    AppendsFromMark,
    SetItem,
    SetItemsFromMark,
    Put(u32),
    Memoize,
    Get(u32),
    Global { module: &'a str, name: &'a str },
    GlobalFromStack,
    PersistentId,
    Reduce,
    Build,
    Pop,
}

/// A place in the pickle's bytes.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(pickle: &'a [u8]) -> Self {
        Self { rest: pickle }
    }

    /// Whether nothing follows.
    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next instruction.
    pub(super) fn next(&mut self) -> Result<Opcode<'a>, String> {
        let code = self.byte()?;
        Ok(match code {
            0x80 => Opcode::Protocol(self.byte()?),
            0x95 => {
                self.take(8)?;
                Opcode::Frame
            }
            b'(' => Opcode::Mark,
            b'.' => Opcode::Stop,
            b'N' => Opcode::None,
            0x88 => Opcode::Bool(true),
            0x89 => Opcode::Bool(false),
            b'J' => Opcode::Int(i64::from(i32::from_le_bytes(self.array()?))),
            b'K' => Opcode::Int(i64::from(self.byte()?)),
            b'M' => Opcode::Int(i64::from(u16::from_le_bytes(self.array()?))),
            0x8a => Opcode::Int(self.long()?),
            b'G' => {
                self.take(8)?;
                Opcode::Float
            }
            b'X' => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                Opcode::Text(self.text(length)?)
            }
            0x8c => {
                let length = usize::from(self.byte()?);
                Opcode::Text(self.text(length)?)
            }
            b')' => Opcode::EmptyTuple,
            b']' => Opcode::EmptyList,
            b'}' => Opcode::EmptyDictionary,
            b't' => Opcode::TupleFromMark,
            0x85..=0x87 => Opcode::TupleOf(usize::from(code - 0x84)),
            b'a' => Opcode::Append,
            b'e' => Opcode::AppendsFromMark,
            b's' => Opcode::SetItem,
            b'u' => Opcode::SetItemsFromMark,
            b'q' => Opcode::Put(u32::from(self.byte()?)),
            b'r' => Opcode::Put(u32::from_le_bytes(self.array()?)),
            0x94 => Opcode::Memoize,
            b'h' => Opcode::Get(u32::from(self.byte()?)),
            b'j' => Opcode::Get(u32::from_le_bytes(self.array()?)),
            b'c' => Opcode::Global { module: self.line()?, name: self.line()? },
            0x93 => Opcode::GlobalFromStack,
            b'Q' => Opcode::PersistentId,
            b'R' => Opcode::Reduce,
            b'b' => Opcode::Build,
            b'0' => Opcode::Pop,
            other => return Err(refusal(other)),
        })
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("it ends in the middle of an instruction")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("it ends in the middle of an instruction")?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array().map(|[byte]| byte)
    }

    fn text(&mut self, length: usize) -> Result<&'a str, String> {
        if length > MAX_TEXT_BYTES {
            return Err(format!("a text of {length} bytes, the limit is {MAX_TEXT_BYTES}"));
        }
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text that is not UTF-8".to_owned())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let length = self.rest.iter().take(MAX_TEXT_BYTES).position(|byte| *byte == b'\n');
        let line = self.text(length.ok_or("a global without an end")?)?;
        self.take(1)?;
        Ok(line)
    }

    fn long(&mut self) -> Result<i64, String> {
        let length = usize::from(self.byte()?);
        if length > 8 {
            return Err(format!("a whole number of {length} bytes, the limit is 8"));
        }
        let digits = self.take(length)?;
        let fill = if digits.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut bytes = [fill; 8];
        bytes.iter_mut().zip(digits).for_each(|(byte, digit)| *byte = *digit);
        Ok(i64::from_le_bytes(bytes))
    }
}

/// Names the instruction `code` for the person whose file is refused.
fn refusal(code: u8) -> String {
    let name = match code {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'S' | b'T' | b'U' => "STRING",
        b'V' | 0x8d => "UNICODE",
        b'B' | b'C' | 0x8e | 0x96 => "BYTES",
        b'I' => "INT",
        b'L' | 0x8b => "LONG",
        b'F' => "FLOAT",
        b'l' | b'd' | 0x8f | 0x90 | 0x91 => "a container",
        b'p' | b'g' => "a memo in text form",
        b'1' | b'2' => "a stack trick",
        _ => return format!("opcode {code:#04x} is not allowed"),
    };
    format!("opcode {code:#04x} ({name}) is not allowed")
}
