// What the kernels ask of a GPU's lanes, in PTX (compute capability 8.0 or later). Compiled when a server starts, by a
// compiler without CUDA's headers; a test has the same names for lanes that a processor plays.

using element = unsigned short;  // the bits of an fp16 or bf16 number

struct alignas(16) Eight {
    element numbers[8];
};

extern __shared__ __align__(16) unsigned char shared_memory[];

__device__ inline int thread() { return threadIdx.x; }
__device__ inline int block_x() { return blockIdx.x; }
__device__ inline int block_y() { return blockIdx.y; }
__device__ inline void sync_block() { __syncthreads(); }
__device__ inline void sync_warp() { __syncwarp(); }
__device__ inline float shuffled(float number, int mask) { return __shfl_xor_sync(0xffffffffu, number, mask); }
__device__ inline float minus_infinity() { return __int_as_float(0xff800000); }
__device__ inline float power_of_two(float number) { return exp2f(number); }

__device__ inline unsigned shared_address(const void* place) {
    return static_cast<unsigned>(__cvta_generic_to_shared(place));
}

// Two numbers in one register, the first in its lower half.
__device__ inline unsigned packed(float low, float high) {
    unsigned pair;
    asm("cvt.rn." ELEMENT "x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

__device__ inline float wide(element number) {
#ifdef ELEMENT_IS_BF16
    return __uint_as_float(static_cast<unsigned>(number) << 16);
#else
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(number));
    return result;
#endif
}

// Sixteen bytes from memory to shared memory, or zeros; done when `await_copies` returns.
__device__ inline void copy_sixteen_bytes(void* to, const void* from, bool is_there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(is_there ? 16 : 0));
}

__device__ inline void await_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Four matrices of 8 x 8; lane 8 * m + r names row r of matrix m.
__device__ inline void load_matrices(unsigned (&matrices)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline void load_matrices_transposed(unsigned (&matrices)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// sum += left [16, 16] * right [16, 8], in fp32.
__device__ inline void multiply(float (&sum)[4], const unsigned (&left)[4], unsigned right_low, unsigned right_high) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." ELEMENT "." ELEMENT
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_low), "r"(right_high));
}
