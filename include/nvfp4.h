#ifndef NVFP4_H
#define NVFP4_H
#include <stddef.h>
#include <stdint.h>

/* The C interface: quantize, dequantize, multiply, compare. Stable: nothing is removed or reordered; a struct grows at
   its end alone, never into padding, after its `size` says how much of it the caller knows. Any thread may call; no
   exception crosses.

   Functions return NVFP4_OK, NVFP4_DIFFERS or NVFP4_INVALID, the program's exit codes 0, 1 and 2. */
#ifdef __cplusplus
extern "C" {
#endif

enum { NVFP4_OK = 0, NVFP4_DIFFERS = 1, NVFP4_INVALID = 2 };
enum { NVFP4_FP32 = 0, NVFP4_BF16 = 1, NVFP4_FP16 = 2 };
enum { NVFP4_LAYOUT_LINEAR = 0, NVFP4_LAYOUT_128X4 = 1, NVFP4_LAYOUT_8X4 = 2, NVFP4_LAYOUT_4_TOKEN = 3 };
enum { NVFP4_SCALE_PER_TENSOR = 0, NVFP4_SCALE_PER_ROW = 1 };
enum { NVFP4_SELECT_MAE = 0, NVFP4_SELECT_MSE = 1 };
enum { NVFP4_SR_CARRY = 0, NVFP4_SR_TE_SOFTWARE = 1 };
enum { NVFP4_BYTE_MAP_HW = 0, NVFP4_BYTE_MAP_TE = 1 };

/* A quantized matrix, owned by whoever received it, until nvfp4_free. */
typedef struct nvfp4_tensor nvfp4_tensor;

/* Row-major, contiguous, on the host. */
typedef struct nvfp4_matrix {
  const void* data;
  int64_t rows, cols;
  int dtype;
} nvfp4_matrix;

/* Begin with NVFP4_OPTIONS, then set what differs. */
typedef struct nvfp4_options {
  size_t size;         /* sizeof(nvfp4_options) */
  const char* dialect; /* "te", "te_ref", ...: see `nvfp4 dialects` */
  int block_rows, block_cols;
  int tensor_scale;
  const float* tensor_amax;       /* replaces the input's own; null: its own */
  int e4m3_max;                   /* of the four-over-six dialects, as the next two: 448 or 256 */
  int select;                     /* by which error a block chooses between 4 and 6 */
  int error_fast;                 /* not 0: errors in the tensor's scaled units */
  uint64_t seed, stream;          /* from here on of stochastic rounding: the bits of nvfp4/random.hpp */
  int64_t random_row, random_col; /* where a shard stands in its tensor; the column is a multiple of 16 */
  const uint32_t* random_words;   /* used instead: rows x ceil(cols / 16) * 4, row-major */
  size_t random_count;
  int stochastic;                       /* not 0: elements are rounded by random bits */
  int sr_rule, byte_map, random_rounds; /* NVFP4_SR_...; NVFP4_BYTE_MAP_...; of Philox, 7 or 10 */
} nvfp4_options;
#define NVFP4_OPTIONS \
  { sizeof(nvfp4_options), "te", 1, 16, 0, NULL, 448, 0, 0, 0, 0, 0, 0, NULL, 0, 0, 0, 0, 10 }

/* Somebody's bytes. Begin with NVFP4_BYTES. A null pointer: not given. */
typedef struct nvfp4_bytes {
  size_t size;          /* sizeof(nvfp4_bytes) */
  const uint8_t* codes; /* two a byte, low nibble first, rows padded to whole blocks */
  size_t codes_size;
  const uint8_t* scales; /* in `layout`, its padding included */
  size_t scales_size;
  const float* global;
  size_t global_count;
  int layout;
  int any_padding; /* not 0: padding of the scales may hold anything, not only 0 */
  /* Null where the bytes lie on the host; else copies `size` bytes there, such as by cudaMemcpy, and returns 0. */
  int (*copy_to_host)(void* host, const void* from, size_t size);
} nvfp4_bytes;
#define NVFP4_BYTES \
  { sizeof(nvfp4_bytes), NULL, 0, NULL, 0, NULL, 0, NVFP4_LAYOUT_LINEAR, 0, NULL }

/* What a product does beside multiplying: y = alpha * (a * transpose(b)); y += bias; y += beta * c. Begin with
   NVFP4_GEMM_OPTIONS. */
typedef struct nvfp4_gemm_options {
  size_t size;            /* sizeof(nvfp4_gemm_options) */
  const char* accumulate; /* a name of `nvfp4 gemm --list-models`; null: the dialect's own */
  const float* alpha;     /* replaces the dialect's own; null: that */
  const nvfp4_matrix* c;  /* null: none */
  const float* bias;      /* one a column; null: none */
  size_t bias_count;
  int64_t split_k; /* ranges of K with accumulators of their own */
  float beta;
  int no_globals; /* not 0: the second-level scales are left out */
} nvfp4_gemm_options;
#define NVFP4_GEMM_OPTIONS \
  { sizeof(nvfp4_gemm_options), NULL, NULL, NULL, NULL, 0, 1, 1, 0 }

const char* nvfp4_version(void); /* "0.1.0" */

/* What this thread's last call said: after NVFP4_INVALID what was expected, after NVFP4_DIFFERS the difference, else
   "". Valid until the thread's next call. */
const char* nvfp4_message(void);

/* Null options are the defaults of NVFP4_OPTIONS. On failure *tensor is null. */
int nvfp4_quantize(const nvfp4_matrix* input, const nvfp4_options* options, nvfp4_tensor** tensor);

/* A tensor of bytes that another program made; all three arrays are needed where the dialect has a global. */
int nvfp4_from_bytes(const nvfp4_bytes* bytes, int64_t rows, int64_t cols, const nvfp4_options* options,
                     nvfp4_tensor** tensor);

/* FP32 values, rows x cols of them, by the dialect's own rule; `count` is how many `values` has room for. */
int nvfp4_dequantize(const nvfp4_tensor* tensor, float* values, size_t count);

/* a (M x K) * transpose(b (N x K)) as a tensor core sums it, bit for bit, in FP32, M x N row-major; `count` is how many
   `values` has room for. Null options are the defaults of NVFP4_GEMM_OPTIONS. nvfp4/gemm.hpp has each rounding. */
int nvfp4_gemm(const nvfp4_tensor* a, const nvfp4_tensor* b, const nvfp4_gemm_options* options, float* values,
               size_t count);

/* NVFP4_DIFFERS, with the message of nvfp4::testing::compare, where a byte differs. `input`, which may be null, is
   the matrix that was quantized: with it the message ends in the `nvfp4 explain` line to run. */
int nvfp4_compare(const nvfp4_bytes* actual, const nvfp4_tensor* expected, const nvfp4_matrix* input);

/* The tensor's own memory: codes, linear scales, global (null for a dialect without). */
const uint8_t* nvfp4_codes(const nvfp4_tensor* tensor, size_t* size);
const uint8_t* nvfp4_scales(const nvfp4_tensor* tensor, size_t* size);
const float* nvfp4_global(const nvfp4_tensor* tensor, size_t* count);

/* The scales in a layout, padding 0. With `scales` null only *size is set; else *size is how many bytes it has room
   for, exactly as many as the layout needs. */
int nvfp4_scales_in(const nvfp4_tensor* tensor, int layout, uint8_t* scales, size_t* size);

void nvfp4_free(nvfp4_tensor* tensor); /* null is allowed */

#ifdef __cplusplus
}
#endif
#endif
