#include "quantize.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "float_environment.hpp"
#include "hadamard.hpp"

namespace nvfp4::cpu {
namespace {

using isa::chunk;

/// Elements below which one thread is done before others have begun. Those that wait take a busy machine's cores.
constexpr std::int64_t worth_threads = 1 << 15;

const std::byte* element(MatrixView x, std::int64_t index) {
  return static_cast<const std::byte*>(x.data) + index * static_cast<std::int64_t>(size_of(x.dtype));
}

float widen(std::uint32_t bits, Dtype dtype) {
  if (dtype == Dtype::fp32) return std::bit_cast<float>(bits);
  if (dtype == Dtype::bf16) return std::bit_cast<float>(bits << 16);
  const auto exponent = static_cast<int>(bits >> 10);  // of an FP16 magnitude
  const auto mantissa = static_cast<float>(bits & 0x3FF);
  if (exponent == 31) return mantissa == 0 ? INFINITY : NAN;
  return exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
}

/// The largest |x| that is not NaN. Only where a NaN is known to be, so speed is no matter.
float amax_without_nan(MatrixView x, std::int64_t first, std::int64_t count) {
  float largest = 0;
  for (std::int64_t i = first; i < first + count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, element(x, i), size_of(x.dtype));
    const float value = widen(bits & (x.dtype == Dtype::fp32 ? 0x7FFFFFFF : 0x7FFF), x.dtype);
    if (value > largest) largest = value;
  }
  return largest;
}

/// max |x| of `count` elements from `first` by one thread; NaN by the dialect's rule.
float amax_of(float largest, MatrixView x, const Dialect& dialect, std::int64_t first, std::int64_t count) {
  if (!std::isnan(largest)) return largest;
  return dialect.nan_in_tensor_amax ? std::bit_cast<float>(0x7FC00000u) : amax_without_nan(x, first, count);
}

/// Of each row, or of each `width` columns of it.
std::vector<float> row_amaxes(const isa::Table& isa, MatrixView x, const Dialect& dialect, std::int64_t width,
                              std::int64_t parts) {
  std::vector<float> amaxes(static_cast<std::size_t>(x.rows * parts));
  const auto bits_of = isa.amax_bits[static_cast<int>(x.dtype)];
#pragma omp parallel if (x.rows * x.cols >= worth_threads)
  {
    const FloatEnvironment fenced;  // maxima of subnormals, too
#pragma omp for schedule(static)
    for (std::int64_t n = 0; n < x.rows * parts; ++n) {
      const std::int64_t col = n % parts * width, first = n / parts * x.cols + col;
      const std::int64_t count = std::min(width, x.cols - col);
      const std::uint32_t bits = bits_of(element(x, first), count);
      amaxes[static_cast<std::size_t>(n)] = amax_of(widen(bits, x.dtype), x, dialect, first, count);
    }
  }
  return amaxes;
}

/// How the matrix is cut into tasks: bands of rows, each in chunks of columns.
struct Bands {
  std::int64_t rows, cols, band_rows, chunk_cols = chunk;
  std::int64_t bands() const { return (rows + band_rows - 1) / band_rows; }
  std::int64_t chunks() const { return (cols + chunk_cols - 1) / chunk_cols; }
};

/// Rows without padding that share block and tensor scales are one long row: no tails but one.
Bands cut(const BlockScaledTensor& t) {
  const bool one_scale = t.spec.tensor_scale == TensorScale::tensor;
  const bool by_row = t.spec.stochastic.has_value();  // random bits belong to rows
  const bool seamless = t.spec.block.rows == 1 && one_scale && t.cols % t.spec.block.cols == 0 && !by_row;
  if (seamless) return {1, t.rows * t.cols, 1};
  const std::int64_t outer = t.spec.dialect->outer_cols;
  return {t.rows, t.cols, t.spec.block.rows, outer ? outer : chunk};
}

/// A tensor at work: `amaxes` has one for all rows, or one each, or one for each chunk of each.
struct Work {
  MatrixView x;
  BlockScaledTensor& out;
  Bands bands;
  std::vector<float> amaxes;

  std::int64_t outer_cols() const { return out.spec.dialect->outer_cols; }
  isa::QuantizeTask task(std::int64_t index) const {
    const std::int64_t row = index / bands.chunks() * bands.band_rows,
                       col = index % bands.chunks() * bands.chunk_cols;
    const std::int64_t block_cols = out.spec.block.cols, blocks = (bands.cols + block_cols - 1) / block_cols;
    const std::int64_t block_bytes = block_cols * info(out.spec.dialect->element).bits / 8;
    return {
        .x = element(x, row * bands.cols + col),
        .x_stride = bands.cols,
        .rows = std::min(bands.band_rows, bands.rows - row),
        .cols = std::min(bands.chunk_cols, bands.cols - col),
        .amax = amaxes[amaxes.size() == 1 ? 0 : static_cast<std::size_t>(outer_cols() ? index : row)],
        .codes = out.codes.data() + (row * blocks + col / block_cols) * block_bytes,
        .codes_stride = blocks * block_bytes,
        .scales = out.scales.data() + row * blocks + col / block_cols,
        .scales_stride = blocks,
        .setting = setting(out.spec, x.dtype),
        .stochastic = out.spec.stochastic ? &*out.spec.stochastic : nullptr,
        .row = row,
        .block = col / 16,
        .words_per_row = (bands.cols + 15) / 16 * 4,
    };
  }
};

void prepare(BlockScaledTensor& out, MatrixView x, const QuantizeSpec& spec) {
  out.spec = spec;
  out.dtype = x.dtype;
  out.rows = x.rows;
  out.cols = x.cols;
  out.global.clear();
  out.codes.resize(static_cast<std::size_t>(out.rows * out.row_bytes()));
  out.scales.resize(static_cast<std::size_t>(out.rows * out.blocks_per_row()));
}

/// One for each scale of the second level; a single-level dialect reads none.
std::vector<float> amaxes_of(const isa::Table& isa, MatrixView x, const QuantizeSpec& spec) {
  const std::int64_t outer = spec.dialect->outer_cols;
  if (spec.tensor_scale == TensorScale::row)
    return row_amaxes(isa, x, *spec.dialect, outer ? outer : x.cols,
                      outer ? (x.cols + outer - 1) / outer : 1);
  if (spec.amax) return {*spec.amax};
  return {spec.dialect->global_is == GlobalIs::none ? 0 : amax(isa, x, *spec.dialect)};
}

/// What the dialect keeps of its second level.
void keep_global(const isa::Table& isa, BlockScaledTensor& out, std::span<const float> amaxes) {
  if (out.spec.dialect->global_is == GlobalIs::none) return;
  const FloatEnvironment fenced;
  for (const float amax : amaxes)
    out.global.push_back(isa.global[index_of(*out.spec.dialect)](amax, setting(out.spec, out.dtype)));
}

/// What the kernels of the transpose know. Everything else is quantized as a transposed matrix.
bool is_column_wise(const QuantizeSpec& spec) {
  return spec.dialect->element == Format::e2m1 && spec.block.rows == 1 &&
         spec.tensor_scale == TensorScale::tensor && !spec.stochastic;
}

/// A transpose at work, or that of a transform.
struct Transposed {
  MatrixView x;
  BlockScaledTensor& out;
  float amax;
  isa::Transform transform{};

  isa::QuantizeTask task(std::int64_t index) const;
  std::int64_t tasks() const;
};

/// Those of the same rows follow each other.
isa::QuantizeTask Transposed::task(std::int64_t index) const {
  const std::int64_t strips = (x.cols + isa::transposed_cols - 1) / isa::transposed_cols;
  const std::int64_t row = index / strips * isa::transposed_rows, col = index % strips * isa::transposed_cols;
  isa::Transform part = transform;
  if (part.exact) part.exact += row / 16 * part.exact_stride + col / isa::transform_cols;
  return {
      .x = element(x, row * x.cols + col),
      .x_stride = x.cols,
      .rows = std::min(isa::transposed_rows, x.rows - row),
      .cols = std::min(isa::transposed_cols, x.cols - col),
      .amax = amax,
      .codes = out.codes.data() + col * out.row_bytes() + row / 2,
      .codes_stride = out.row_bytes(),
      .scales = out.scales.data() + col * out.blocks_per_row() + row / out.spec.block.cols,
      .scales_stride = out.blocks_per_row(),
      .setting = setting(out.spec, x.dtype),
      .transform = part,
  };
}

std::int64_t Transposed::tasks() const {
  const auto parts = [](std::int64_t length, std::int64_t part) { return (length + part - 1) / part; };
  return parts(x.rows, isa::transposed_rows) * parts(x.cols, isa::transposed_cols);
}

BlockScaledTensor quantize(const isa::Table& isa, const Transposed& work) {
  const auto run = isa.quantize_transposed[index_of(*work.out.spec.dialect)][static_cast<int>(work.x.dtype)];
  const std::int64_t tasks = work.tasks();
#pragma omp parallel
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < tasks; ++i) run(work.task(i));
  }
  keep_global(isa, work.out, {&work.amax, 1});
  return std::move(work.out);
}

/// What the kernels of the transpose know of a transform before it.
bool is_column_wise(const isa::Table& isa, Dtype dtype, const Hadamard& h, const QuantizeSpec& spec) {
  return is_column_wise(spec) && h.along == Along::tokens && h.size == 16 && h.rounded &&
         h.sum != HadamardSum::exact && isa.transformed_amax[static_cast<int>(dtype)];
}

/// Which sums are exact, and the amax of all as rounded; none where the kernels do not know these numbers.
std::optional<float> survey(const isa::Table& isa, MatrixView x, const isa::Transform& transform) {
  const auto run = isa.transformed_amax[static_cast<int>(x.dtype)];
  float largest = 0;
  bool known = true, nan = false;
#pragma omp parallel reduction(max : largest) reduction(&& : known) reduction(|| : nan)
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < x.rows / 16; ++i) {
      isa::Transform part = transform;
      part.exact += i * part.exact_stride;
      float amax = largest;
      known = known && run({element(x, i * 16 * x.cols), x.cols, x.cols, part}, amax);
      nan = nan || std::isnan(amax);
      largest = std::max(largest, amax);
    }
  }
  if (!known) return std::nullopt;
  return nan ? NAN : largest;
}

/// The tensor's amax where it is that of the transform; else as in amaxes_of.
float amax_of(float transformed, const QuantizeSpec& spec) {
  if (spec.amax) return *spec.amax;
  return spec.dialect->global_is == GlobalIs::none ? 0 : transformed;
}

}  // namespace

float amax(const isa::Table& isa, MatrixView x, const Dialect& dialect) {
  constexpr std::int64_t piece = 1 << 16;
  const auto bits_of = isa.amax_bits[static_cast<int>(x.dtype)];
  const std::int64_t count = x.rows * x.cols;
  std::uint32_t bits = 0;
#pragma omp parallel reduction(max : bits) if (count > piece)
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t first = 0; first < count; first += piece)
      bits = std::max(bits, bits_of(element(x, first), std::min(piece, count - first)));
  }
  return amax_of(widen(bits, x.dtype), x, dialect, 0, count);
}

BlockScaledTensor quantize(const isa::Table& isa, MatrixView x, const QuantizeSpec& spec,
                           BlockScaledTensor out) {
  validate(spec);
  validate_words(spec, x.rows, x.cols);
  prepare(out, x, spec);
  const std::size_t dialect = index_of(*spec.dialect);
  const Work work{x, out, cut(out), amaxes_of(isa, x, spec)};
  const auto run = isa.quantize[dialect][static_cast<int>(x.dtype)];
  const std::int64_t tasks = work.bands.bands() * work.bands.chunks();
#pragma omp parallel if (x.rows * x.cols >= worth_threads)
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < tasks; ++i) run(work.task(i));
  }
  if (out.spec.stochastic) out.spec.stochastic->words = {};
  keep_global(isa, out, work.amaxes);
  return out;
}

BlockScaledTensor quantize_transposed(const isa::Table& isa, MatrixView x, const QuantizeSpec& spec,
                                      BlockScaledTensor out) {
  validate(spec);
  if (!is_column_wise(spec)) return quantize(isa, transpose(x).view(), spec, std::move(out));
  prepare(out, {nullptr, x.cols, x.rows, x.dtype}, spec);
  return quantize(isa, Transposed{x, out, amaxes_of(isa, x, spec).front()});
}

BlockScaledTensor quantize_transformed(const isa::Table& isa, MatrixView x, const Hadamard& h,
                                       const QuantizeSpec& spec, BlockScaledTensor out) {
  validate(spec);
  validate(h, x.rows, x.cols);
  if (is_column_wise(isa, x.dtype, h, spec)) {
    const Entries16 entries(h, x.dtype);
    const std::int64_t tiles = (x.cols + isa::transform_cols - 1) / isa::transform_cols;
    std::vector<std::uint16_t> exact(static_cast<std::size_t>(x.rows / 16 * tiles));
    const isa::Transform transform{entries.at, h.sum == HadamardSum::fma_chain, exact.data(), tiles};
    const std::optional<float> amax = survey(isa, x, transform);
    if (amax && (!std::isnan(*amax) || spec.dialect->nan_in_tensor_amax)) {
      prepare(out, {nullptr, x.cols, x.rows, x.dtype}, spec);
      return quantize(isa, Transposed{x, out, amax_of(*amax, spec), transform});
    }
  }
  const Matrix y = hadamard(isa, x, h);
  return h.along == Along::tokens ? quantize_transposed(isa, y.view(), spec, std::move(out))
                                  : quantize(isa, y.view(), spec, std::move(out));
}

Matrix dequantize(const isa::Table& isa, const BlockScaledTensor& t) {
  Matrix out(t.rows, t.cols);
  const auto run = isa.dequantize[index_of(*t.spec.dialect)];
  const std::int64_t parts = t.globals_per_row(), width = parts == 1 ? t.cols : t.spec.dialect->outer_cols;
#pragma omp parallel if (t.rows * t.cols >= worth_threads)
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t n = 0; n < t.rows * parts; ++n) {
      const std::int64_t i = n / parts, j = n % parts * width;
      run({
          .codes = t.codes.data() + i * t.row_bytes() + j / 2,
          .scales = t.scales.data() + i * t.blocks_per_row() + j / t.spec.block.cols,
          .cols = std::min(width, t.cols - j),
          .global = t.global_at(i, j),
          .out = out.f32() + i * t.cols + j,
          .setting = setting(t.spec, t.dtype),
      });
    }
  }
  return out;
}

}  // namespace nvfp4::cpu
