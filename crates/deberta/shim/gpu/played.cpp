// The kernels of this folder with a GPU's lanes played by a processor, against plain loops: what they compute is tested
// where there is no GPU. Lanes are coroutines that take turns; a lane stops where lanes wait for each other. Only the
// lanes' own instructions are played, the kernels are the very text that a GPU gets.
//
//   c++ -std=c++17 -O1 played.cpp -o played && ./played      prints the largest differences; 1 where one is too large

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#define __device__
#define __global__
#define __launch_bounds__(...)

using element = unsigned short;

struct alignas(16) Eight {
    element numbers[8];
};

namespace lanes {

constexpr int MOST = 128;
constexpr std::size_t STACK = 256 << 10;

struct Lane {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(STACK);
    bool is_done = false;
};

ucontext_t scheduler;
std::vector<Lane> all(MOST);
int current = 0;
int x = 0, y = 0;
std::function<void()> work;

// Waiting of one warp (0 to 3) or of the block (4): how many came, and how many times all have come.
int arrived[5] = {}, rounds[5] = {};
std::uint32_t words[4][32][4];
const void* rows[4][32];

void yield() { swapcontext(&all[current].context, &scheduler); }

void meet(int place, int count) {
    const int round = rounds[place];
    if (++arrived[place] == count) {
        arrived[place] = 0;
        ++rounds[place];
    }
    while (rounds[place] == round) {
        yield();
    }
}

void enter() {
    work();
    all[current].is_done = true;
    yield();
}

void run_block(int threads) {
    for (int lane = 0; lane < threads; ++lane) {
        all[lane].is_done = false;
        getcontext(&all[lane].context);
        all[lane].context.uc_stack.ss_sp = all[lane].stack.data();
        all[lane].context.uc_stack.ss_size = STACK;
        all[lane].context.uc_link = &scheduler;
        makecontext(&all[lane].context, enter, 0);
    }
    for (bool is_any = true; is_any;) {
        is_any = false;
        for (current = 0; current < threads; ++current) {
            if (!all[current].is_done) {
                swapcontext(&scheduler, &all[current].context);
                is_any = true;
            }
        }
    }
}

}  // namespace lanes

alignas(16) unsigned char shared_memory[1 << 17];

int thread() { return lanes::current; }
int block_x() { return lanes::x; }
int block_y() { return lanes::y; }
void sync_block() { lanes::meet(4, lanes::MOST); }
void sync_warp() { lanes::meet(thread() >> 5, 32); }
float minus_infinity() { return -INFINITY; }
float power_of_two(float number) { return std::exp2(number); }
float rsqrtf(float number) { return 1 / std::sqrt(number); }
void await_copies() {}

void copy_sixteen_bytes(void* to, const void* from, bool is_there) {
    is_there ? std::memcpy(to, from, 16) : std::memset(to, 0, 16);
}

// bf16: the only rounding that is quick to write down.
float wide(element number) {
    const std::uint32_t bits = static_cast<std::uint32_t>(number) << 16;
    float result;
    std::memcpy(&result, &bits, 4);
    return result;
}

element narrow(float number) {
    std::uint32_t bits;
    std::memcpy(&bits, &number, 4);
    return static_cast<element>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

unsigned packed(float low, float high) { return narrow(low) | static_cast<unsigned>(narrow(high)) << 16; }

float shuffled(float number, int mask) {
    const int warp = thread() >> 5, lane = thread() & 31;
    std::memcpy(&lanes::words[warp][lane][0], &number, 4);
    sync_warp();
    std::memcpy(&number, &lanes::words[warp][lane ^ mask][0], 4);
    sync_warp();
    return number;
}

void load_played(unsigned (&matrices)[4], const void* row, bool is_transposed) {
    const int warp = thread() >> 5, lane = thread() & 31;
    lanes::rows[warp][lane] = row;
    sync_warp();
    for (int matrix = 0; matrix < 4; ++matrix) {
        element pair[2];
        for (int at = 0; at < 2; ++at) {
            const int line = is_transposed ? 2 * (lane & 3) + at : lane >> 2;
            const int place = is_transposed ? lane >> 2 : 2 * (lane & 3) + at;
            pair[at] = static_cast<const element*>(lanes::rows[warp][8 * matrix + line])[place];
        }
        matrices[matrix] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
    }
    sync_warp();
}

void load_matrices(unsigned (&matrices)[4], const void* row) { load_played(matrices, row, false); }
void load_matrices_transposed(unsigned (&matrices)[4], const void* row) { load_played(matrices, row, true); }

void multiply(float (&sum)[4], const unsigned (&left)[4], unsigned right_low, unsigned right_high) {
    static std::uint32_t rights[4][32][2];
    const int warp = thread() >> 5, lane = thread() & 31;
    std::memcpy(lanes::words[warp][lane], left, 16);
    rights[warp][lane][0] = right_low;
    rights[warp][lane][1] = right_high;
    sync_warp();
    const auto part = [](std::uint32_t word, int at) { return wide(static_cast<element>(word >> (16 * at))); };
    for (int number = 0; number < 4; ++number) {
        const int row = (lane >> 2) + 8 * (number >> 1), column = 2 * (lane & 3) + (number & 1);
        for (int k = 0; k < 16; ++k) {
            const int pair = (k & 7) >> 1, upper = k >> 3;
            const float one = part(lanes::words[warp][4 * (row & 7) + pair][(row >> 3) + 2 * upper], k & 1);
            sum[number] += one * part(rights[warp][4 * column + pair][upper], k & 1);
        }
    }
    sync_warp();
}

#include "attention.cuh"
#include "norm.cuh"

namespace {

std::mt19937 chance(7);

std::vector<element> numbers(std::size_t count, float size) {
    std::normal_distribution<float> normal(0, size);
    std::vector<element> all(count);
    std::generate(all.begin(), all.end(), [&] { return narrow(normal(chance)); });
    return all;
}

float difference(float one, float other) { return std::isfinite(one) ? std::fabs(one - other) : INFINITY; }

// Rows of `lengths`, whole or their first tokens only, with the tables asked for.
float attention(const std::vector<int>& lengths, bool has_keys_at, bool has_queries_at, bool only_first) {
    const int heads = 2, reach = 256, hidden = heads * SIDE;
    std::vector<Tile> tiles;
    int tokens = 0;
    for (std::size_t row = 0; row < lengths.size(); ++row) {
        for (int query = 0; query < (only_first ? 1 : lengths[row]); query += SIDE) {
            const int queries = only_first ? 1 : std::min(SIDE, lengths[row] - query);
            const int output = only_first ? static_cast<int>(row) : tokens + query;
            tiles.push_back({tokens, lengths[row], query, queries, output});
        }
        tokens += lengths[row];
    }
    tiles.push_back({0, 0, 0, 0, 0});
    const auto projected = numbers(static_cast<std::size_t>(tokens) * 3 * hidden, 0.5f);
    const auto keys_at = numbers(heads * 2 * reach * SIDE, 0.3f), queries_at = numbers(heads * 2 * reach * SIDE, 0.3f);
    std::vector<element> mixed(static_cast<std::size_t>(tokens) * hidden, narrow(NAN));
    std::memset(shared_memory, 0xff, sizeof shared_memory);
    lanes::work = [&] {
        attend(projected.data(), has_keys_at ? keys_at.data() : nullptr, has_queries_at ? queries_at.data() : nullptr,
               tiles.data(), mixed.data(), heads, reach);
    };
    for (lanes::x = 0; lanes::x < static_cast<int>(tiles.size()); ++lanes::x) {
        for (lanes::y = 0; lanes::y < heads; ++lanes::y) {
            lanes::run_block(THREADS);
        }
    }

    const auto product = [](const element* one, const element* other) {
        float sum = 0;
        for (int at = 0; at < SIDE; ++at) {
            sum += wide(one[at]) * wide(other[at]);
        }
        return sum;
    };
    float worst = 0;
    for (const Tile& tile : tiles) {
        for (int query = 0; query < tile.queries; ++query) {
            for (int head = 0; head < heads; ++head) {
                const auto part = [&](int token, int kind) {
                    const std::size_t place = static_cast<std::size_t>(tile.first_token) + token;
                    return &projected[(place * 3 + kind) * hidden + head * SIDE];
                };
                const int i = tile.first_query + query;
                std::vector<float> weights(tile.length);
                float largest = -INFINITY, total = 0;
                for (int j = 0; j < tile.length; ++j) {
                    const std::size_t at = (static_cast<std::size_t>(head) * 2 * reach + i - j + reach - 1) * SIDE;
                    weights[j] = product(part(i, 0), part(j, 1));
                    weights[j] += has_keys_at ? product(part(i, 0), &keys_at[at]) : 0;
                    weights[j] += has_queries_at ? product(part(j, 1), &queries_at[at]) : 0;
                    largest = std::max(largest, weights[j]);
                }
                for (float& weight : weights) {
                    total += weight = std::exp(weight - largest);
                }
                for (int at = 0; at < SIDE; ++at) {
                    float expected = 0;
                    for (int j = 0; j < tile.length; ++j) {
                        expected += weights[j] / total * wide(part(j, 2)[at]);
                    }
                    const std::size_t output = static_cast<std::size_t>(tile.output) + query;
                    worst = std::max(worst, difference(wide(mixed[output * hidden + head * SIDE + at]), expected));
                }
            }
        }
    }
    return worst;
}

float normalisation(int rows, int width) {
    const std::size_t count = static_cast<std::size_t>(rows) * width;
    const auto product = numbers(count, 1), residual = numbers(count, 2);
    const auto weight = numbers(width, 1), bias = numbers(width, 1);
    std::vector<element> output(count, narrow(NAN));
    const auto eights = [](const std::vector<element>& all) { return reinterpret_cast<const Eight*>(all.data()); };
    lanes::y = 0;
    lanes::work = [&] {
        auto* written = reinterpret_cast<Eight*>(output.data());
        add_norm(eights(product), eights(residual), eights(weight), eights(bias), written, rows, width, 1e-7f);
    };
    for (lanes::x = 0; lanes::x < (rows + 3) / 4; ++lanes::x) {
        lanes::run_block(THREADS);
    }
    float worst = 0;
    for (int row = 0; row < rows; ++row) {
        const auto sum = [&](int at) { return wide(product[row * width + at]) + wide(residual[row * width + at]); };
        float mean = 0, squares = 0;
        for (int at = 0; at < width; ++at) {
            mean += sum(at) / width;
        }
        for (int at = 0; at < width; ++at) {
            squares += (sum(at) - mean) * (sum(at) - mean) / width;
        }
        for (int at = 0; at < width; ++at) {
            const float expected = (sum(at) - mean) / std::sqrt(squares + 1e-7f) * wide(weight[at]) + wide(bias[at]);
            worst = std::max(worst, difference(wide(output[row * width + at]), expected) / (1 + std::fabs(expected)));
        }
    }
    return worst;
}

bool report(const char* name, float worst, float allowed) {
    std::printf("%s: %g, at most %g\n", name, worst, allowed);
    return worst <= allowed;
}

}  // namespace

int main() {
    const std::vector<int> lengths = {1, 2, 15, 16, 17, 63, 64, 65, 130, 200};
    bool is_right = report("attention of many lengths", attention(lengths, true, true, false), 0.02f);
    is_right &= report("attention of first tokens", attention({1, 64, 129, 256}, true, true, true), 0.02f);
    is_right &= report("attention with content to position alone", attention({70}, true, false, false), 0.02f);
    is_right &= report("attention with position to content alone", attention({70}, false, true, false), 0.02f);
    is_right &= report("attention of content alone", attention({70}, false, false, false), 0.02f);
    is_right &= report("normalisation of 768 numbers", normalisation(7, 768), 0.01f);
    is_right &= report("normalisation of 384 numbers", normalisation(5, 384), 0.01f);
    is_right &= report("normalisation of 2,048 numbers", normalisation(2, 2048), 0.01f);
    return is_right ? 0 : 1;
}
