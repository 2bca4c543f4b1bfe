#include "golden_gemm.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

#include <nvfp4/gemm.hpp>

#include "golden_numbers.hpp"

namespace nvfp4::cli {
namespace {

void leave(Matrix&, Matrix&) {}

/// Each block of 16 in a binade of its own: scales of one dot product far apart.
void widen(Matrix& a, Matrix& b) {
  for (Matrix* x : {&a, &b})
    for (std::int64_t i = 0; i < x->rows * x->cols; ++i)
      x->f32()[i] = std::ldexp(x->f32()[i], static_cast<int>((i / 16 * 7 + i / x->cols) % 19) - 9);
}

void clear_blocks(Matrix& a, Matrix& b) {
  for (Matrix* x : {&a, &b})
    for (std::int64_t i = 0; i < x->rows * x->cols; ++i)
      if (i / 16 % 3 == 0) x->f32()[i] = i % 2 ? -0.f : 0.f;
}

/// The second half of K repeats the first, negated in B.
void cancel(Matrix& a, Matrix& b) {
  for (Matrix* x : {&a, &b})
    for (std::int64_t i = 0; i < x->rows; ++i)
      for (std::int64_t k = 0, half = x->cols / 2; k < half; ++k)
        x->f32()[i * x->cols + half + k] = (x == &b ? -1.f : 1.f) * x->f32()[i * x->cols + k];
}

void spoil(Matrix& a, Matrix& b) {
  a.f32()[1] = std::numeric_limits<float>::quiet_NaN();
  b.f32()[20] = std::numeric_limits<float>::infinity();
}

/// A product (m x k) * (n x k)^T whose operands are made hard in one respect.
struct ProductCase {
  std::string_view name;
  std::int64_t m, n, k;
  void (*change)(Matrix& a, Matrix& b);
};

constexpr ProductCase products[] = {
    {"aligned", 32, 24, 256, leave},
    {"ragged", 7, 13, 212, leave},
    {"one_block", 8, 8, 16, leave},
    {"wide_scales", 16, 24, 320, widen},
    {"zero_blocks", 16, 16, 192, clear_blocks},
    {"cancelling", 16, 16, 256, cancel},
    {"nonfinite", 8, 8, 64, spoil},
};

Matrix product(const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
               const Kernels& kernels) {
  return gemm(a, b, acc, {.scaling = output_scaling(a, b)}, kernels);
}

/// packed, scales and, where there is one, global.
void add(std::vector<GoldenArray>& arrays, const std::string& prefix, const BlockScaledTensor& t,
         const Kernels& kernels) {
  for (GoldenArray& array : golden_arrays({.rows = t}, kernels)) {
    if (array.info.name == "dequant") continue;
    array.info.name = prefix + array.info.name;
    arrays.push_back(std::move(array));
  }
}

void add_case(std::vector<GoldenArray>& arrays, const ProductCase& c, const Producer& producer,
              const Accumulation& acc, std::uint64_t seed, std::uint64_t stream, const Kernels& kernels) {
  Matrix x = random_numbers(c.m, c.k, seed, stream), y = random_numbers(c.n, c.k, seed, stream + 1);
  c.change(x, y);
  const BlockScaledTensor a = quantize_operand(producer, x.view(), Along::row, kernels),
                          b = quantize_operand(producer, y.view(), Along::row, kernels);
  const std::string name(c.name);
  add(arrays, name + "/a_", a, kernels);
  add(arrays, name + "/b_", b, kernels);
  arrays.push_back(float_array(name + "/d", product(a, b, acc, kernels)));
}

/// K is taken to the end of its last block: pad codes are zero, and add nothing under any scale.
BlockScaledTensor read_operand(const io::ArrayFile& file, const std::string& prefix,
                               const QuantizeSpec& spec) {
  const io::Array packed = file.read(prefix + "packed");
  const auto& shape = packed.info.shape;
  if (shape.size() != 2 || packed.bytes.size() == 0)
    packed.refuse("two dimensions, and elements", shape_text(shape));
  const std::int64_t cols = shape[1] * 8 / info(spec.dialect->element).bits;
  return io::read_tensor(file, prefix, spec, shape[0], cols);
}

Verdict check_product(const io::ArrayFile& file, const std::string& name, const Producer& producer,
                      const Accumulation& acc, const Kernels& kernels) {
  const BlockScaledTensor a = read_operand(file, name + "/a_", producer.spec),
                          b = read_operand(file, name + "/b_", producer.spec);
  Verdict verdict{.name = name};
  try {
    compare_matrix(file.read(name + "/d"), float_array("d", product(a, b, acc, kernels)), verdict);
  } catch (const std::invalid_argument& e) {
    throw io::FileError(file.file(), "case '" + name + "'", "the operands of a product", e.what());
  }
  return verdict;
}

}  // namespace

std::vector<GoldenArray> gemm_cases(const Producer& producer, const Accumulation& acc, std::uint64_t seed,
                                    const Kernels& kernels) try {
  std::vector<GoldenArray> arrays;
  std::uint64_t stream = 0;
  for (const ProductCase& c : products) {
    add_case(arrays, c, producer, acc, seed, stream, kernels);
    stream += 2;
  }
  return arrays;
} catch (const std::invalid_argument& e) {
  throw UsageError(std::string("--kind gemm: ") + e.what());
}

std::vector<Verdict> check_gemm(const io::ArrayFile& file, const Producer& producer, const Accumulation& acc,
                                const Kernels& kernels) {
  std::vector<Verdict> verdicts;
  for (const io::GoldenCase& c : io::golden_cases(file))
    verdicts.push_back(check_product(file, c.name, producer, acc, kernels));
  return verdicts;
}

}  // namespace nvfp4::cli
