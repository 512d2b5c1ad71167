// The doors of cuda.cpp for a build without CUDA: each says why there is none.

#include "guard.h"

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>

extern "C" {

int headwater_take_stream(std::int64_t, char* message, std::size_t room) noexcept {
    headwater::say(HEADWATER_CUDA_ABSENT, message, room);
    return 1;
}

int headwater_graph_pool(std::uint64_t*, char* message, std::size_t room) noexcept {
    headwater::say(HEADWATER_CUDA_ABSENT, message, room);
    return 1;
}

int headwater_graph_begin(const std::uint64_t*, void**, char* message, std::size_t room) noexcept {
    headwater::say(HEADWATER_CUDA_ABSENT, message, room);
    return 1;
}

int headwater_graph_end(void*, char* message, std::size_t room) noexcept {
    headwater::say(HEADWATER_CUDA_ABSENT, message, room);
    return 1;
}

int headwater_graph_replay(void*, char* message, std::size_t room) noexcept {
    headwater::say(HEADWATER_CUDA_ABSENT, message, room);
    return 1;
}

void headwater_graph_free(void*) noexcept {}

int headwater_kernels_compile(const char*, std::int32_t, void**, char* message, std::size_t room) noexcept {
    headwater::say(HEADWATER_CUDA_ABSENT, message, room);
    return 1;
}

int headwater_attend(
    const void*, const at::Tensor*, const at::Tensor*, const at::Tensor*, const at::Tensor*, const at::Tensor*,
    const std::int32_t*, char* message, std::size_t room) noexcept {
    headwater::say(HEADWATER_CUDA_ABSENT, message, room);
    return 1;
}

int headwater_add_norm(
    const void*, const at::Tensor*, const at::Tensor*, const at::Tensor*, const at::Tensor*, const at::Tensor*, float,
    char* message, std::size_t room) noexcept {
    headwater::say(HEADWATER_CUDA_ABSENT, message, room);
    return 1;
}

int headwater_overwrite(const at::Tensor*, const void*, std::size_t, char* message, std::size_t room) noexcept {
    headwater::say(HEADWATER_CUDA_ABSENT, message, room);
    return 1;
}

void headwater_kernels_free(void*) noexcept {}

}  // extern "C"
