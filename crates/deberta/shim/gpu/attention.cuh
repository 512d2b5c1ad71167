// Disentangled attention over rows laid end to end without padding: content to content, content to position, position to
// content, softmax and the mix of values, tile by tile in the manner of FlashAttention (Dao, 2022). The position terms
// are products too: in a tile of 64 queries and 64 keys there are 127 distances, so a tile multiplies its queries and its
// keys with the table rows of those distances, and each pair of tokens picks its own from the result. Nothing of the size
// of queries times keys leaves the multiprocessor.
//
//   score(i, j) = q[i] . k[j] + q[i] . keys_at[i - j] + k[j] . queries_at[i - j]     (queries carry the scale)
//
// A block is four warps, one tile of 64 queries of one head; each warp owns sixteen of its queries. Fragments of the
// matrix instructions: lane 4 * g + p holds numbers 2 * p and 2 * p + 1 of rows g and g + 8.

constexpr int SIDE = 64;          // queries in a tile, keys in a tile, numbers in a head
constexpr int ROWS = 16;          // of a warp
constexpr int THREADS = 128;
constexpr int DISTANCES = 128;    // of a tile, one more than it has
constexpr int OWN_DISTANCES = 80; // that sixteen rows of it meet, one more than they do
constexpr int PITCH = 88;         // of a row of terms, so that lanes meet different banks
constexpr int STEPS = SIDE / 16;  // of a product over a head's numbers

// Queries of one row that a block answers.
struct Tile {
    int first_token;  // of the row
    int length;       // of the row
    int first_query;  // in the row
    int queries;      // to answer, at most SIDE; 0: nothing to do
    int output;       // where the first of them goes
};

struct Shared {
    element keys[SIDE * SIDE];
    element values[SIDE * SIDE];
    element keys_at[DISTANCES * SIDE];
    element queries_at[DISTANCES * SIDE];
    union {
        float terms[SIDE * PITCH];
        element queries[SIDE * SIDE];
    };
};

// Rows of 64 numbers are eight pieces of sixteen bytes, stored in an order by which eight rows meet all banks.
__device__ inline element* piece(element* rows, int row, int index) {
    return rows + row * SIDE + ((index ^ (row & 7)) << 3);
}

// Rows of `from`, `pitch` numbers apart, into `to`; zeros beyond `count`.
__device__ inline void fetch(element* to, const element* from, long pitch, int count) {
    for (int copy = thread(); copy < SIDE * 8; copy += THREADS) {
        const int row = copy >> 3, index = copy & 7;
        const bool is_there = row < count;
        copy_sixteen_bytes(piece(to, row, index), from + (is_there ? row * pitch + index * 8 : 0), is_there);
    }
}

// The table rows of the distances from `first` on; those beyond the table belong to no pair of tokens.
__device__ inline void fetch_distances(element* to, const element* table, int first, int reach) {
    for (int copy = thread(); copy < DISTANCES * 8; copy += THREADS) {
        const int place = copy >> 3, index = copy & 7;
        int row = first + place + reach - 1;
        row = row < 0 ? 0 : row > 2 * reach - 1 ? 2 * reach - 1 : row;
        copy_sixteen_bytes(piece(to, place, index), table + static_cast<long>(row) * SIDE + index * 8, true);
    }
}

// Sixteen rows as the left side of products.
__device__ inline void load_left(unsigned (&left)[STEPS][4], element* rows, int first) {
    const int lane = thread() & 31;
    for (int step = 0; step < STEPS; ++step) {
        load_matrices(left[step], piece(rows, first + (lane & 15), 2 * step + (lane >> 4)));
    }
}

// sum[0] and sum[1] += left * rows[first..first + 16]^T
__device__ inline void multiply_rows(float (&sum)[2][4], const unsigned (&left)[STEPS][4], element* rows, int first) {
    const int lane = thread() & 31;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        unsigned right[4];
        const int row = first + (lane & 7) + ((lane >> 4) << 3);
        load_matrices(right, piece(rows, row, 2 * step + ((lane >> 3) & 1)));
        multiply(sum[0], left[step], right[0], right[1]);
        multiply(sum[1], left[step], right[2], right[3]);
    }
}

// The products of sixteen rows with OWN_DISTANCES table rows, into a warp's own rows of `terms`.
__device__ inline void write_terms(float* terms, const unsigned (&left)[STEPS][4], element* table, int first) {
    const int lane = thread() & 31, group = lane >> 2, column = 2 * (lane & 3);
    for (int pair = 0; pair < OWN_DISTANCES / 16; ++pair) {
        float sum[2][4] = {};
        multiply_rows(sum, left, table, first + 16 * pair);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float* place = terms + group * PITCH + 16 * pair + 8 * half + column;
            place[0] = sum[half][0];
            place[1] = sum[half][1];
            place[8 * PITCH] = sum[half][2];
            place[8 * PITCH + 1] = sum[half][3];
        }
    }
}

// `projected` [tokens, 3, heads, 64] holds queries, keys and values; the tables are [heads, 2 * reach, 64], row
// distance + reach - 1, either of them null; `mixed` is [outputs, heads, 64]. One block a tile and head.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
attend(const element* projected, const element* keys_at, const element* queries_at, const Tile* tiles, element* mixed,
       int heads, int reach) {
    const Tile tile = tiles[block_x()];
    if (tile.queries == 0) {
        return;
    }
    Shared& own = *reinterpret_cast<Shared*>(shared_memory);
    const int head = block_y(), warp = thread() >> 5, lane = thread() & 31;
    const int group = lane >> 2, column = 2 * (lane & 3);
    const long pitch = 3L * heads * SIDE;
    const element* row_queries = projected + tile.first_token * pitch + head * SIDE;
    const element* row_keys = row_queries + heads * SIDE;
    const element* row_values = row_keys + heads * SIDE;
    const long table = static_cast<long>(head) * 2 * reach * SIDE;
    const bool has_queries = ROWS * warp < tile.queries;

    fetch(own.queries, row_queries + tile.first_query * pitch, pitch, tile.length - tile.first_query);
    await_copies();
    sync_block();
    unsigned queries[STEPS][4];
    load_left(queries, own.queries, ROWS * warp);

    float mix[8][4] = {};
    float largest[2] = {minus_infinity(), minus_infinity()}, total[2] = {};
    for (int first_key = 0; first_key < tile.length; first_key += SIDE) {
        const int keys = tile.length - first_key;  // in this tile, if fewer than SIDE
        sync_block();
        fetch(own.keys, row_keys + first_key * pitch, pitch, keys);
        fetch(own.values, row_values + first_key * pitch, pitch, keys);
        const int first_distance = tile.first_query - first_key - (SIDE - 1);
        if (keys_at != nullptr) {
            fetch_distances(own.keys_at, keys_at + table, first_distance, reach);
        }
        if (queries_at != nullptr) {
            fetch_distances(own.queries_at, queries_at + table, first_distance, reach);
        }
        await_copies();
        sync_block();

        float scores[8][4] = {};
        float* terms = own.terms + ROWS * warp * PITCH;
        if (has_queries) {
#pragma unroll
            for (int pair = 0; pair < 4; ++pair) {
                float(&two)[2][4] = *reinterpret_cast<float(*)[2][4]>(&scores[2 * pair]);
                multiply_rows(two, queries, own.keys, 16 * pair);
            }
            if (keys_at != nullptr) {
                // Query i of this warp and key j are i - j + SIDE - 1 places from this first distance.
                write_terms(terms, queries, own.keys_at, ROWS * warp);
                sync_warp();
#pragma unroll
                for (int place = 0; place < 32; ++place) {
                    const int i = group + 8 * ((place >> 1) & 1), j = 8 * (place >> 2) + column + (place & 1);
                    scores[place >> 2][place & 3] += terms[i * PITCH + i - j + SIDE - 1];
                }
                sync_warp();
            }
        }
        if (queries_at != nullptr) {
            if (ROWS * warp < keys) {
                // Key j of this warp and query i are i - j + ROWS - 1 places from this first distance.
                unsigned left[STEPS][4];
                load_left(left, own.keys, ROWS * warp);
                write_terms(terms, left, own.queries_at, SIDE - ROWS - ROWS * warp);
            }
            sync_block();
            if (has_queries) {
#pragma unroll
                for (int place = 0; place < 32; ++place) {
                    const int i = ROWS * warp + group + 8 * ((place >> 1) & 1);
                    const int j = 8 * (place >> 2) + column + (place & 1);
                    scores[place >> 2][place & 3] += own.terms[j * PITCH + i - (j & (ROWS - 1)) + ROWS - 1];
                }
            }
        }
        if (!has_queries) {
            continue;
        }

        float now[2] = {largest[0], largest[1]};
#pragma unroll
        for (int place = 0; place < 32; ++place) {
            const int j = 8 * (place >> 2) + column + (place & 1), half = (place >> 1) & 1;
            float& score = scores[place >> 2][place & 3];
            score = j < keys ? score : minus_infinity();
            now[half] = fmaxf(now[half], score);
        }
        constexpr float LOG2_E = 1.44269504088896f;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            now[half] = fmaxf(now[half], shuffled(now[half], 1));
            now[half] = fmaxf(now[half], shuffled(now[half], 2));
            const float shrink = power_of_two((largest[half] - now[half]) * LOG2_E);
            largest[half] = now[half];
            total[half] *= shrink;
#pragma unroll
            for (int block = 0; block < 8; ++block) {
                mix[block][2 * half] *= shrink;
                mix[block][2 * half + 1] *= shrink;
            }
        }
#pragma unroll
        for (int place = 0; place < 32; ++place) {
            const int half = (place >> 1) & 1;
            float& score = scores[place >> 2][place & 3];
            score = power_of_two((score - now[half]) * LOG2_E);
            total[half] += score;
        }
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            const float(&one)[4] = scores[2 * step];
            const float(&other)[4] = scores[2 * step + 1];
            const unsigned weights[4] = {
                packed(one[0], one[1]), packed(one[2], one[3]), packed(other[0], other[1]), packed(other[2], other[3])};
#pragma unroll
            for (int pair = 0; pair < 4; ++pair) {
                unsigned right[4];
                load_matrices_transposed(right, piece(own.values, 16 * step + (lane & 15), 2 * pair + (lane >> 4)));
                multiply(mix[2 * pair], weights, right[0], right[1]);
                multiply(mix[2 * pair + 1], weights, right[2], right[3]);
            }
        }
    }
    if (!has_queries) {
        return;
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        total[half] += shuffled(total[half], 1);
        total[half] += shuffled(total[half], 2);
        const int query = ROWS * warp + group + 8 * half;
        if (query >= tile.queries) {
            continue;
        }
        element* place = mixed + (static_cast<long>(tile.output + query) * heads + head) * SIDE + column;
        for (int block = 0; block < 8; ++block) {
            const float* pair = &mix[block][2 * half];
            *reinterpret_cast<unsigned*>(place + 8 * block) = packed(pair[0] / total[half], pair[1] / total[half]);
        }
    }
}
