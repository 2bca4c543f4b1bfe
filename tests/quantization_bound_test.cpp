#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include <nvfp4/nvfp4.hpp>

#include "tests/exactly.hpp"
#include "tests/scattered.hpp"

/// What quantization changes, element by element and in products, against its bounds.
using namespace nvfp4;
using exact_integers::cpp_int, exact_integers::exactly;

namespace {

double decoded(std::uint32_t code, Format format) {
  float value = 0;
  cpu_kernels().decode({&code, 1}, format, {&value, 1});
  return value;
}

/// Codes of up to 16 bits.
double value_of(std::uint32_t code, Format format) {
  static std::map<Format, std::vector<double>> tables;
  std::vector<double>& table = tables[format];
  for (auto next = static_cast<std::uint32_t>(table.size()); next < 1u << info(format).bits; ++next)
    table.push_back(decoded(next, format));
  return table[code];
}

/// One element of a quantized tensor and of what it was made from.
struct Element {
  double x, code, scale, unit;
  std::uint8_t scale_byte;
  double error() const { return std::abs(x - code * scale * unit); }
};

double input(MatrixView x, std::int64_t i) {
  if (x.dtype == Dtype::fp32) return static_cast<const float*>(x.data)[i];
  return value_of(static_cast<const std::uint16_t*>(x.data)[i],
                  x.dtype == Dtype::bf16 ? Format::bf16 : Format::fp16);
}

/// The largest |x| of each block, row by row of blocks.
class BlockMaxima {
 public:
  BlockMaxima(MatrixView x, BlockShape block)
      : block_(block), across_((x.cols + block.cols - 1) / block.cols) {
    amax_.resize(static_cast<std::size_t>((x.rows + block.rows - 1) / block.rows * across_));
    for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
      double& amax = amax_[at(i / x.cols, i % x.cols)];
      amax = std::max(amax, std::abs(input(x, i)));
    }
  }
  double of(std::int64_t row, std::int64_t col) const { return amax_[at(row, col)]; }

 private:
  std::size_t at(std::int64_t row, std::int64_t col) const {
    return static_cast<std::size_t>(row / block_.rows * across_ + col / block_.cols);
  }
  BlockShape block_;
  std::int64_t across_;
  std::vector<double> amax_;
};

Element element(MatrixView x, const BlockScaledTensor& t, std::int64_t row, std::int64_t col) {
  const Dialect& d = *t.spec.dialect;
  const bool nibbles = info(d.element).bits == 4;
  const std::uint8_t byte =
      t.codes[static_cast<std::size_t>(row * t.row_bytes() + (nibbles ? col / 2 : col))];
  Element e{};
  e.x = input(x, row * x.cols + col);
  e.code = value_of(nibbles ? byte >> (col % 2 * 4) & 15u : byte, d.element);
  e.scale_byte = t.scales[static_cast<std::size_t>(row * t.blocks_per_row() + col / t.spec.block.cols)];
  e.scale = value_of(e.scale_byte, d.scale);
  e.unit = tensor_scale(t, row, col);
  return e;
}

struct Found {
  std::int64_t elements = 0, beyond_amax = 0, beyond_given = 0, beyond_scale = 0, beyond_tensor = 0;
  double worst = 0;  ///< the largest error over its bound from block amax and scale
};

Found held(MatrixView x, const QuantizeSpec& spec) {
  const BlockScaledTensor t = cpu_kernels().quantize(x, spec, {});
  const float amax = cpu_kernels().amax(x, *spec.dialect);
  const TensorBound whole = tensor_bound(spec, amax, x.dtype);
  const BlockMaxima maxima(x, spec.block);
  Found found;
  for (std::int64_t row = 0; row < x.rows; ++row)
    for (std::int64_t col = 0; col < x.cols; ++col) {
      const Element e = element(x, t, row, col);
      const double most = largest_amax(spec, e.scale_byte, x.dtype) * e.unit;
      const double given = element_bound(spec, maxima.of(row, col), e.scale * e.unit, x.dtype).worst;
      ++found.elements;
      found.beyond_amax += maxima.of(row, col) > most;
      found.beyond_given += e.error() > given;
      found.beyond_scale += e.error() > element_bound(spec, most, e.scale * e.unit, x.dtype).worst;
      found.beyond_tensor += spec.tensor_scale == TensorScale::tensor && e.error() > whole.element.worst;
      if (given > 0) found.worst = std::max(found.worst, e.error() / given);
    }
  return found;
}

}  // namespace

TEST_CASE("quantization bound: holds in every dialect and block shape and of every input type" *
          doctest::test_suite("sweep")) {
  for (const Dialect* d : all_dialects())
    for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16})
      for (const std::uint32_t exponents : {3u, 14u}) {
        const std::uint32_t least = dtype == Dtype::fp16 ? 8 : 120;
        const Matrix x = scattered::matrix(32, 64, dtype, {.least = least, .exponents = exponents});
        for (const BlockShape block : {BlockShape{1, d->block_cols}, BlockShape{16, 16}}) {
          QuantizeSpec spec = default_spec(*d);
          spec.block = block;
          if (d->per_row && block.rows > 1) continue;
          if (d->block_cols != 16 && block.rows > 1) continue;
          const Found found = held(x.view(), spec);
          CAPTURE(d->name);
          CAPTURE(name(dtype));
          CAPTURE(exponents);
          CAPTURE(block_name(block));
          CAPTURE(found.worst);
          CHECK(found.beyond_amax == 0);
          CHECK(found.beyond_given == 0);
          CHECK(found.beyond_scale == 0);
          CHECK(found.beyond_tensor == 0);
          CHECK(found.worst > 0.8);
        }
      }
}

TEST_CASE("quantization bound: a saturated scale says nothing where no amax covers the tensor") {
  QuantizeSpec covered, own, single = default_spec(*find_dialect("torchao_single_level"));
  own.amax = 1;
  CHECK(std::isfinite(largest_amax(covered, 0x7E)));
  CHECK(std::isfinite(largest_amax(own, 0x7D)));
  CHECK(std::isinf(largest_amax(own, 0x7E)));
  CHECK(std::isinf(largest_amax(single, 0x7E)));
  CHECK(std::isinf(largest_amax(covered, 0x7F)));
  CHECK(std::isinf(element_bound(single, largest_amax(single, 0x7E), 448).worst));
  CHECK(std::isinf(tensor_bound(covered, 0x1p-130f).element.worst));
}

TEST_CASE("quantization bound: without saturation it would be violated") {
  const QuantizeSpec spec = default_spec(*find_dialect("mxfp4_floor"));
  const Matrix x = scattered::matrix(16, 64, Dtype::fp32, {.least = 120, .exponents = 3});
  const BlockScaledTensor t = cpu_kernels().quantize(x.view(), spec, {});
  std::int64_t beyond = 0;
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i) {
    const Element e = element(x.view(), t, i / x.cols, i % x.cols);
    beyond += e.error() > element_bound(spec, 6 * e.scale, e.scale).worst;
  }
  CHECK(beyond > 0);
}

namespace {

/// The largest error over the block's amax that a search finds: blocks of every significand of amax, whose other
/// elements lie at and below the seven highest thresholds of the scale that comes of it.
double worst_relative(const QuantizeSpec& spec, float tensor_amax) {
  const std::int64_t cols = spec.block.cols;
  QuantizeSpec fixed = spec;
  if (spec.dialect->global_is != GlobalIs::none) fixed.amax = tensor_amax;
  constexpr std::int64_t significands = 4096;
  Matrix x(significands, cols);
  const auto row_of = [&](std::int64_t row) { return x.f32() + row * cols; };
  for (std::int64_t row = 0; row < significands; ++row)
    row_of(row)[0] = 1 + static_cast<float>(row) / significands;
  const BlockScaledTensor scales = cpu_kernels().quantize(x.view(), fixed, {});
  const Format format = spec.dialect->element;
  const std::uint32_t top = format == Format::e2m1 ? 7 : 0x7E;
  for (std::int64_t row = 0; row < significands; ++row)
    for (std::int64_t col = 1; col < 15; ++col) {
      const Element e = element(x.view(), scales, row, 0);
      const std::uint32_t code = top - static_cast<std::uint32_t>(col + 1) / 2;
      const double threshold = (value_of(code, format) + value_of(code + 1, format)) / 2;
      const auto at = static_cast<float>(threshold * e.scale * e.unit);
      row_of(row)[col] = std::min(row_of(row)[0], col % 2 ? at : std::nextafter(at, 0.f));
    }
  const BlockScaledTensor t = cpu_kernels().quantize(x.view(), fixed, {});
  double worst = 0;
  for (std::int64_t row = 0; row < significands; ++row)
    for (std::int64_t col = 0; col < cols; ++col)
      worst = std::max(worst, element(x.view(), t, row, col).error() / row_of(row)[0]);
  return worst;
}

}  // namespace

TEST_CASE("quantization bound: the worst error over a block's amax is met and not exceeded") {
  struct Constant {
    const char* dialect;
    double relative;
  };
  for (const Constant& c : {Constant{"te", 3. / 17},
                            {"te_ref", 3. / 17},
                            {"paper", 3. / 17},
                            {"torchao", 3. / 17},
                            {"te_scale_up", 3. / 16},
                            {"quartet2", 3. / 17},
                            {"quartet2_eden", 18. / 17 * (17. / 16 * 0.93) / 6},
                            {"mxfp4_unbiased", 1. / 5},
                            {"mxfp4_floor", 1. / 4},
                            {"mxfp4_ceil", 1. / 5},
                            {"mxfp8_floor", 1. / 8},
                            {"mxfp8_ceil", 1. / 17}}) {
    const QuantizeSpec spec = default_spec(*find_dialect(c.dialect));
    const double bound = tensor_bound(spec, 64).relative, found = worst_relative(spec, 64);
    CAPTURE(c.dialect);
    CAPTURE(bound);
    CAPTURE(found);
    CHECK(found <= bound);
    CHECK(found >= c.relative * 0.999);
    CHECK(bound >= c.relative);
    CHECK(bound <= c.relative * 1.001);
  }
}

namespace {

/// Errors of a block's elements under each of the 256 random bytes: a row for each.
void check_all_bytes(const std::vector<float>& block, QuantizeSpec spec, std::int64_t& beyond,
                     double& most_used) {
  Matrix x(256, 16);
  std::vector<std::uint32_t> words;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::ranges::copy(block, x.f32() + 16 * byte);
    words.insert(words.end(), 4, byte * 0x01010101);
  }
  spec.stochastic->from_caller = true, spec.stochastic->words = words;
  const BlockScaledTensor t = cpu_kernels().quantize(x.view(), spec, {});
  std::vector<double> squares(16), means(16);
  Element e{};
  double worst = 0;
  for (std::int64_t row = 0; row < 256; ++row)
    for (std::int64_t col = 0; col < 16; ++col) {
      e = element(x.view(), t, row, col);
      const double error = e.x - e.code * e.scale * e.unit;
      worst = std::max(worst, std::abs(error));
      squares[static_cast<std::size_t>(col)] += error * error / 256;
      means[static_cast<std::size_t>(col)] += error / 256;
    }
  const ElementBound bound = element_bound(spec, block[0], e.scale * e.unit);
  beyond += worst > bound.worst;
  for (std::size_t i = 0; i < squares.size(); ++i) {
    beyond += squares[i] > bound.expected_square;
    beyond += std::abs(means[i]) > bound.bias;
    most_used = std::max(most_used, squares[i] / bound.expected_square);
  }
}

}  // namespace

TEST_CASE("quantization bound: stochastic rounding, its mean and its mean square over all random bytes") {
  std::mt19937 random(7);
  for (const char* dialect : {"te", "te_scale_up", "fouroversix_unbiased"})
    for (const SrRule rule : {SrRule::carry, SrRule::te_software}) {
      QuantizeSpec spec = default_spec(*find_dialect(dialect));
      spec.stochastic = Stochastic{.rule = rule};
      std::int64_t beyond = 0;
      double most_used = 0;
      for (int round = 0; round < 60; ++round) {
        std::vector<float> block{1 + static_cast<float>(random() % 4096) / 4096};
        while (block.size() < 16) block.push_back(block[0] * static_cast<float>(random() % 65536) / 65536);
        check_all_bytes(block, spec, beyond, most_used);
      }
      CAPTURE(dialect);
      CAPTURE(most_used);
      CHECK(beyond == 0);
      CHECK(most_used > 0.9);
    }
}

namespace {

Matrix random_matrix(std::int64_t rows, std::int64_t cols, unsigned seed, unsigned binades) {
  return scattered::blocks(rows, cols, seed, binades, scattered::From::down);
}

struct Pair {
  Matrix x, y;
  BlockScaledTensor a, b;
  Pair(const QuantizeSpec& spec, std::int64_t k, unsigned binades)
      : x(random_matrix(8, k, 1, binades)),
        y(random_matrix(9, k, 2, binades)),
        a(cpu_kernels().quantize(x.view(), spec, {})),
        b(cpu_kernels().quantize(y.view(), spec, {})) {}
  /// Of the matrices before they were quantized, in units of 2^-640.
  cpp_int exact(std::int64_t i, std::int64_t j) const {
    cpp_int sum = 0;
    for (std::int64_t k = 0; k < x.cols; ++k)
      sum += exactly(static_cast<double>(x.f32()[i * x.cols + k]) *
                     static_cast<double>(y.f32()[j * x.cols + k]));
    return sum;
  }
};

}  // namespace

TEST_CASE("product bound: quantization and accumulation together, from amaxes and from given scales") {
  for (const char* dialect : {"te", "te_4over6", "torchao", "mxfp4_floor", "mxfp4_ceil", "mxfp8_floor"})
    for (const unsigned binades : {1u, 12u}) {
      const QuantizeSpec spec = default_spec(*find_dialect(dialect));
      const Accumulation& acc = default_accumulation(*spec.dialect);
      const Pair p(spec, 256, binades);
      const Matrix d = cpu_kernels().multiply(p.a, p.b, acc, {});
      const ProductBound whole = product_bound(spec, cpu_kernels().amax(p.x.view(), *spec.dialect), spec,
                                               cpu_kernels().amax(p.y.view(), *spec.dialect), 256, acc);
      const auto rows = bound_rows(p.a, acc), cols = bound_rows(p.b, acc);
      const double unit = tensor_scale(p.a, 0, 0) * tensor_scale(p.b, 0, 0);
      const auto errors = output_errors(p.a, p.b, acc, {}, d);
      CAPTURE(dialect);
      for (std::int64_t i = 0; i < 8; ++i)
        for (std::int64_t j = 0; j < 9; ++j) {
          const BoundRow &a = rows[static_cast<std::size_t>(i)], &b = cols[static_cast<std::size_t>(j)];
          const OutputError& e = errors[static_cast<std::size_t>(i * 9 + j)];
          const cpp_int error = abs(exactly(d.f32()[i * 9 + j] * unit) - p.exact(i, j));
          const ProductBound both = product_bound(a, b, acc);
          const double given = both.quantization.worst + both.accumulation.worst;
          CHECK(e.bound == both.accumulation.worst);
          CHECK(e.measured <= e.bound);
          CHECK(e.bound * unit <= whole.accumulation.worst);
          CHECK(error <= exactly(given * unit));
          CHECK(error <= exactly(whole.quantization.worst + whole.accumulation.worst));
        }
    }
}

TEST_CASE("product bound: every option of gemm stays within, and a D that is off by more does not") {
  const QuantizeSpec spec;
  for (const char* model : {"sm100_nvfp4", "exact", "fp32_in_order", "sm100_nvfp4_chunk64"}) {
    const Accumulation& acc = *find_accumulation(model);
    const Pair p(spec, 320, 12);
    GemmSpec how{.scaling = output_scaling(p.a, p.b),
                 .cuts = split_k(p.a, acc, 3),
                 .c = random_matrix(8, 9, 5, 3),
                 .beta = -1.7f};
    how.bias = {1, -2, 3, 0.1f, 0, 1e-3f, 7, 8, 9};
    for (const Dtype dtype : {Dtype::fp32, Dtype::bf16, Dtype::fp16}) {
      Matrix d = converted(gemm(p.a, p.b, acc, how, cpu_kernels()).view(), dtype, cpu_kernels());
      double worst = 0;
      for (const OutputError& e : output_errors(p.a, p.b, acc, how, d)) {
        CHECK(e.measured <= e.bound);
        if (e.bound > 0) worst = std::max(worst, e.measured / e.bound);
      }
      CAPTURE(model);
      CAPTURE(worst);
      CHECK(worst > 0.02);
      if (dtype != Dtype::fp32) continue;
      d.f32()[40] += 1e-2f;
      const OutputError e = output_errors(p.a, p.b, acc, how, d)[40];
      CHECK(e.measured > e.bound);
    }
  }
}
