#include "golden_linear.hpp"

#include <algorithm>
#include <stdexcept>

#include <nvfp4/linear.hpp>

#include "golden_numbers.hpp"

namespace nvfp4::cli {
namespace {

/// A layer whose inputs are made to differ from the others' in one respect.
struct LayerCase {
  std::string_view name;
  std::int64_t tokens, in, out;
  float token_mean;      ///< added to every element of X: what a Hadamard transform does not spread
  bool has_zero_blocks;  ///< every third block of 16 columns of X and dY is zero
};

constexpr LayerCase layers[] = {
    {"aligned", 64, 64, 48, 0, false},
    {"ragged", 37, 52, 20, 0, false},
    {"token_mean", 64, 32, 32, 4, false},
    {"zero_blocks", 48, 64, 32, 0, true},
};

void clear_some_blocks(Matrix& x) {
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; ++j)
      if ((i / 16 + j / 16) % 3 == 0) x.f32()[i * x.cols + j] = 0;
}

struct Inputs {
  Matrix x, w, dy;
};

Inputs inputs_of(const LayerCase& c, std::uint64_t seed, std::uint64_t stream) {
  Inputs in{random_numbers(c.tokens, c.in, seed, stream), random_numbers(c.out, c.in, seed, stream + 1),
            random_numbers(c.tokens, c.out, seed, stream + 2)};
  for (std::int64_t i = 0; i < c.tokens * c.in; ++i) in.x.f32()[i] += c.token_mean;
  if (c.has_zero_blocks) clear_some_blocks(in.x), clear_some_blocks(in.dy);
  return in;
}

/// y, dx and dw, widened to FP32.
std::vector<GoldenArray> results_of(const Recipe& recipe, const Inputs& in, std::uint64_t seed,
                                    const Kernels& kernels) {
  const LinearResult r = linear(recipe, in.x.view(), in.w.view(), in.dy.view(), seed, kernels);
  std::vector<GoldenArray> arrays;
  for (const auto& [name, pass] : {std::pair{"y", &r.fprop}, {"dx", &r.dgrad}, {"dw", &r.wgrad}})
    arrays.push_back(float_array(name, converted(pass->out.view(), Dtype::fp32, kernels)));
  return arrays;
}

Matrix read(const io::ArrayFile& file, const std::string& name) {
  const io::Array array = file.read(name);
  const MatrixView view = io::as_matrix(array);
  if (view.dtype != Dtype::fp32) array.refuse("float32", io::info(array.info.type).numpy);
  Matrix m(view.rows, view.cols);
  std::copy_n(static_cast<const std::byte*>(view.data), m.bytes.size(), m.bytes.begin());
  return m;
}

Verdict check_layer(const io::ArrayFile& file, const std::string& name, const Recipe& recipe,
                    std::uint64_t seed, const Kernels& kernels) {
  const Inputs in{read(file, name + "/x"), read(file, name + "/w"), read(file, name + "/dy")};
  Verdict verdict{.name = name};
  try {
    for (const GoldenArray& ours : results_of(recipe, in, seed, kernels))
      compare_matrix(file.read(name + "/" + ours.info.name), ours, verdict);
  } catch (const std::invalid_argument& e) {
    throw io::FileError(file.file(), "case '" + name + "'", "the inputs of a linear layer", e.what());
  }
  return verdict;
}

}  // namespace

std::vector<GoldenArray> linear_cases(const Recipe& recipe, std::uint64_t seed, const Kernels& kernels) {
  std::vector<GoldenArray> arrays;
  std::uint64_t stream = 0;
  for (const LayerCase& c : layers) {
    const Inputs in = inputs_of(c, seed, stream);
    stream += 3;
    std::vector<GoldenArray> of_case{float_array("x", in.x), float_array("w", in.w),
                                     float_array("dy", in.dy)};
    for (GoldenArray& result : results_of(recipe, in, seed, kernels)) of_case.push_back(std::move(result));
    for (GoldenArray& a : of_case) {
      a.info.name = std::string(c.name) + "/" + a.info.name;
      arrays.push_back(std::move(a));
    }
  }
  return arrays;
}

std::vector<Verdict> check_linear(const io::ArrayFile& file, const Recipe& recipe, std::uint64_t seed,
                                  const Kernels& kernels) {
  std::vector<Verdict> verdicts;
  for (const io::GoldenCase& c : io::golden_cases(file))
    verdicts.push_back(check_layer(file, c.name, recipe, seed, kernels));
  return verdicts;
}

}  // namespace nvfp4::cli
