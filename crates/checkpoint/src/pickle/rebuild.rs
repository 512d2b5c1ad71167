//! The few things a pickle may call, each rebuilt as a description: which storage, where in it, which shape.

use std::rc::Rc;

use registry::ElementType;

use super::machine::{Arena, Outcome, Value};

/// The most dimensions of one tensor.
const MAX_RANK: usize = 8;
/// The most entries of one state dictionary.
const MAX_TENSORS: usize = 16_384;

/// A name that a pickle may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDictionary,
    RebuildTensor,
    RebuildParameter,
    StorageOf(ElementType),
}

/// A run of numbers elsewhere in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    /// The name of its entry under `data/`.
    pub(crate) key: String,
    /// Its element type.
    pub(crate) element: ElementType,
    /// How many elements it claims to have.
    pub(crate) elements: usize,
}

/// A view into a storage. Every element it names lies inside the storage's claimed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PickledTensor {
    /// What it looks into.
    pub(crate) storage: Storage,
    /// The first element.
    pub(crate) offset: usize,
    /// Its dimensions.
    pub(crate) shape: Vec<usize>,
    /// Elements between neighbours along each dimension.
    pub(crate) strides: Vec<usize>,
}

impl Global {
    /// The allow-list.
    pub(super) fn parse(module: &str, name: &str) -> Result<Self, String> {
        let element = |element| Ok(Self::StorageOf(element));
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDictionary),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            ("torch", "FloatStorage") => element(ElementType::F32),
            ("torch", "HalfStorage") => element(ElementType::F16),
            ("torch", "BFloat16Storage") => element(ElementType::BF16),
            ("torch", "DoubleStorage") => element(ElementType::F64),
            ("torch", "LongStorage") => element(ElementType::I64),
            ("torch", "IntStorage") => element(ElementType::I32),
            ("torch", "ShortStorage") => element(ElementType::I16),
            ("torch", "CharStorage") => element(ElementType::I8),
            ("torch", "ByteStorage") => element(ElementType::U8),
            ("torch", "BoolStorage") => element(ElementType::Bool),
            _ => {
                let shown: String = format!("{module}.{name}").chars().take(100).collect();
                Err(format!("global {shown:?} is not allowed"))
            }
        }
    }
}

impl Storage {
    /// From a persistent id: `("storage", type, key, location, elements)`.
    pub(super) fn parse(id: &Value, arena: &Arena) -> Result<Self, String> {
        let wrong = || "a persistent id that names no storage".to_owned();
        let Value::Tuple(place) = id else { return Err(wrong()) };
        match arena.sequence(*place) {
            [
                Value::Text(word),
                Value::Global(Global::StorageOf(element)),
                Value::Text(key),
                Value::Text(_location),
                Value::Int(elements),
            ] if &**word == "storage" => {
                let elements = usize::try_from(*elements).map_err(|_| wrong())?;
                Ok(Self { key: key.to_string(), element: *element, elements })
            }
            _ => Err(wrong()),
        }
    }
}

/// What `callable` makes of `arguments`.
pub(super) fn call(callable: &Value, arguments: &Value, arena: &mut Arena) -> Result<Value, String> {
    let Value::Global(global) = callable else {
        return Err("opcode 0x52 (REDUCE) on something that is not an allowed global".to_owned());
    };
    let Value::Tuple(place) = arguments else { return Err("a call without arguments".to_owned()) };
    match global {
        Global::OrderedDictionary if arena.sequence(*place).is_empty() => arena.dictionary(true),
        Global::OrderedDictionary => Err("an OrderedDict made from arguments".to_owned()),
        Global::RebuildTensor => tensor(arena.sequence(*place), arena).map(|tensor| Value::Tensor(tensor.into())),
        Global::RebuildParameter => match arena.sequence(*place) {
            [Value::Tensor(tensor), ..] => Ok(Value::Tensor(Rc::clone(tensor))),
            _ => Err("a parameter without a tensor".to_owned()),
        },
        Global::StorageOf(_) => Err("a storage type that is called".to_owned()),
    }
}

/// From `(storage, offset, shape, strides, requires_grad, hooks[, metadata])`.
fn tensor(arguments: &[Value], arena: &Arena) -> Result<PickledTensor, String> {
    let [Value::Storage(storage), Value::Int(offset), Value::Tuple(shape), Value::Tuple(strides), ..] = arguments
    else {
        return Err("a tensor rebuilt from something else than a storage, an offset, a shape and strides".to_owned());
    };
    let whole = |items: &[Value]| -> Option<Vec<usize>> {
        let number = |item: &Value| if let Value::Int(size) = item { usize::try_from(*size).ok() } else { None };
        items.iter().map(number).collect()
    };
    let wrong = || "a tensor whose shape or strides are no sizes".to_owned();
    let shape = whole(arena.sequence(*shape)).ok_or_else(wrong)?;
    let strides = whole(arena.sequence(*strides)).ok_or_else(wrong)?;
    let offset = usize::try_from(*offset).map_err(|_| wrong())?;
    if shape.len() != strides.len() || shape.len() > MAX_RANK {
        return Err(wrong());
    }
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let reach = shape.iter().zip(&strides).try_fold(offset, |reach, (size, stride)| {
        size.saturating_sub(1).checked_mul(*stride).and_then(|step| reach.checked_add(step))
    });
    let (Some(elements), Some(last)) = (elements, reach) else {
        return Err("a tensor larger than memory can be".to_owned());
    };
    if elements > 0 && last >= storage.elements {
        return Err(format!("a tensor that reaches beyond the {} elements of its storage", storage.elements));
    }
    Ok(PickledTensor { storage: Storage::clone(storage), offset, shape, strides })
}

/// The state dictionary a pickle left: text keys, tensor values.
pub(super) fn state_dictionary(outcome: Outcome) -> Result<Vec<(String, PickledTensor)>, String> {
    let Value::Dictionary(place) = outcome.value else { return Err("it holds no dictionary of tensors".to_owned()) };
    let pairs = outcome.arena.pairs(place);
    if pairs.len() > MAX_TENSORS {
        return Err(format!("{} tensors, the limit is {MAX_TENSORS}", pairs.len()));
    }
    let entry = |(key, value): &(Value, Value)| match (key, value) {
        (Value::Text(name), Value::Tensor(tensor)) => Ok((name.to_string(), PickledTensor::clone(tensor))),
        (Value::Text(name), _) => Err(format!("{:?} is no tensor", name.chars().take(100).collect::<String>())),
        _ => Err("a key that is no text".to_owned()),
    };
    pairs.iter().map(entry).collect()
}
