#include "tests/c_api.h"

#include <math.h>
#include <nvfp4.h>
#include <stddef.h>
#include <string.h>

#define TEXT_OF(line) #line
#define LINE(line) TEXT_OF(line)
#define HOLDS(condition) \
  if (!(condition)) return "c_api.c:" LINE(__LINE__) ": " #condition

enum { rows = 3, cols = 20 };
static float x[rows * cols];
static const nvfp4_matrix input = {x, rows, cols, NVFP4_FP32};

static void fill(void) {
  int i;
  for (i = 0; i < rows * cols; ++i) x[i] = 0.37f * (float)(i % 29 - 14);
}

static int says(const char* part) { return strstr(nvfp4_message(), part) != NULL; }

/* The tensor's own bytes as somebody's. */
static nvfp4_bytes bytes_of(const nvfp4_tensor* tensor) {
  nvfp4_bytes bytes = NVFP4_BYTES;
  bytes.codes = nvfp4_codes(tensor, &bytes.codes_size);
  bytes.scales = nvfp4_scales(tensor, &bytes.scales_size);
  bytes.global = nvfp4_global(tensor, &bytes.global_count);
  return bytes;
}

const char* c_quantizes_and_dequantizes(void) {
  float values[rows * cols];
  nvfp4_tensor* tensor = NULL;
  int i;
  fill();
  HOLDS(nvfp4_quantize(&input, NULL, &tensor) == NVFP4_OK);
  HOLDS(strcmp(nvfp4_message(), "") == 0);
  HOLDS(bytes_of(tensor).codes_size == rows * 16);
  HOLDS(bytes_of(tensor).scales_size == rows * 2);
  HOLDS(bytes_of(tensor).global_count == 1);
  HOLDS(*nvfp4_global(tensor, NULL) == 0.37f * 14); /* te keeps the amax */
  HOLDS(nvfp4_dequantize(tensor, values, rows * cols) == NVFP4_OK);
  for (i = 0; i < rows * cols; ++i) HOLDS(fabsf(values[i] - x[i]) <= 0.37f * 14 / 6); /* half of 4 to 6 */
  nvfp4_free(tensor);
  HOLDS(strchr(nvfp4_version(), '.') != NULL);
  return NULL;
}

const char* c_options_reach_the_bytes(void) {
  const float amax = 100;
  nvfp4_options options = NVFP4_OPTIONS;
  nvfp4_tensor *plain, *other;
  nvfp4_bytes bytes;
  fill();
  HOLDS(nvfp4_quantize(&input, &options, &plain) == NVFP4_OK);
  options.tensor_amax = &amax;
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_OK);
  HOLDS(*nvfp4_global(other, NULL) == 100);
  nvfp4_free(other);
  options.tensor_amax = NULL;
  options.tensor_scale = NVFP4_SCALE_PER_ROW;
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_OK);
  HOLDS(bytes_of(other).global_count == rows);
  nvfp4_free(other);
  options.tensor_scale = NVFP4_SCALE_PER_TENSOR;
  options.block_rows = 16;
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_OK);
  bytes = bytes_of(other);
  HOLDS(memcmp(bytes.scales, bytes.scales + 2, 2) == 0);
  HOLDS(nvfp4_compare(&bytes, plain, &input) == NVFP4_DIFFERS);
  nvfp4_free(other);
  nvfp4_free(plain);
  return NULL;
}

const char* c_four_over_six(void) {
  nvfp4_options options = NVFP4_OPTIONS;
  nvfp4_tensor *of_448, *of_256;
  fill();
  options.dialect = "te_4over6";
  HOLDS(nvfp4_quantize(&input, &options, &of_448) == NVFP4_OK);
  options.e4m3_max = 256;
  options.select = NVFP4_SELECT_MSE;
  options.error_fast = 1;
  HOLDS(nvfp4_quantize(&input, &options, &of_256) == NVFP4_OK);
  HOLDS(memcmp(nvfp4_scales(of_448, NULL), nvfp4_scales(of_256, NULL), rows * 2) != 0);
  nvfp4_free(of_256);
  options.size =
      (size_t)((char*)&options.e4m3_max - (char*)&options); /* a caller who knows no 4over6 options */
  HOLDS(nvfp4_quantize(&input, &options, &of_256) == NVFP4_OK);
  HOLDS(memcmp(nvfp4_scales(of_448, NULL), nvfp4_scales(of_256, NULL), rows * 2) == 0);
  nvfp4_free(of_256);
  nvfp4_free(of_448);
  options.size = sizeof options;
  options.select = 2;
  HOLDS(nvfp4_quantize(&input, &options, &of_256) == NVFP4_INVALID && says("options.select"));
  return NULL;
}

const char* c_rounds_stochastically(void) {
  enum { old_size = offsetof(nvfp4_options, seed), words = rows * 8 };
  nvfp4_options options = NVFP4_OPTIONS;
  uint32_t random[words] = {0};
  nvfp4_tensor *plain, *seeded, *other;
  fill();
  HOLDS(nvfp4_quantize(&input, &options, &plain) == NVFP4_OK);
  options.stochastic = 1;
  options.seed = 7;
  HOLDS(nvfp4_quantize(&input, &options, &seeded) == NVFP4_OK);
  HOLDS(memcmp(nvfp4_codes(plain, NULL), nvfp4_codes(seeded, NULL), rows * 16) != 0);
  HOLDS(memcmp(nvfp4_scales(plain, NULL), nvfp4_scales(seeded, NULL), rows * 2) == 0);
  options.stream = 1;
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_OK);
  HOLDS(memcmp(nvfp4_codes(other, NULL), nvfp4_codes(seeded, NULL), rows * 16) != 0);
  nvfp4_free(other);

  options.size = old_size; /* a caller who knows no random bits: what follows is not read */
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_OK);
  HOLDS(memcmp(nvfp4_codes(other, NULL), nvfp4_codes(plain, NULL), rows * 16) == 0);
  nvfp4_free(other);
  options.size = sizeof options;

  options.random_words = random; /* all zero: towards zero */
  options.random_count = words;
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_OK);
  HOLDS(memcmp(nvfp4_codes(other, NULL), nvfp4_codes(seeded, NULL), rows * 16) != 0);
  nvfp4_free(other);
  options.random_count = words - 1;
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_INVALID &&
        says("expected 24 random words, found 23"));
  options.random_words = NULL;
  options.random_rounds = 8;
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_INVALID && says("7 or 10 rounds"));
  options.random_rounds = 10;
  options.sr_rule = 2;
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_INVALID &&
        says("options.sr_rule: expected 0 to 1"));
  options.sr_rule = NVFP4_SR_CARRY;
  options.byte_map = -1;
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_INVALID &&
        says("options.byte_map: expected 0 to 1"));
  options.byte_map = NVFP4_BYTE_MAP_TE;
  options.dialect = "ggml";
  HOLDS(nvfp4_quantize(&input, &options, &other) == NVFP4_INVALID && says("ggml has no stochastic rounding"));
  nvfp4_free(plain);
  nvfp4_free(seeded);
  return NULL;
}

const char* c_multiplies(void) {
  const float two = 2, bias[rows] = {1, 2, 3};
  float plain[rows * rows], other[rows * rows], addend[rows * rows];
  const nvfp4_matrix c = {addend, rows, rows, NVFP4_FP32};
  nvfp4_gemm_options options = NVFP4_GEMM_OPTIONS;
  nvfp4_tensor* a;
  int i, j;
  fill();
  for (i = 0; i < rows * rows; ++i) addend[i] = (float)(i * i);
  HOLDS(nvfp4_quantize(&input, NULL, &a) == NVFP4_OK);
  HOLDS(nvfp4_gemm(a, a, NULL, plain, rows * rows) == NVFP4_OK);
  for (i = 0; i < rows; ++i)
    for (j = 0; j < rows; ++j) HOLDS(plain[i * rows + j] == plain[j * rows + i]);
  HOLDS(plain[0] > 0);

  options.accumulate = "exact";
  options.alpha = &two;
  options.no_globals = 1;
  HOLDS(nvfp4_gemm(a, a, &options, plain, rows * rows) == NVFP4_OK);
  options.alpha = NULL;
  HOLDS(nvfp4_gemm(a, a, &options, other, rows * rows) == NVFP4_OK);
  for (i = 0; i < rows * rows; ++i) HOLDS(plain[i] == 2 * other[i]);
  options.alpha = &two;
  options.bias = bias;
  options.bias_count = rows;
  options.c = &c;
  options.beta = -0.5f;
  HOLDS(nvfp4_gemm(a, a, &options, other, rows * rows) == NVFP4_OK);
  for (i = 0; i < rows * rows; ++i) HOLDS(other[i] == plain[i] + bias[i % rows] + -0.5f * addend[i]);

  options.bias_count = 2;
  HOLDS(nvfp4_gemm(a, a, &options, other, rows * rows) == NVFP4_INVALID && says("nvfp4_gemm: "));
  options.bias = NULL;
  options.split_k = 0;
  HOLDS(nvfp4_gemm(a, a, &options, other, rows * rows) == NVFP4_INVALID);
  options.split_k = 1;
  options.accumulate = "nope";
  HOLDS(nvfp4_gemm(a, a, &options, other, rows * rows) == NVFP4_INVALID && says("no model 'nope'"));
  options.accumulate = "sm90_bf16";
  HOLDS(nvfp4_gemm(a, a, &options, other, rows * rows) == NVFP4_INVALID && says("sm90_bf16: takes no e2m1"));
  options.accumulate = NULL;
  options.size = 0;
  HOLDS(nvfp4_gemm(a, a, &options, other, rows * rows) == NVFP4_INVALID && says("options.size: expected "));
  HOLDS(nvfp4_gemm(a, a, NULL, other, 8) == NVFP4_INVALID && says("count: expected 9, found 8"));
  HOLDS(nvfp4_gemm(a, a, NULL, NULL, 9) == NVFP4_INVALID && says("values is null"));
  HOLDS(nvfp4_gemm(NULL, a, NULL, other, 9) == NVFP4_INVALID && says("a is null"));
  HOLDS(nvfp4_gemm(a, NULL, NULL, other, 9) == NVFP4_INVALID && says("b is null"));
  nvfp4_free(a);
  return NULL;
}

const char* c_compares(void) {
  nvfp4_tensor* expected;
  nvfp4_bytes actual;
  uint8_t codes[rows * 16], scales[512];
  size_t size = 0;
  fill();
  HOLDS(nvfp4_quantize(&input, NULL, &expected) == NVFP4_OK);
  HOLDS(nvfp4_scales_in(expected, NVFP4_LAYOUT_128X4, NULL, &size) == NVFP4_OK);
  HOLDS(size == sizeof scales);
  HOLDS(nvfp4_scales_in(expected, NVFP4_LAYOUT_128X4, scales, &size) == NVFP4_OK);
  actual = bytes_of(expected);
  actual.codes = memcpy(codes, actual.codes, sizeof codes);
  actual.scales = scales;
  actual.scales_size = sizeof scales;
  actual.layout = NVFP4_LAYOUT_128X4;
  HOLDS(nvfp4_compare(&actual, expected, &input) == NVFP4_OK);
  HOLDS(strcmp(nvfp4_message(), "") == 0);

  codes[17] ^= 0x20; /* element (1, 3) */
  HOLDS(nvfp4_compare(&actual, expected, &input) == NVFP4_DIFFERS);
  HOLDS(says("1 bytes differ: packed 1 of 48"));
  HOLDS(says("first: packed (1, 1), block (1, 0): expected 0x"));
  HOLDS(says("run: nvfp4 explain "));
  HOLDS(nvfp4_compare(&actual, expected, NULL) == NVFP4_DIFFERS);
  HOLDS(!says("run: "));
  codes[17] ^= 0x20;

  scales[511] = 1;
  HOLDS(nvfp4_compare(&actual, expected, &input) == NVFP4_DIFFERS);
  HOLDS(says("padding_only"));
  actual.any_padding = 1;
  HOLDS(nvfp4_compare(&actual, expected, &input) == NVFP4_OK);
  nvfp4_free(expected);
  return NULL;
}

static int refused;
static int copy_or_refuse(void* host, const void* from, size_t size) {
  if (!refused) memcpy(host, from, size);
  return refused;
}

const char* c_reads_device_memory(void) {
  nvfp4_tensor* expected;
  nvfp4_bytes actual;
  fill();
  HOLDS(nvfp4_quantize(&input, NULL, &expected) == NVFP4_OK);
  actual = bytes_of(expected);
  actual.copy_to_host = copy_or_refuse;
  refused = 0;
  HOLDS(nvfp4_compare(&actual, expected, &input) == NVFP4_OK);
  refused = 77;
  HOLDS(nvfp4_compare(&actual, expected, &input) == NVFP4_INVALID);
  HOLDS(says("nvfp4_compare: copy_to_host returned 77"));
  nvfp4_free(expected);
  return NULL;
}

const char* c_takes_bytes(void) {
  float values[rows * cols], again[rows * cols];
  uint8_t scales[32];
  size_t size = sizeof scales;
  nvfp4_tensor *tensor, *copy;
  nvfp4_bytes bytes;
  fill();
  HOLDS(nvfp4_quantize(&input, NULL, &tensor) == NVFP4_OK);
  bytes = bytes_of(tensor);
  HOLDS(nvfp4_scales_in(tensor, NVFP4_LAYOUT_8X4, scales, &size) == NVFP4_OK);
  bytes.scales = scales;
  bytes.scales_size = size;
  bytes.layout = NVFP4_LAYOUT_8X4;
  HOLDS(nvfp4_from_bytes(&bytes, rows, cols, NULL, &copy) == NVFP4_OK);
  HOLDS(nvfp4_dequantize(tensor, values, rows * cols) == NVFP4_OK);
  HOLDS(nvfp4_dequantize(copy, again, rows * cols) == NVFP4_OK);
  HOLDS(memcmp(values, again, sizeof values) == 0);
  nvfp4_free(copy);
  bytes.global_count = 0;
  HOLDS(nvfp4_from_bytes(&bytes, rows, cols, NULL, &copy) == NVFP4_INVALID);
  HOLDS(says("nvfp4_from_bytes: global_count: expected 1, found 0"));
  HOLDS(copy == NULL);
  nvfp4_free(tensor);
  return NULL;
}

const char* c_refuses(void) {
  const nvfp4_matrix empty = {x, 0, cols, NVFP4_FP32}, huge = {x, INT64_MAX, INT64_MAX, NVFP4_FP32},
                     typeless = {x, rows, cols, 3}, dataless = {NULL, rows, cols, NVFP4_FP32};
  nvfp4_options options = NVFP4_OPTIONS;
  nvfp4_bytes bytes = NVFP4_BYTES;
  nvfp4_tensor* tensor;
  float value;
  size_t size = 5;
  fill();
  HOLDS(nvfp4_quantize(NULL, NULL, &tensor) == NVFP4_INVALID);
  HOLDS(says("nvfp4_quantize: input is null"));
  HOLDS(tensor == NULL);
  HOLDS(nvfp4_quantize(&input, NULL, NULL) == NVFP4_INVALID);
  HOLDS(says("tensor is null"));
  HOLDS(nvfp4_quantize(&empty, NULL, &tensor) == NVFP4_INVALID);
  HOLDS(says("expected 1 or more rows and columns"));
  HOLDS(nvfp4_quantize(&huge, NULL, &tensor) == NVFP4_INVALID);
  HOLDS(says("expected fewer rows and columns"));
  HOLDS(nvfp4_quantize(&typeless, NULL, &tensor) == NVFP4_INVALID);
  HOLDS(says("dtype: expected 0 to 2, found 3"));
  HOLDS(nvfp4_quantize(&dataless, NULL, &tensor) == NVFP4_INVALID);
  HOLDS(says("data is null"));

  options.dialect = "nope";
  HOLDS(nvfp4_quantize(&input, &options, &tensor) == NVFP4_INVALID);
  HOLDS(says("no dialect 'nope'"));
  options.dialect = NULL;
  HOLDS(nvfp4_quantize(&input, &options, &tensor) == NVFP4_INVALID);
  HOLDS(says("options.dialect is null"));
  options.dialect = "te";
  options.block_cols = 17;
  HOLDS(nvfp4_quantize(&input, &options, &tensor) == NVFP4_INVALID);
  HOLDS(says("block shape"));
  options.block_cols = 16;
  options.tensor_scale = 2;
  HOLDS(nvfp4_quantize(&input, &options, &tensor) == NVFP4_INVALID);
  HOLDS(says("options.tensor_scale: expected 0 to 1, found 2"));
  options.size = 1000;
  HOLDS(nvfp4_quantize(&input, &options, &tensor) == NVFP4_INVALID);
  HOLDS(says("options.size: expected "));

  HOLDS(nvfp4_quantize(&input, NULL, &tensor) == NVFP4_OK);
  HOLDS(nvfp4_dequantize(tensor, &value, 1) == NVFP4_INVALID);
  HOLDS(says("count: expected 60, found 1"));
  HOLDS(nvfp4_dequantize(NULL, &value, 1) == NVFP4_INVALID);
  HOLDS(nvfp4_scales_in(tensor, NVFP4_LAYOUT_8X4, (uint8_t*)x, &size) == NVFP4_INVALID);
  HOLDS(says("size: expected 32, found 5"));
  HOLDS(nvfp4_scales_in(tensor, 4, NULL, &size) == NVFP4_INVALID);
  HOLDS(says("layout: expected 0 to 3, found 4"));
  bytes.size = 0;
  HOLDS(nvfp4_compare(&bytes, tensor, NULL) == NVFP4_INVALID);
  HOLDS(says("bytes.size: expected "));
  HOLDS(nvfp4_codes(NULL, &size) == NULL && size == 0);
  nvfp4_free(tensor);
  nvfp4_free(NULL);
  return NULL;
}
