#include <nvfp4.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <nvfp4/gemm.hpp>
#include <nvfp4/kernels.hpp>
#include <nvfp4/testing.hpp>
#include <nvfp4/version.hpp>

struct nvfp4_tensor {
  nvfp4::BlockScaledTensor value;
};

namespace {

using namespace nvfp4;

/// Of a fixed size, so that a report of no memory needs none.
thread_local char message[2048];

void say(const char* function, const char* text) {
  std::snprintf(message, sizeof message, "%s%s%s", function, *function ? ": " : "", text);
}

/// The status that `body` returns; whatever it throws becomes NVFP4_INVALID and a message.
template <class Body>
int guarded(const char* function, Body body) {
  message[0] = '\0';
  try {
    return body();
  } catch (const std::bad_alloc&) {
    say(function, "out of memory");
  } catch (const std::length_error&) {
    say(function, "out of memory");
  } catch (const std::exception& error) {
    say(function, error.what());
  } catch (...) {
    say(function, "an exception of no known type");
  }
  return NVFP4_INVALID;
}

[[noreturn]] void refuse(const std::string& text) { throw std::invalid_argument(text); }

template <class T>
T& present(T* pointer, const char* name) {
  if (!pointer) refuse(std::string(name) + " is null");
  return *pointer;
}

void expect_extent(std::int64_t rows, std::int64_t cols) {
  if (rows < 1 || cols < 1) refuse("expected 1 or more rows and columns");
  if (rows > std::numeric_limits<std::int64_t>::max() / 64 / cols) refuse("expected fewer rows and columns");
}

template <class T>
T enumerator(int value, int count, const char* name) {
  if (value < 0 || value >= count)
    refuse(std::string(name) + ": expected 0 to " + std::to_string(count - 1) + ", found " +
           std::to_string(value));
  return static_cast<T>(value);
}

ScaleLayout layout_of(int value) {
  return enumerator<ScaleLayout>(value, static_cast<int>(scale_layouts().size()), "layout");
}

/// The caller's struct, and the defaults of what it was compiled too early to know; refused where it knows more.
template <class T>
T or_defaults(const T* given, T defaults, const char* name) {
  if (!given) return defaults;
  if (given->size < sizeof given->size || given->size > sizeof(T))
    refuse(std::string(name) + ".size: expected " + std::to_string(sizeof(T)) + ", found " +
           std::to_string(given->size));
  std::memcpy(&defaults, given, given->size);
  return defaults;
}

void expect_room(const float* values, std::size_t count, std::int64_t expected) {
  present(values, "values");
  if (count != static_cast<std::size_t>(expected))
    refuse("count: expected " + std::to_string(expected) + ", found " + std::to_string(count));
}

MatrixView view_of(const nvfp4_matrix& m) {
  expect_extent(m.rows, m.cols);
  return {&present(static_cast<const char*>(m.data), "data"), m.rows, m.cols,
          enumerator<Dtype>(m.dtype, 3, "dtype")};
}

Stochastic stochastic_of(const nvfp4_options& o) {
  Stochastic s{.rule = enumerator<SrRule>(o.sr_rule, 2, "options.sr_rule"),
               .map = enumerator<ByteMap>(o.byte_map, 2, "options.byte_map"),
               .random = {.seed = o.seed,
                          .stream = o.stream,
                          .rounds = o.random_rounds,
                          .row = o.random_row,
                          .col = o.random_col}};
  if (o.random_words) s.from_caller = true, s.words = {o.random_words, o.random_count};
  return s;
}

QuantizeSpec spec_of(const nvfp4_options* given) {
  const nvfp4_options o = or_defaults(given, nvfp4_options NVFP4_OPTIONS, "options");
  const char* dialect = &present(o.dialect, "options.dialect");
  QuantizeSpec spec{.dialect = find_dialect(dialect), .block = {o.block_rows, o.block_cols}};
  if (!spec.dialect) refuse("no dialect '" + std::string(dialect) + "'");
  spec.tensor_scale = enumerator<TensorScale>(o.tensor_scale, 2, "options.tensor_scale");
  if (o.tensor_amax) spec.amax = *o.tensor_amax;
  if (o.stochastic) spec.stochastic = stochastic_of(o);
  spec.four_over_six = {o.e4m3_max, enumerator<Select>(o.select, 2, "options.select"), o.error_fast != 0};
  validate(spec);
  return spec;
}

const Accumulation& accumulation_of(const char* name, const BlockScaledTensor& a) {
  if (!name) return default_accumulation(*a.spec.dialect);
  if (const Accumulation* acc = find_accumulation(name)) return *acc;
  refuse("options.accumulate: no model '" + std::string(name) + "'");
}

GemmSpec spec_of(const nvfp4_gemm_options& o, const BlockScaledTensor& a, const BlockScaledTensor& b,
                 const Accumulation& acc) {
  GemmSpec spec{.cuts = split_k(a, acc, o.split_k), .beta = o.beta};
  if (!o.no_globals) spec.scaling = output_scaling(a, b);
  if (o.alpha) spec.scaling.alpha = *o.alpha;
  if (o.bias) spec.bias.assign(o.bias, o.bias + o.bias_count);
  if (o.c) spec.c = converted(view_of(*o.c), Dtype::fp32, cpu_kernels());
  return spec;
}

testing::CopyToHost copy_by(int (*copy)(void*, const void*, size_t)) {
  if (!copy) return testing::copy_from_host;
  return [copy](void* host, const void* from, std::size_t size) {
    if (const int error = copy(host, from, size)) refuse("copy_to_host returned " + std::to_string(error));
  };
}

testing::Result result_of(const nvfp4_bytes& given) {
  const nvfp4_bytes b = or_defaults(&given, nvfp4_bytes NVFP4_BYTES, "bytes");
  testing::Result result{.layout = layout_of(b.layout), .copy = copy_by(b.copy_to_host)};
  if (b.codes) result.codes = {b.codes, b.codes_size};
  if (b.scales) result.scales = {b.scales, b.scales_size};
  if (b.global) result.global = {b.global, b.global_count};
  if (b.any_padding) result.padding = testing::Padding::anything;
  return result;
}

template <class T>
std::vector<T> fetch(std::span<const T> from, std::size_t expected, const char* name,
                     const testing::CopyToHost& copy) {
  if (from.size() != expected)
    refuse(std::string(name) + ": expected " + std::to_string(expected) + ", found " +
           std::to_string(from.size()));
  std::vector<T> host(expected);
  if (expected) copy(host.data(), from.data(), from.size_bytes());
  return host;
}

BlockScaledTensor tensor_of(const testing::Result& bytes, std::int64_t rows, std::int64_t cols,
                            const QuantizeSpec& spec) {
  BlockScaledTensor t;
  t.spec = spec;
  t.rows = rows;
  t.cols = cols;
  const ScaleExtent extent = padded(bytes.layout, rows, t.blocks_per_row());
  const bool per_row = spec.tensor_scale == TensorScale::row,
             single = spec.dialect->global_is == GlobalIs::none;
  const auto globals = static_cast<std::size_t>(single ? 0 : per_row ? rows * t.globals_per_row() : 1);
  t.codes = fetch(bytes.codes, static_cast<std::size_t>(rows * t.row_bytes()), "codes_size", bytes.copy);
  t.scales = from_layout(
      bytes.layout,
      fetch(bytes.scales, static_cast<std::size_t>(extent.rows * extent.cols), "scales_size", bytes.copy),
      rows, t.blocks_per_row());
  t.global = fetch(bytes.global, globals, "global_count", bytes.copy);
  return t;
}

/// Makes *out only of what was made in full.
template <class Make>
int give(nvfp4_tensor** out, Make make) {
  present(out, "tensor") = nullptr;
  *out = new nvfp4_tensor{make()};
  return NVFP4_OK;
}

template <class T>
const T* memory_of(const std::vector<T>* values, size_t* size) {
  if (size) *size = values ? values->size() : 0;
  return values && !values->empty() ? values->data() : nullptr;
}

}  // namespace

const char* nvfp4_version(void) { return NVFP4_VERSION; }

const char* nvfp4_message(void) { return message; }

int nvfp4_quantize(const nvfp4_matrix* input, const nvfp4_options* options, nvfp4_tensor** tensor) {
  return guarded(__func__, [&] {
    return give(tensor, [&] {
      return cpu_kernels().quantize(view_of(present(input, "input")), spec_of(options), {});
    });
  });
}

int nvfp4_from_bytes(const nvfp4_bytes* bytes, int64_t rows, int64_t cols, const nvfp4_options* options,
                     nvfp4_tensor** tensor) {
  return guarded(__func__, [&] {
    return give(tensor, [&] {
      expect_extent(rows, cols);
      return tensor_of(result_of(present(bytes, "bytes")), rows, cols, spec_of(options));
    });
  });
}

int nvfp4_dequantize(const nvfp4_tensor* tensor, float* values, size_t count) {
  return guarded(__func__, [&] {
    const BlockScaledTensor& t = present(tensor, "tensor").value;
    expect_room(values, count, t.rows * t.cols);
    std::ranges::copy_n(cpu_kernels().dequantize(t).f32(), t.rows * t.cols, values);
    return NVFP4_OK;
  });
}

int nvfp4_gemm(const nvfp4_tensor* a_tensor, const nvfp4_tensor* b_tensor, const nvfp4_gemm_options* options,
               float* values, size_t count) {
  return guarded(__func__, [&] {
    const BlockScaledTensor &a = present(a_tensor, "a").value, &b = present(b_tensor, "b").value;
    const nvfp4_gemm_options o = or_defaults(options, nvfp4_gemm_options NVFP4_GEMM_OPTIONS, "options");
    const Accumulation& acc = accumulation_of(o.accumulate, a);
    expect_room(values, count, a.rows * b.rows);
    std::ranges::copy_n(gemm(a, b, acc, spec_of(o, a, b, acc), cpu_kernels()).f32(), a.rows * b.rows, values);
    return NVFP4_OK;
  });
}

int nvfp4_compare(const nvfp4_bytes* actual, const nvfp4_tensor* expected, const nvfp4_matrix* input) {
  return guarded(__func__, [&] {
    const auto report =
        testing::compare(result_of(present(actual, "actual")), present(expected, "expected").value,
                         input ? view_of(*input) : MatrixView{});
    if (report.equal()) return NVFP4_OK;
    say("", report.message.c_str());
    return NVFP4_DIFFERS;
  });
}

const uint8_t* nvfp4_codes(const nvfp4_tensor* tensor, size_t* size) {
  return memory_of(tensor ? &tensor->value.codes : nullptr, size);
}

const uint8_t* nvfp4_scales(const nvfp4_tensor* tensor, size_t* size) {
  return memory_of(tensor ? &tensor->value.scales : nullptr, size);
}

const float* nvfp4_global(const nvfp4_tensor* tensor, size_t* count) {
  return memory_of(tensor ? &tensor->value.global : nullptr, count);
}

int nvfp4_scales_in(const nvfp4_tensor* tensor, int layout, uint8_t* scales, size_t* size) {
  return guarded(__func__, [&] {
    const BlockScaledTensor& t = present(tensor, "tensor").value;
    const auto bytes = to_layout(layout_of(layout), t.scales, t.rows, t.blocks_per_row());
    const std::size_t room = std::exchange(present(size, "size"), bytes.size());
    if (scales && room != bytes.size())
      refuse("size: expected " + std::to_string(bytes.size()) + ", found " + std::to_string(room));
    if (scales) std::ranges::copy(bytes, scales);
    return NVFP4_OK;
  });
}

void nvfp4_free(nvfp4_tensor* tensor) { delete tensor; }
