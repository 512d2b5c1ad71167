// Doors to libtorch's settings of arithmetic, which belong to the whole process.

#include "guard.h"

#include <ATen/Context.h>

#include <cstddef>

extern "C" {

// fp32 products keep all of fp32 on a GPU, and fp16 products are summed in fp32.
int headwater_forbid_rounding(char* message, std::size_t room) noexcept {
    return headwater::guarded(message, room, [] {
        at::globalContext().setAllowTF32CuBLAS(false);
        at::globalContext().setAllowFP16ReductionCuBLAS(false);
    });
}

}  // extern "C"
