#include <nvfp4/layer_inputs.hpp>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "inputs.hpp"

namespace nvfp4 {
namespace {

constexpr std::string_view kinds[] = {"gaussian", "heavy_tailed", "hot_channels", "mean_shifted",
                                      "block_outliers"};

struct Numbers {
  std::int64_t rows, cols;
  std::vector<double> values{};
  double& operator()(std::int64_t i, std::int64_t j) {
    return values[static_cast<std::size_t>(i * cols + j)];
  }
};

Numbers normal(std::int64_t rows, std::int64_t cols, Random& random) {
  Numbers n{rows, cols};
  n.values.resize(static_cast<std::size_t>(rows * cols));
  for (double& v : n.values) v = random.normal();
  return n;
}

/// A normal deviate over the root of a mean of three squared ones.
void make_heavy_tailed(Numbers& x, Random& random) {
  for (double& v : x.values) {
    double squares = 0;
    for (int i = 0; i < 3; ++i) {
      const double n = random.normal();
      squares += n * n;
    }
    v /= std::sqrt(squares / 3);
  }
}

void make_hot_channels(Numbers& x) {
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 5; j < x.cols; j += 32) x(i, j) *= 32;
}

void shift_means(Numbers& x, Random& random) {
  for (std::int64_t j = 0; j < x.cols; ++j) {
    const double mean = 4 * random.normal();
    for (std::int64_t i = 0; i < x.rows; ++i) x(i, j) += mean;
  }
}

/// Of magnitudes that no two can both be near a code under one scale: E2M1 has nothing between 2/3 of its largest and that.
void add_block_outliers(Numbers& x, Random& random) {
  for (double& v : x.values)
    if (random.next() % 4 == 0) v = std::copysign(16 - random.uniform() * 16 / 3, v);
}

Matrix rounded(const Numbers& n) {
  Matrix m(n.rows, n.cols, Dtype::bf16);
  for (std::size_t i = 0; i < n.values.size(); ++i)
    put(m, static_cast<std::int64_t>(i), static_cast<float>(n.values[i]));
  return m;
}

}  // namespace

std::span<const std::string_view> layer_input_kinds() { return kinds; }

LayerInputs make_layer_inputs(std::string_view kind, std::int64_t tokens, std::int64_t in, std::int64_t out,
                              std::uint64_t seed) {
  Random random{seed};
  const Matrix w = rounded(normal(out, in, random)), dy = rounded(normal(tokens, out, random));
  Numbers x = normal(tokens, in, random);
  if (kind == "heavy_tailed")
    make_heavy_tailed(x, random);
  else if (kind == "hot_channels")
    make_hot_channels(x);
  else if (kind == "mean_shifted")
    shift_means(x, random);
  else if (kind == "block_outliers")
    add_block_outliers(x, random);
  else if (kind != "gaussian")
    throw std::invalid_argument("no kind of layer inputs '" + std::string(kind) + "'");
  return {rounded(x), w, dy};
}

}  // namespace nvfp4
