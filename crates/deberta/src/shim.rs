//! The one unsafe file: calls into `shim/`, for what libtorch has and tch cannot reach.
#![expect(unsafe_code, reason = "calls into C++; every block says why it is sound")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{NonNull, null, null_mut};

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

    /// The C library's.
    fn malloc_trim(pad: usize) -> c_int;

    fn headwater_forbid_rounding(message: *mut c_char, room: usize) -> c_int;
    fn headwater_take_stream(device: i64, message: *mut c_char, room: usize) -> c_int;
    fn headwater_graph_pool(pool: *mut u64, message: *mut c_char, room: usize) -> c_int;
    fn headwater_graph_begin(pool: *const u64, graph: *mut *mut c_void, message: *mut c_char, room: usize) -> c_int;
    fn headwater_graph_end(graph: *mut c_void, message: *mut c_char, room: usize) -> c_int;
    fn headwater_graph_replay(graph: *mut c_void, message: *mut c_char, room: usize) -> c_int;
    fn headwater_graph_free(graph: *mut c_void);

    fn headwater_kernels_compile(
        source: *const c_char,
        shared: i32,
        kernels: *mut *mut c_void,
        message: *mut c_char,
        room: usize,
    ) -> c_int;

    fn headwater_attend(
        kernels: *const c_void,
        projected: *const C_tensor,
        keys_at: *const C_tensor,
        queries_at: *const C_tensor,
        tiles: *const C_tensor,
        mixed: *const C_tensor,
        sizes: *const i32,
        message: *mut c_char,
        room: usize,
    ) -> c_int;

    fn headwater_add_norm(
        kernels: *const c_void,
        product: *const C_tensor,
        residual: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        output: *const C_tensor,
        epsilon: f32,
        message: *mut c_char,
        room: usize,
    ) -> c_int;

    fn headwater_kernels_free(kernels: *mut c_void);

    fn headwater_overwrite(
        tensor: *const C_tensor,
        numbers: *const c_void,
        bytes: usize,
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

/// Gives memory that was freed back to the system: the heap keeps it where something that stays lies behind it.
pub(crate) fn give_back_memory() {
    // SAFETY: it touches nothing that is in use, and may be called from any thread.
    unsafe { malloc_trim(0) };
}

/// Makes GPUs compute fp32 products in fp32 (no TF32) and sum fp16 products in fp32, in the whole process.
pub(crate) fn forbid_rounding() -> Result<(), TchError> {
    // SAFETY: the shim writes the message as `checked` asks.
    checked(|message, room| unsafe { headwater_forbid_rounding(message, room) })
}

/// Gives the calling thread GPU `index` and a stream of its own there.
///
/// # Errors
/// Where this build has no CUDA, with the reason.
pub(crate) fn take_stream(index: usize) -> Result<(), TchError> {
    let index = i64::try_from(index).unwrap_or(i64::MAX);
    // SAFETY: the shim writes the message as `checked` asks.
    checked(|message, room| unsafe { headwater_take_stream(index, message, room) })
}

/// Puts `numbers` into `tensor`, which is dense, on a GPU, and of as many bytes. What this thread launches afterwards finds
/// them there; nobody waits for them.
pub(crate) fn overwrite<T: tch::kind::Element>(tensor: &Tensor, numbers: &[T]) -> Result<(), TchError> {
    let bytes = size_of_val(numbers);
    // SAFETY: the shim reads `bytes` bytes before it returns, checks that the tensor has as many, and writes the message
    // as `checked` asks.
    checked(|message, room| unsafe {
        headwater_overwrite(tensor.as_ptr(), numbers.as_ptr().cast(), bytes, message, room)
    })
}

/// Device memory that recordings share. They must not run at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GraphPool([u64; 2]);

/// A recorded sequence of launches. It neither owns nor checks the tensors that they read and write.
#[derive(Debug)]
pub(crate) struct Graph(NonNull<c_void>);

impl GraphPool {
    pub(crate) fn new() -> Result<Self, TchError> {
        let mut pool = [0; 2];
        // SAFETY: the shim writes two numbers, and the message as `checked` asks.
        checked(|message, room| unsafe { headwater_graph_pool(pool.as_mut_ptr(), message, room) })?;
        Ok(Self(pool))
    }

    /// Records what `work` launches on this thread's stream. Nothing runs until the replay, so what `work` returns
    /// holds no numbers before it.
    pub(crate) fn record<T>(self, work: impl FnOnce() -> Result<T, TchError>) -> Result<(Graph, T), TchError> {
        let mut graph = null_mut();
        // SAFETY: the shim reads two numbers, writes an owned graph, and the message as `checked` asks.
        checked(|message, room| unsafe { headwater_graph_begin(self.0.as_ptr(), &raw mut graph, message, room) })?;
        let graph = NonNull::new(graph).ok_or_else(|| TchError::Torch("no graph was begun".to_owned()))?;
        // From here on, leaving early ends the recording: `Graph` does so when it is dropped.
        let graph = Graph(graph);
        let result = work()?;
        // SAFETY: the graph lives, and its recording has not ended; the message is written as `checked` asks.
        checked(|message, room| unsafe { headwater_graph_end(graph.0.as_ptr(), message, room) })?;
        Ok((graph, result))
    }
}

impl Graph {
    /// Launches the recording. The tensors that it reads and writes must still be where they were.
    pub(crate) fn replay(&self) -> Result<(), TchError> {
        // SAFETY: the graph lives, and `Graphs` keeps the tensors of its recording; the message is written as `checked`
        // asks.
        checked(|message, room| unsafe { headwater_graph_replay(self.0.as_ptr(), message, room) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: the shim made this graph and gave it up; nobody else frees it.
        unsafe { headwater_graph_free(self.0.as_ptr()) }
    }
}

/// The kernels of `shim/gpu` on one GPU, in one element type.
#[derive(Debug)]
pub(crate) struct GpuKernels(NonNull<c_void>);

/// What `attend` reads; every tensor is dense and on the kernels' GPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attended<'a> {
    /// `[tokens, 3 * heads * 64]`.
    pub(crate) projected: &'a Tensor,
    /// `[heads, 2 * reach, 64]`.
    pub(crate) keys_at: Option<&'a Tensor>,
    /// `[heads, 2 * reach, 64]`.
    pub(crate) queries_at: Option<&'a Tensor>,
    /// `[tiles, 5]` in i32, whose numbers lie within `projected`, `mixed` and the tables' reach.
    pub(crate) tiles: &'a Tensor,
    pub(crate) heads: i32,
    pub(crate) reach: i32,
}

/// Bytes of shared memory that a block of `attend` takes: `Shared` in attention.cuh.
const SHARED_BYTES: i32 = 2 * 64 * 64 * 2 + 2 * 128 * 64 * 2 + 64 * 88 * 4;

impl GpuKernels {
    /// Compiles `source` for the calling thread's GPU.
    pub(crate) fn compile(source: &CStr) -> Result<Self, TchError> {
        let mut kernels = null_mut();
        // SAFETY: the shim reads a NUL-terminated text, writes owned kernels, and the message as `checked` asks.
        checked(|message, room| unsafe {
            headwater_kernels_compile(source.as_ptr(), SHARED_BYTES, &raw mut kernels, message, room)
        })?;
        NonNull::new(kernels).map(Self).ok_or_else(|| TchError::Torch("no kernels were made".to_owned()))
    }

    /// Attention over packed rows into `mixed`, `[outputs, heads * 64]`. Nothing waits for it.
    pub(crate) fn attend(&self, attended: Attended<'_>, mixed: &Tensor) -> Result<(), TchError> {
        let Attended { projected, keys_at, queries_at, tiles, heads, reach } = attended;
        let count = i32::try_from(tiles.size2()?.0).unwrap_or(i32::MAX);
        let sizes = [count, heads, reach, SHARED_BYTES];
        let (keys_at, queries_at) = (keys_at.map_or(null(), Tensor::as_ptr), queries_at.map_or(null(), Tensor::as_ptr));
        // SAFETY: the kernels live; the tensors outlive the call, and the allocator keeps their memory for this stream
        // until what was launched there has run; null tables and four sizes are as the shim asks.
        checked(|message, room| unsafe {
            let (projected, tiles, mixed) = (projected.as_ptr(), tiles.as_ptr(), mixed.as_ptr());
            let kernels = self.0.as_ptr();
            headwater_attend(kernels, projected, keys_at, queries_at, tiles, mixed, sizes.as_ptr(), message, room)
        })
    }

    /// `LayerNorm(product + residual)`, `[rows, width]`, with `[width]` each of `weight` and `bias`.
    pub(crate) fn add_norm(
        &self,
        product: &Tensor,
        residual: &Tensor,
        (weight, bias): (&Tensor, &Tensor),
        epsilon: f32,
    ) -> Result<Tensor, TchError> {
        let output = product.f_empty_like()?;
        // SAFETY: as in `attend`.
        checked(|message, room| unsafe {
            let (product, residual, output) = (product.as_ptr(), residual.as_ptr(), output.as_ptr());
            let (weight, bias) = (weight.as_ptr(), bias.as_ptr());
            headwater_add_norm(self.0.as_ptr(), product, residual, weight, bias, output, epsilon, message, room)
        })?;
        Ok(output)
    }
}

impl Drop for GpuKernels {
    fn drop(&mut self) {
        // SAFETY: the shim made these kernels and gave them up; nobody else frees them.
        unsafe { headwater_kernels_free(self.0.as_ptr()) }
    }
}

/// Takes the tensor that `call` writes, or the message.
///
/// `call` gets a place for an owned tensor, written only where it returns 0, and what [`checked`] gives.
fn tensor_from(call: impl FnOnce(*mut *mut C_tensor, *mut c_char, usize) -> c_int) -> Result<Tensor, TchError> {
    let mut output = null_mut();
    checked(|message, room| call(&raw mut output, message, room))?;
    if output.is_null() {
        return Err(TchError::Torch("no tensor was written".to_owned()));
    }
    // SAFETY: the shim made this tensor with `new` and gave it up; nobody else frees it.
    Ok(unsafe { Tensor::from_ptr(output) })
}

/// Whether `call` returns 0, or its message: it gets a buffer for a NUL-terminated one of at most the given size, written
/// only where it does not.
fn checked(call: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<(), TchError> {
    let mut message = [0u8; MESSAGE_BYTES];
    if call(message.as_mut_ptr().cast(), message.len()) == 0 {
        return Ok(());
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
    fn without_a_gpu_recording_is_refused_with_a_reason() {
        if !tch::Cuda::is_available() {
            assert!(matches!(take_stream(0), Err(TchError::Torch(reason)) if !reason.is_empty()));
        }
    }

    #[test]
    fn rounding_can_be_forbidden_anywhere() {
        forbid_rounding().unwrap();
    }

    #[test]
    fn an_exception_becomes_an_error_with_its_message() {
        let packed = PackedWeight::new(&pattern([24, 40], 0.7)).unwrap();
        let refused = packed.linear(&pattern([3, 41], 1.0), None, Epilogue::Nothing);
        assert!(matches!(refused, Err(TchError::Torch(message)) if !message.is_empty()));
    }
}
