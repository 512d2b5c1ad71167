// Doors to CUDA's streams and graphs. Compiled where libtorch has CUDA and its headers are found; cuda_absent.cpp has
// the same doors for everywhere else. A recording is made on the current stream of the calling thread.

#include "guard.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace {

struct Graph {
    at::cuda::CUDAGraph graph;
    bool is_recording = false;
};

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

}  // extern "C"
