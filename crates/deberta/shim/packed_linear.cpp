// Doors to the linear layers of oneDNN with a weight packed once, which libtorch registers outside its public
// operators. No logic lives here: each door fills the operator's stack and calls it. A tensor is written only on
// success.

#include "guard.h"

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/stack.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace {

using headwater::guarded;

// The boxed call checks no arity and fills in no defaults: a short stack would be read beyond its end.
at::Tensor call(const char* name, const char* overload, torch::jit::Stack stack) {
    const auto operation = c10::Dispatcher::singleton().findSchemaOrThrow(name, overload);
    TORCH_CHECK(operation.schema().arguments().size() == stack.size(), name, " takes other arguments in this libtorch");
    operation.callBoxed(stack);
    TORCH_CHECK(stack.size() == 1, name, " returns something else in this libtorch");
    return std::move(stack.front()).toTensor();
}

c10::IValue optional(const at::Tensor* tensor) {
    return tensor == nullptr ? c10::IValue() : c10::IValue(*tensor);
}

}  // namespace

extern "C" {

// `weight` [outputs, inputs] in oneDNN's own layout, for inputs of about `rows` rows. The result is opaque.
int headwater_pack_weight(
    const at::Tensor* weight, std::int64_t rows, at::Tensor** packed, char* message, std::size_t room) noexcept {
    return guarded(message, room, [&] {
        *packed = new at::Tensor(call("mkldnn::_reorder_linear_weight", "", {*weight, rows}));
    });
}

// activation(input * weight^T + bias); `bias` may be null.
int headwater_packed_linear(
    const at::Tensor* input, const at::Tensor* weight, const at::Tensor* bias, const char* activation,
    const char* algorithm, at::Tensor** output, char* message, std::size_t room) noexcept {
    return guarded(message, room, [&] {
        const c10::List<std::optional<at::Scalar>> no_scalars;
        *output = new at::Tensor(
            call("mkldnn::_linear_pointwise", "", {*input, *weight, optional(bias), activation, no_scalars, algorithm}));
    });
}

// input * weight^T + bias + residual; `bias` may be null.
int headwater_packed_linear_add(
    const at::Tensor* input, const at::Tensor* residual, const at::Tensor* weight, const at::Tensor* bias,
    at::Tensor** output, char* message, std::size_t room) noexcept {
    return guarded(message, room, [&] {
        *output = new at::Tensor(
            call("mkldnn::_linear_pointwise", "binary", {*input, *residual, *weight, optional(bias), "add"}));
    });
}

}  // extern "C"
