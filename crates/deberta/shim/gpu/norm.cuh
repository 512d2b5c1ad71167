// The sum of two rows, normalised: LayerNorm(product + residual), with sum and statistics in fp32. A warp a row.

constexpr int MOST_PIECES = 8;  // of eight numbers that a lane holds: rows of up to 2,048 numbers

__device__ inline float over_lanes(float number) {
    for (int mask = 16; mask > 0; mask >>= 1) {
        number += shuffled(number, mask);
    }
    return number;
}

// All but the last three are [rows, width] or [width]; `width` is a multiple of 8.
extern "C" __global__ void __launch_bounds__(128)
add_norm(const Eight* product, const Eight* residual, const Eight* weight, const Eight* bias, Eight* output, int rows,
         int width, float epsilon) {
    const int row = block_x() * 4 + (thread() >> 5), lane = thread() & 31, pieces = width >> 3;
    if (row >= rows) {
        return;
    }
    const long start = static_cast<long>(row) * pieces;
    float numbers[MOST_PIECES][8];
    float sum = 0;
#pragma unroll
    for (int turn = 0; turn < MOST_PIECES; ++turn) {
        const int index = lane + 32 * turn;
        if (index < pieces) {
            const Eight one = product[start + index], other = residual[start + index];
            for (int at = 0; at < 8; ++at) {
                numbers[turn][at] = wide(one.numbers[at]) + wide(other.numbers[at]);
                sum += numbers[turn][at];
            }
        }
    }
    const float mean = over_lanes(sum) / width;
    float squares = 0;
#pragma unroll
    for (int turn = 0; turn < MOST_PIECES; ++turn) {
        if (lane + 32 * turn < pieces) {
            for (int at = 0; at < 8; ++at) {
                const float difference = numbers[turn][at] - mean;
                squares += difference * difference;
            }
        }
    }
    const float scale = rsqrtf(over_lanes(squares) / width + epsilon);
#pragma unroll
    for (int turn = 0; turn < MOST_PIECES; ++turn) {
        const int index = lane + 32 * turn;
        if (index < pieces) {
            const Eight slope = weight[index], shift = bias[index];
            Eight result;
            for (int at = 0; at < 8; at += 2) {
                const auto normal = [&](int number) {
                    const float centred = numbers[turn][number] - mean;
                    return centred * scale * wide(slope.numbers[number]) + wide(shift.numbers[number]);
                };
                const unsigned pair = packed(normal(at), normal(at + 1));
                result.numbers[at] = static_cast<element>(pair);
                result.numbers[at + 1] = static_cast<element>(pair >> 16);
            }
            output[start + index] = result;
        }
    }
}
