//! The one unsafe file: calls into `shim/`, for what libtorch has and tch cannot reach.
#![expect(unsafe_code, reason = "calls into C++; every block says why it is sound")]

use std::ffi::{CStr, c_char, c_int};
use std::ptr::{null, null_mut};

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

/// The packing is laid out for inputs of about so many rows; others work with it too.
const TYPICAL_ROWS: i64 = 512;
const MESSAGE_BYTES: usize = 512;

unsafe extern "C" {
    fn headwater_pack_weight(
        weight: *const C_tensor,
        rows: i64,
        packed: *mut *mut C_tensor,
        message: *mut c_char,
        room: usize,
    ) -> c_int;

    fn headwater_packed_linear(
        input: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        activation: *const c_char,
        algorithm: *const c_char,
        output: *mut *mut C_tensor,
        message: *mut c_char,
        room: usize,
    ) -> c_int;

    fn headwater_packed_linear_add(
        input: *const C_tensor,
        residual: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        output: *mut *mut C_tensor,
        message: *mut c_char,
        room: usize,
    ) -> c_int;
}

/// A linear layer's weight in oneDNN's own layout. It lives on the processor and is good for these products only.
#[derive(Debug)]
pub(crate) struct PackedWeight(Tensor);

/// What oneDNN applies to a product before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Epilogue {
    Nothing,
    Gelu,
    GeluTanh,
    Relu,
}

impl PackedWeight {
    /// Packs `weight`, `[outputs, inputs]`.
    pub(crate) fn new(weight: &Tensor) -> Result<Self, TchError> {
        // SAFETY: `weight` outlives the call; the shim writes the tensor and the message as `tensor_from` asks.
        let packed = tensor_from(|output, message, room| unsafe {
            headwater_pack_weight(weight.as_ptr(), TYPICAL_ROWS, output, message, room)
        })?;
        Ok(Self(packed))
    }

    /// `epilogue(input * weightᵀ + bias)`.
    pub(crate) fn linear(&self, input: &Tensor, bias: Option<&Tensor>, epilogue: Epilogue) -> Result<Tensor, TchError> {
        let (activation, algorithm) = match epilogue {
            Epilogue::Nothing => (c"none", c""),
            Epilogue::Gelu => (c"gelu", c"none"),
            Epilogue::GeluTanh => (c"gelu", c"tanh"),
            Epilogue::Relu => (c"relu", c""),
        };
        let (weight, bias) = (self.0.as_ptr(), bias.map_or(null(), Tensor::as_ptr));
        // SAFETY: every tensor outlives the call, the names are NUL-terminated and a null bias is allowed; the shim
        // writes the tensor and the message as `tensor_from` asks.
        tensor_from(|output, message, room| unsafe {
            let (activation, algorithm) = (activation.as_ptr(), algorithm.as_ptr());
            headwater_packed_linear(input.as_ptr(), weight, bias, activation, algorithm, output, message, room)
        })
    }

    /// `input * weightᵀ + bias + residual`.
    pub(crate) fn linear_add(
        &self,
        input: &Tensor,
        bias: Option<&Tensor>,
        residual: &Tensor,
    ) -> Result<Tensor, TchError> {
        let (weight, bias) = (self.0.as_ptr(), bias.map_or(null(), Tensor::as_ptr));
        // SAFETY: every tensor outlives the call and a null bias is allowed; the shim writes the tensor and the
        // message as `tensor_from` asks.
        tensor_from(|output, message, room| unsafe {
            headwater_packed_linear_add(input.as_ptr(), residual.as_ptr(), weight, bias, output, message, room)
        })
    }
}

/// Takes the tensor that `call` writes, or the message.
///
/// `call` gets a place for an owned tensor, written only where it returns 0, and a buffer for a NUL-terminated message
/// of at most the given size, written only where it does not.
fn tensor_from(call: impl FnOnce(*mut *mut C_tensor, *mut c_char, usize) -> c_int) -> Result<Tensor, TchError> {
    let mut output = null_mut();
    let mut message = [0u8; MESSAGE_BYTES];
    let code = call(&raw mut output, message.as_mut_ptr().cast(), message.len());
    if code == 0 && !output.is_null() {
        // SAFETY: the shim made this tensor with `new` and gave it up; nobody else frees it.
        return Ok(unsafe { Tensor::from_ptr(output) });
    }
    let text = CStr::from_bytes_until_nul(&message).map_or_else(|_| "no message".into(), CStr::to_string_lossy);
    Err(TchError::Torch(text.into_owned()))
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn pattern(shape: [i64; 2], step: f64) -> Tensor {
        let flat = Tensor::f_arange(shape[0] * shape[1], (Kind::Float, Device::Cpu)).unwrap();
        flat.f_mul_scalar(step).unwrap().f_sin().unwrap().f_view(shape).unwrap()
    }

    fn largest_difference(one: &Tensor, other: &Tensor) -> f64 {
        let difference = one.f_sub(other).unwrap().f_abs().unwrap().f_max().unwrap();
        difference.f_double_value(&[]).unwrap()
    }

    #[test]
    fn packed_products_equal_plain_ones() {
        let (weight, bias) = (pattern([24, 40], 0.7), pattern([1, 24], 0.3).f_view([24]).unwrap());
        let packed = PackedWeight::new(&weight).unwrap();
        for rows in [1, 5, 64] {
            let (input, residual) = (pattern([rows, 40], 1.1), pattern([rows, 24], 0.9));
            let plain = input.f_linear(&weight, Some(&bias)).unwrap();
            let unbiased = input.f_linear(&weight, None::<&Tensor>).unwrap();
            let cases = [
                (packed.linear(&input, Some(&bias), Epilogue::Nothing), plain.f_mul_scalar(1.0)),
                (packed.linear(&input, None, Epilogue::Nothing), Ok(unbiased)),
                (packed.linear(&input, Some(&bias), Epilogue::Gelu), plain.f_gelu("none")),
                (packed.linear(&input, Some(&bias), Epilogue::GeluTanh), plain.f_gelu("tanh")),
                (packed.linear(&input, Some(&bias), Epilogue::Relu), plain.f_relu()),
                (packed.linear_add(&input, Some(&bias), &residual), plain.f_add(&residual)),
            ];
            for (at, (found, expected)) in cases.into_iter().enumerate() {
                let difference = largest_difference(&found.unwrap(), &expected.unwrap());
                assert!(difference < 1e-5, "case {at}, {rows} rows: {difference}");
            }
        }
    }

    #[test]
    fn an_exception_becomes_an_error_with_its_message() {
        let packed = PackedWeight::new(&pattern([24, 40], 0.7)).unwrap();
        let refused = packed.linear(&pattern([3, 41], 1.0), None, Epilogue::Nothing);
        assert!(matches!(refused, Err(TchError::Torch(message)) if !message.is_empty()));
    }
}
