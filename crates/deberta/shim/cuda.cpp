// Doors to CUDA's streams and graphs and to our own kernels. Compiled where libtorch has CUDA and its headers are found;
// cuda_absent.cpp has the same doors for everywhere else. A recording is made on the current stream of the calling thread.

#include "guard.h"

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda.h>
#include <dlfcn.h>
#include <nvrtc.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace {

struct Graph {
    at::cuda::CUDAGraph graph;
    bool is_recording = false;
};

// The compiler and the driver, which libtorch loads too, by a library of its own that names both.
struct Library {
    void* handle = dlopen("libcaffe2_nvrtc.so", RTLD_NOW);

    Library() {
        TORCH_CHECK(handle != nullptr, "the compiler of kernels was not found: ", dlerror());
        open_compiler_parts();
    }

    template <class Function>
    Function* find(const char* name) const {
        void* found = dlsym(handle, name);
        TORCH_CHECK(found != nullptr, name, " was not found");
        return reinterpret_cast<Function*>(found);
    }

    // The compiler looks for its second library along the search path alone; once loaded it is found by name.
    void open_compiler_parts() const {
        int major = 0, minor = 0;
        auto* version = find<decltype(nvrtcVersion)>("nvrtcVersion");
        Dl_info compiler;
        if (version(&major, &minor) != NVRTC_SUCCESS || dladdr(reinterpret_cast<void*>(version), &compiler) == 0) {
            return;
        }
        std::string path = compiler.dli_fname;
        path.resize(path.rfind('/') + 1);
        path += "libnvrtc-builtins.so." + std::to_string(major) + "." + std::to_string(minor);
        dlopen(path.c_str(), RTLD_NOW);
    }
};

const Library& library() {
    static const Library loaded;
    return loaded;
}

void check(CUresult result, const char* what) {
    if (result != CUDA_SUCCESS) {
        const char* text = nullptr;
        library().find<decltype(cuGetErrorString)>("cuGetErrorString")(result, &text);
        TORCH_CHECK(false, what, ": ", text == nullptr ? "an unknown error" : text);
    }
}

// Kernels for one GPU. They stay loaded until the process ends, as its context does.
struct Kernels {
    CUfunction attend = nullptr;
    CUfunction add_norm = nullptr;
    decltype(cuLaunchKernel)* launch = nullptr;
};

std::string architecture() {
    CUdevice device;
    int major = 0, minor = 0;
    check(library().find<decltype(cuCtxGetDevice)>("cuCtxGetDevice")(&device), "no GPU is current");
    auto* attribute = library().find<decltype(cuDeviceGetAttribute)>("cuDeviceGetAttribute");
    check(attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device), "the GPU's age");
    check(attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device), "the GPU's age");
    TORCH_CHECK(major >= 8, "GPUs of compute capability ", major, ".", minor, " lack their instructions");
    return "--gpu-architecture=sm_" + std::to_string(10 * major + minor);
}

std::string compiled(const char* source) {
    const auto& own = library();
    nvrtcProgram program;
    auto* create = own.find<decltype(nvrtcCreateProgram)>("nvrtcCreateProgram");
    const bool is_begun = create(&program, source, "headwater", 0, nullptr, nullptr) == NVRTC_SUCCESS;
    TORCH_CHECK(is_begun, "the compiler of kernels does not start");
    const std::string target = architecture();
    const std::array<const char*, 2> options = {target.c_str(), "--std=c++17"};
    const auto result = own.find<decltype(nvrtcCompileProgram)>("nvrtcCompileProgram")(
        program, static_cast<int>(options.size()), options.data());
    std::size_t size = 0;
    std::string text;
    if (result == NVRTC_SUCCESS) {
        own.find<decltype(nvrtcGetCUBINSize)>("nvrtcGetCUBINSize")(program, &size);
        text.resize(size);
        own.find<decltype(nvrtcGetCUBIN)>("nvrtcGetCUBIN")(program, text.data());
    } else {
        own.find<decltype(nvrtcGetProgramLogSize)>("nvrtcGetProgramLogSize")(program, &size);
        text.resize(size);
        own.find<decltype(nvrtcGetProgramLog)>("nvrtcGetProgramLog")(program, text.data());
    }
    own.find<decltype(nvrtcDestroyProgram)>("nvrtcDestroyProgram")(&program);
    TORCH_CHECK(result == NVRTC_SUCCESS, "kernels do not compile: ", text);
    return text;
}

CUstream stream_of(const at::Tensor& tensor) {
    return c10::cuda::getCurrentCUDAStream(tensor.device().index()).stream();
}

CUdeviceptr place_of(const at::Tensor* tensor) {
    return tensor == nullptr ? 0 : reinterpret_cast<CUdeviceptr>(tensor->data_ptr());
}

}  // namespace

extern "C" {

// Makes the GPU the calling thread's own, with a stream that can be recorded; a thread that has one keeps it.
int headwater_take_stream(std::int64_t index, char* message, std::size_t room) noexcept {
    return headwater::guarded(message, room, [&] {
        const auto device = static_cast<c10::DeviceIndex>(index);
        c10::cuda::set_device(device);
        if (c10::cuda::getCurrentCUDAStream(device) == c10::cuda::getDefaultCUDAStream(device)) {
            c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromPool(false, device));
        }
    });
}

// The two numbers that name a pool of memory for graphs that never run at once.
int headwater_graph_pool(std::uint64_t* pool, char* message, std::size_t room) noexcept {
    return headwater::guarded(message, room, [&] {
        const auto handle = at::cuda::graph_pool_handle();
        pool[0] = handle.first;
        pool[1] = handle.second;
    });
}

// From here on the thread's launches are recorded instead of run. Only this thread is watched for calls that cannot be
// recorded: others may use other devices meanwhile.
int headwater_graph_begin(const std::uint64_t* pool, void** graph, char* message, std::size_t room) noexcept {
    return headwater::guarded(message, room, [&] {
        auto made = std::make_unique<Graph>();
        made->graph.capture_begin({pool[0], pool[1]}, cudaStreamCaptureModeThreadLocal);
        made->is_recording = true;
        *graph = made.release();
    });
}

int headwater_graph_end(void* graph, char* message, std::size_t room) noexcept {
    return headwater::guarded(message, room, [&] {
        auto* made = static_cast<Graph*>(graph);
        made->is_recording = false;
        made->graph.capture_end();
    });
}

int headwater_graph_replay(void* graph, char* message, std::size_t room) noexcept {
    return headwater::guarded(message, room, [&] { static_cast<Graph*>(graph)->graph.replay(); });
}

// Ends the recording if nobody has, so that the thread's launches run again.
void headwater_graph_free(void* graph) noexcept {
    auto* made = static_cast<Graph*>(graph);
    if (made->is_recording) {
        char ignored[1];
        headwater_graph_end(graph, ignored, sizeof ignored);
    }
    delete made;
}

// The kernels of `source` for the calling thread's GPU. A block of `attend` takes `shared` bytes of shared memory.
int headwater_kernels_compile(
    const char* source, std::int32_t shared, void** kernels, char* message, std::size_t room) noexcept {
    return headwater::guarded(message, room, [&] {
        const std::string code = compiled(source);
        const auto& own = library();
        CUmodule module;
        check(own.find<decltype(cuModuleLoadData)>("cuModuleLoadData")(&module, code.data()), "kernels do not load");
        auto made = std::make_unique<Kernels>();
        auto* function = own.find<decltype(cuModuleGetFunction)>("cuModuleGetFunction");
        check(function(&made->attend, module, "attend"), "attend");
        check(function(&made->add_norm, module, "add_norm"), "add_norm");
        auto* set = own.find<decltype(cuFuncSetAttribute)>("cuFuncSetAttribute");
        check(set(made->attend, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared), "shared memory");
        made->launch = own.find<decltype(cuLaunchKernel)>("cuLaunchKernel");
        *kernels = made.release();
    });
}

// `sizes` are those of attention.cuh: tiles, heads, reach, bytes of shared memory. A table may be null.
int headwater_attend(
    const void* kernels, const at::Tensor* projected, const at::Tensor* keys_at, const at::Tensor* queries_at,
    const at::Tensor* tiles, const at::Tensor* mixed, const std::int32_t* sizes, char* message,
    std::size_t room) noexcept {
    return headwater::guarded(message, room, [&] {
        const auto* own = static_cast<const Kernels*>(kernels);
        CUdeviceptr places[] = {
            place_of(projected), place_of(keys_at), place_of(queries_at), place_of(tiles), place_of(mixed)};
        int heads = sizes[1], reach = sizes[2];
        void* arguments[] = {&places[0], &places[1], &places[2], &places[3], &places[4], &heads, &reach};
        auto* stream = stream_of(*projected);
        check(own->launch(own->attend, sizes[0], heads, 1, 128, 1, 1, sizes[3], stream, arguments, nullptr), "attend");
    });
}

// `output` = LayerNorm(`product` + `residual`), all [rows, width].
int headwater_add_norm(
    const void* kernels, const at::Tensor* product, const at::Tensor* residual, const at::Tensor* weight,
    const at::Tensor* bias, const at::Tensor* output, float epsilon, char* message, std::size_t room) noexcept {
    return headwater::guarded(message, room, [&] {
        const auto* own = static_cast<const Kernels*>(kernels);
        CUdeviceptr places[] = {
            place_of(product), place_of(residual), place_of(weight), place_of(bias), place_of(output)};
        int rows = static_cast<int>(product->size(0)), width = static_cast<int>(product->size(1));
        void* arguments[] = {&places[0], &places[1], &places[2], &places[3], &places[4], &rows, &width, &epsilon};
        check(own->launch(own->add_norm, (rows + 3) / 4, 1, 1, 128, 1, 1, 0, stream_of(*product), arguments, nullptr),
              "add_norm");
    });
}

// The driver takes small copies into pinned memory of its own, and larger ones piece by piece: either way `numbers` are
// free again when it returns.
int headwater_overwrite(
    const at::Tensor* tensor, const void* numbers, std::size_t bytes, char* message, std::size_t room) noexcept {
    return headwater::guarded(message, room, [&] {
        TORCH_CHECK(tensor->is_cuda() && tensor->is_contiguous() && tensor->nbytes() == bytes, "not that many bytes");
        static auto* copy = library().find<decltype(cuMemcpyHtoDAsync)>("cuMemcpyHtoDAsync_v2");
        if (bytes > 0) {
            check(copy(place_of(tensor), numbers, bytes, stream_of(*tensor)), "a copy to the GPU");
        }
    });
}

void headwater_kernels_free(void* kernels) noexcept { delete static_cast<Kernels*>(kernels); }

}  // extern "C"
