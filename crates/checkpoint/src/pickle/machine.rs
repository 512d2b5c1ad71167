//! The machine: a stack, a memo and an arena of containers, each capped before it grows.

use std::collections::HashMap;

use super::opcode::{Cursor, Opcode};
use super::rebuild::{self, Global, PickledTensor, Storage};

const MAX_STEPS: usize = 4_000_000;
const MAX_STACK: usize = 262_144;
const MAX_MEMO: usize = 1_000_000;
const MAX_CONTAINERS: usize = 1_000_000;
const MAX_ITEMS: usize = 2_000_000;
const NEWEST_PROTOCOL: u8 = 5;

/// Anything the stack can hold. Containers are places in the arena, so that no value is deep and a copy is cheap.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(std::rc::Rc<str>),
    Tuple(usize),
    List(usize),
    Dictionary(usize),
    Global(Global),
    Storage(std::rc::Rc<Storage>),
    Tensor(std::rc::Rc<PickledTensor>),
}

/// All containers of one pickle.
#[derive(Debug, Default)]
pub(super) struct Arena {
    sequences: Vec<Vec<Value>>,
    dictionaries: Vec<Dictionary>,
    items: usize,
}

#[derive(Debug, Default)]
struct Dictionary {
    pairs: Vec<(Value, Value)>,
    /// Whether it came from `OrderedDict`, the only object whose state may be set.
    ordered: bool,
}

/// What a pickle leaves: its last value, and the containers it may point to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) value: Value,
    pub(super) arena: Arena,
}

impl Arena {
    /// The items of a tuple or a list.
    pub(super) fn sequence(&self, place: usize) -> &[Value] {
        self.sequences.get(place).map_or(&[], Vec::as_slice)
    }

    /// The pairs of a dictionary.
    pub(super) fn pairs(&self, place: usize) -> &[(Value, Value)] {
        self.dictionaries.get(place).map_or(&[], |dictionary| dictionary.pairs.as_slice())
    }

    /// A new, empty dictionary.
    pub(super) fn dictionary(&mut self, ordered: bool) -> Result<Value, String> {
        self.count(0)?;
        self.dictionaries.push(Dictionary { pairs: Vec::new(), ordered });
        Ok(Value::Dictionary(self.dictionaries.len() - 1))
    }

    fn count(&mut self, items: usize) -> Result<(), String> {
        self.items += items;
        if self.items > MAX_ITEMS || self.sequences.len() + self.dictionaries.len() >= MAX_CONTAINERS {
            return Err("it builds more containers than any checkpoint needs".to_owned());
        }
        Ok(())
    }

    fn new_sequence(&mut self, items: Vec<Value>) -> Result<usize, String> {
        self.count(items.len())?;
        self.sequences.push(items);
        Ok(self.sequences.len() - 1)
    }

    fn extend_list(&mut self, list: &Value, items: Vec<Value>) -> Result<(), String> {
        self.count(items.len())?;
        let Value::List(place) = list else { return Err("items for something that is no list".to_owned()) };
        let sequence = self.sequences.get_mut(*place).ok_or("a list that does not exist")?;
        sequence.extend(items);
        Ok(())
    }

    fn extend_dictionary(&mut self, dictionary: &Value, items: Vec<Value>) -> Result<(), String> {
        self.count(items.len())?;
        let Value::Dictionary(place) = dictionary else {
            return Err("items for something that is no dictionary".to_owned());
        };
        let found = self.dictionaries.get_mut(*place).ok_or("a dictionary that does not exist")?;
        let (pairs, odd) = items.as_chunks::<2>();
        if !odd.is_empty() {
            return Err("a key without a value".to_owned());
        }
        found.pairs.extend(pairs.iter().map(|[key, value]| (key.clone(), value.clone())));
        Ok(())
    }

    fn is_ordered_dictionary(&self, value: &Value) -> bool {
        let Value::Dictionary(place) = value else { return false };
        self.dictionaries.get(*place).is_some_and(|dictionary| dictionary.ordered)
    }
}

#[derive(Debug, Default)]
struct Machine {
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    arena: Arena,
}

/// Runs `pickle` to its STOP.
pub(super) fn run(pickle: &[u8]) -> Result<Outcome, String> {
    let mut cursor = Cursor::new(pickle);
    let mut machine = Machine::default();
    for _ in 0..MAX_STEPS {
        let opcode = cursor.next()?;
        if opcode == Opcode::Stop {
            if !cursor.is_at_end() {
                return Err("bytes follow its end".to_owned());
            }
            return Ok(Outcome { value: machine.pop()?, arena: machine.arena });
        }
        machine.step(opcode)?;
    }
    Err(format!("more than {MAX_STEPS} instructions"))
}

impl Machine {
    fn step(&mut self, opcode: Opcode<'_>) -> Result<(), String> {
        match opcode {
            Opcode::Protocol(version) if version > NEWEST_PROTOCOL => return Err(format!("protocol {version}")),
            Opcode::Protocol(_) | Opcode::Frame | Opcode::Stop => {}
            Opcode::Mark if self.marks.len() >= MAX_STACK => return Err("its stack grows without end".to_owned()),
            Opcode::Mark => self.marks.push(self.stack.len()),
            Opcode::None => self.push(Value::None)?,
            Opcode::Bool(truth) => self.push(Value::Bool(truth))?,
            Opcode::Int(number) => self.push(Value::Int(number))?,
            Opcode::Float => self.push(Value::Float)?,
            Opcode::Text(text) => self.push(Value::Text(text.into()))?,
            Opcode::EmptyTuple => self.push_tuple(Vec::new())?,
            Opcode::EmptyList => {
                let place = self.arena.new_sequence(Vec::new())?;
                self.push(Value::List(place))?;
            }
            Opcode::EmptyDictionary => {
                let dictionary = self.arena.dictionary(false)?;
                self.push(dictionary)?;
            }
            Opcode::TupleFromMark => {
                let items = self.pop_to_mark()?;
                self.push_tuple(items)?;
            }
            Opcode::TupleOf(length) => {
                let start = self.floor(length)?;
                let items = self.stack.split_off(start);
                self.push_tuple(items)?;
            }
            Opcode::Append => {
                let item = self.pop()?;
                self.arena.extend_list(self.stack.last().unwrap_or(&Value::None), vec![item])?;
            }
            Opcode::AppendsFromMark => {
                let items = self.pop_to_mark()?;
                self.arena.extend_list(self.stack.last().unwrap_or(&Value::None), items)?;
            }
            Opcode::SetItem => {
                let start = self.floor(2)?;
                let pair = self.stack.split_off(start);
                self.arena.extend_dictionary(self.stack.last().unwrap_or(&Value::None), pair)?;
            }
            Opcode::SetItemsFromMark => {
                let items = self.pop_to_mark()?;
                self.arena.extend_dictionary(self.stack.last().unwrap_or(&Value::None), items)?;
            }
            Opcode::Put(place) => self.remember(place)?,
            Opcode::Memoize => self.remember(self.memo.len() as u32)?,
            Opcode::Get(place) => {
                let value = self.memo.get(&place).cloned().ok_or("a memo that was never written")?;
                self.push(value)?;
            }
            Opcode::Global { module, name } => self.push(Value::Global(Global::parse(module, name)?))?,
            Opcode::GlobalFromStack => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.push(Value::Global(Global::parse(&module, &name)?))?,
                _ => return Err("a global whose name is no text".to_owned()),
            },
            Opcode::PersistentId => {
                let id = self.pop()?;
                self.push(Value::Storage(Storage::parse(&id, &self.arena)?.into()))?;
            }
            Opcode::Reduce => {
                let arguments = self.pop()?;
                let callable = self.pop()?;
                let rebuilt = rebuild::call(&callable, &arguments, &mut self.arena)?;
                self.push(rebuilt)?;
            }
            Opcode::Build => {
                // The state of an OrderedDict is bookkeeping of `torch.nn.Module`; it is dropped.
                self.pop()?;
                let object = self.stack.last().ok_or("state for nothing")?;
                if !self.arena.is_ordered_dictionary(object) {
                    return Err("opcode 0x62 (BUILD) is not allowed here".to_owned());
                }
            }
            Opcode::Pop => drop(self.pop()?),
        }
        Ok(())
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        if self.stack.len() >= MAX_STACK {
            return Err("its stack grows without end".to_owned());
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_tuple(&mut self, items: Vec<Value>) -> Result<(), String> {
        let place = self.arena.new_sequence(items)?;
        self.push(Value::Tuple(place))
    }

    /// Where the top `length` values begin; values below the newest mark are out of reach.
    fn floor(&self, length: usize) -> Result<usize, String> {
        let start = self.stack.len().checked_sub(length).ok_or("its stack is empty too early")?;
        if start < self.marks.last().copied().unwrap_or(0) {
            return Err("its stack is empty too early".to_owned());
        }
        Ok(start)
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.floor(1)?;
        self.stack.pop().ok_or_else(|| "its stack is empty too early".to_owned())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or("a mark that was never set")?;
        if mark > self.stack.len() {
            return Err("its stack is empty too early".to_owned());
        }
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, place: u32) -> Result<(), String> {
        let value = self.stack.last().cloned().ok_or("nothing to remember")?;
        if self.memo.len() >= MAX_MEMO {
            return Err(format!("more than {MAX_MEMO} memo entries"));
        }
        self.memo.insert(place, value);
        Ok(())
    }
}
