//! Tensor calls in `deberta`: only the ones that return an error; the others panic inside libtorch's bindings.

use std::collections::BTreeSet;

use super::tree::{Tree, code_lines};
use super::{assert_complains, assert_kept};

/// Methods of a tensor that panic and that nothing in the standard library shares a name with. A method that the
/// crate calls in its fallible form anywhere joins the list by itself.
const PANICKING: [&str; 58] = [
    "addmm",
    "amax",
    "argmax",
    "baddbmm",
    "bmm",
    "broadcast_to",
    "clamp_min",
    "contiguous",
    "conv1d",
    "copy_data",
    "cumsum",
    "detach",
    "double_value",
    "dropout",
    "embedding",
    "expand",
    "expand_as",
    "fill_",
    "gather",
    "gelu",
    "i",
    "index",
    "index_select",
    "int64_value",
    "layer_norm",
    "linear",
    "masked_fill",
    "masked_fill_",
    "masked_select",
    "matmul",
    "mean_dim",
    "narrow",
    "numpy_t",
    "pad",
    "pad_sequence",
    "permute",
    "relu",
    "repeat_interleave",
    "reshape",
    "scaled_dot_product_attention",
    "select",
    "sigmoid",
    "slice",
    "softmax",
    "log_softmax",
    "squeeze",
    "squeeze_dim",
    "sum_dim_intlist",
    "to_device",
    "to_dtype",
    "to_kind",
    "topk",
    "transpose",
    "tr",
    "unflatten",
    "unsqueeze",
    "view",
    "zero_",
];

/// Names that the standard library has too: a call says nothing about its receiver.
const SHARED: [&str; 21] = [
    "abs", "all", "any", "chunk", "clamp", "copy", "cos", "exp", "flatten", "get", "kind", "log", "max", "min", "pow",
    "repeat", "sin", "split", "sqrt", "sum", "tanh",
];

/// Constructors that cannot fail, and the two that take over a pointer.
const CONSTRUCTORS: [&str; 3] = ["new", "from_ptr", "clone_from_ptr"];

fn panicking_tensor_calls(tree: &Tree) -> Vec<String> {
    let files = || tree.under("crates/deberta/src/", ".rs");
    let fallible: BTreeSet<&str> = files().flat_map(|(_, text)| names_after(text, ".f_")).collect();
    let own: BTreeSet<&str> = files().flat_map(|(_, text)| names_after(text, "fn ")).collect();
    let panics = |name: &&str| {
        (PANICKING.contains(name) || fallible.contains(name)) && !SHARED.contains(name) && !own.contains(name)
    };
    let mut complaints = Vec::new();
    for (path, text) in files() {
        for (number, line) in code_lines(text) {
            let made = names_after(line, "Tensor::");
            let made = made.filter(|name| !name.starts_with("f_") && !CONSTRUCTORS.contains(name));
            for name in names_after(line, ".").filter(panics).chain(made) {
                complaints.push(format!("{path}:{number}: {name} panics; f_{name} returns the error"));
            }
        }
    }
    complaints
}

/// The names of the functions called right after each `mark`.
fn names_after<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        let (name, arguments) = rest.split_at(end);
        let of_an_option = name == "transpose" && arguments.starts_with("()");
        let is_call = arguments.starts_with('(') || arguments.starts_with("::<");
        (is_call && !of_an_option && end > 0).then_some(name)
    })
}

#[test]
fn tensor_calls_return_their_errors() {
    assert_kept(panicking_tensor_calls);
}

#[test]
fn a_tensor_call_that_panics_is_refused() {
    let file = |line: &'static str| [("crates/deberta/src/layer.rs", line)];
    assert_complains(panicking_tensor_calls, &file("let scores = query.matmul(&key);"), "f_matmul");
    assert_complains(panicking_tensor_calls, &file("let mask = Tensor::ones([2, 2], options);"), "f_ones");
    assert_complains(panicking_tensor_calls, &file("a.f_rot90(1, [0, 1])?; b.rot90(1, [0, 1]);"), "f_rot90");
    assert!(panicking_tensor_calls(&Tree::of(&file("let n = values.iter().max().f_abs(&x)?;"))).is_empty());
}
